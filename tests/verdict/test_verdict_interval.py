"""The verdict's arithmetic: published values, and how often it is right where truth is known."""

import sys
from functools import partial
from pathlib import Path

import pytest

from dspy_gepa.core.rollout import Rollout
from dspy_gepa.verdict.finding import verdict_of
from dspy_gepa.verdict.interval import difference_interval

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import verdicts


def test_newcombe_s_own_example():
    """36 pairs both right, 12 and 2 that differ: 0.0569 to 0.3404 (Newcombe 1998, table II)."""
    before = [1.0] * 36 + [0.0] * 12 + [1.0] * 2
    after = [1.0] * 36 + [1.0] * 12 + [0.0] * 2
    interval = difference_interval(before, after)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0569, 0.3404)


def test_the_scale_of_right_and_wrong_does_not_matter():
    """0 and 100 are 0 and 1, a hundred times."""
    before, after = [0.0, 1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0, 1.0]
    one = difference_interval(before, after)
    times = [[100 * each for each in side] for side in (before, after)]
    hundred = difference_interval(*times)
    assert hundred.low == pytest.approx(100 * one.low)
    assert hundred.high == pytest.approx(100 * one.high)


def test_two_scores_of_a_graded_metric_are_not_right_and_wrong():
    """A gain of 0.2 on nearly all examples may be more than 0.2 in truth; on its scale it stays."""
    before, after = [0.0] * 30, [0.2] * 29 + [0.0]
    interval = difference_interval(before, after, span=1.0)
    assert interval.method == "Student"
    assert interval.high > 0.2
    low, high, _ = difference_interval([0.1, 0.0, 0.2], [1.0, 0.9, 1.0], span=1.0)
    assert -1.0 <= low <= high <= 1.0


@pytest.mark.parametrize(
    ("before", "after"), [([], []), ([0.0], [1.0]), ([0.3] * 9, [0.3] * 9)], ids=str
)
def test_where_nothing_can_be_said_there_is_no_interval(before, after):
    """And no evidence."""
    assert difference_interval(before, after) is None
    rows = [[Rollout(score) for score in side] for side in (before, after)]
    verdict = verdict_of(*rows, evaluations=0)
    assert verdict.kind == "no evidence of improvement"
    assert str(verdict)


def test_a_failure_is_no_gain_over_an_answer():
    """Where scores are below the `failure_score`, a program that always fails is not better; one
    that answers where the other failed is."""
    answered, failed = [Rollout(-5.0)] * 20, [Rollout(0.0, failure="ValueError: it broke")] * 20
    verdict = verdict_of(answered, failed, evaluations=0, counts_failures=True)
    assert (verdict.kind, verdict.gained) == ("no evidence of improvement", 0)
    assert "20 failures" in str(verdict)
    better = [Rollout(5.0)] * 20
    assert verdict_of(failed, better, evaluations=0, counts_failures=True).kind == "better"


def test_the_same_gain_on_four_examples_is_no_evidence():
    """Though it does not vary at all: four tosses of a coin are alike in one of eight trials."""
    before = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    for count, is_sure in ((4, False), (6, True)):
        after = [each + 0.3 for each in before[:count]]
        assert (difference_interval(before[:count], after).low > 0) == is_sure


NO_GAIN = [name for name in verdicts.ROWS if "no gain" in name]


@pytest.mark.parametrize("name", NO_GAIN)
@pytest.mark.parametrize("n", [5, 20, 100])
def test_without_any_gain_better_is_rare(name, n):
    """At most 5 % of 200 comparisons."""
    assert verdicts.share_of_better(verdicts.ROWS[name], n, runs=200) <= 0.05


@pytest.mark.parametrize("same", [0.5, 0.7, 0.9])
def test_a_gain_of_0_15_is_mostly_found_on_100_examples(same):
    """In at least 60 % of 200 comparisons."""
    draw = partial(verdicts.right_or_wrong, before=0.5, gain=0.15, same=same)
    assert verdicts.share_of_better(draw, 100, runs=200) >= 0.6


def test_the_interval_holds_the_truth():
    """Of 95 % intervals for a gain of 0.15, at most 8 % miss it, at any size."""
    import random

    for name, draw in verdicts.ROWS.items():
        if "gain .15" not in name:
            continue
        for n in (10, 30, 100):
            missed = 0
            for run in range(200):
                chance = random.Random(f"{name} {n} {run}")
                sides = zip(*(draw(chance) for _ in range(n)), strict=True)
                low, high, _ = difference_interval(*map(list, sides))
                missed += not low <= 0.15 <= high
            assert missed <= 16, (name, n, missed)

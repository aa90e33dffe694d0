"""A failure that is no score: -inf ranks below everything that scored, and breaks no arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.frontier import mean_scores, tops, with_failures_scored
from dspy_gepa.core.gate import Margin, at_least_as_good, strict_improvement, total
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.selection import PoolView, by_estimate, by_mean, pareto
from dspy_gepa.core.streams import stream

FAILED = -np.inf
NUMBERS = st.floats(-1e6, 1e6)


def view(rows):
    scores = np.array(rows, dtype=float)
    members = tuple(Candidate.of({"text": str(number)}) for number in range(len(rows)))
    parents = ((), *[(0,)] * (len(rows) - 1))
    return PoolView(members, scores, scores, len(rows), 0, np.empty((len(rows), 0)), parents)


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=6))
def test_what_fails_everywhere_ranks_below_whatever_scored(rows):
    """By the mean it is last and never tied, whatever the signs and sizes of the scores."""
    means = mean_scores(np.array([*rows, [FAILED] * 3]))
    assert np.isfinite(means).all()
    assert means[-1] < means[:-1].min()


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=5))
def test_without_failures_nothing_changes(rows):
    """Scores of programs, which are finite, are left as they are."""
    scores = np.array(rows)
    assert with_failures_scored(scores) is scores


def test_one_failure_among_many_examples_does_not_outweigh_all_others():
    """A member that times out once and is better on 39 others wins."""
    best, even = [FAILED, *[1.0] * 39], [0.2] * 40
    assert by_mean(view([even, best])).argmax() == 1
    assert by_mean(view([even, [FAILED] * 30 + [0.3] * 10])).argmax() == 0


def test_a_failure_wins_no_column():
    """Where everybody failed nobody is best."""
    flags = tops(np.array([[FAILED, -5.0], [FAILED, FAILED]]))
    assert flags.tolist() == [[False, True], [False, False]]


def test_a_parent_is_found_where_nothing_has_scored():
    """A first artifact that fails is still what the next one is made from."""
    assert pareto(view([[FAILED]]), stream(0, "parent", 1)) == 0


def test_estimates_stay_numbers():
    """The posterior of members that failed on some examples is finite, and orders them."""
    found = by_estimate(view([[FAILED, -3.0, -2.0], [-1.0, -1.0, -1.0], [FAILED] * 3]))
    assert np.isfinite(found).all()
    assert found.argmax() == 1
    assert found.argmin() == 2


@pytest.mark.parametrize("gate", [strict_improvement, at_least_as_good, Margin(perfect_score=0.0)])
def test_gates_count_failures_first(gate):
    """To fail on fewer examples is better, whatever the scores; then the scores that are left."""
    assert gate([-9.0, -9.0], [[FAILED, 5.0]])
    assert not gate([FAILED, 5.0], [[-9.0, -9.0]])
    assert gate([FAILED, -1.0], [[FAILED, -3.0]])
    assert not gate([FAILED, -3.0], [[FAILED, -1.0]])


def test_a_schedule_compares_failures_as_the_mean_does():
    """A child that fails where its parent did not is worse; where both failed that says nothing."""
    schedule, scores = ValidationSchedule(), np.array([1.0, 1.0, FAILED])
    assert not schedule.is_worse(scores, scores, span=1.0)
    assert schedule.is_worse(np.array([FAILED, 1.0, FAILED]), scores, span=1.0)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([1.0, 2.0], "3"),
        ([FAILED], "a failure"),
        ([FAILED, FAILED], "2 failures"),
        ([FAILED, 2.0], "2 and a failure"),
    ],
)
def test_a_total_is_told_in_words(scores, said):
    """What a verdict says of scores never has "inf" in it."""
    assert str(total(scores)) == said

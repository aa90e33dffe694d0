"""Ranges of scores: published values, the scale, and what many members cost in sureness."""

import numpy as np
import pytest

from dspy_gepa.core.interval import mean_interval, share_interval, student_quantile
from dspy_gepa.core.standing import Scale, standings


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_shares_have_wilson_s_interval(right, count, low, high):
    """The values of Newcombe's comparison (Statistics in Medicine 17, 1998, page 857)."""
    found = share_interval(right, count)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_student_s_quantiles_are_those_of_the_tables():
    """For one, ten and thirty degrees of freedom; for thousands they are the normal ones."""
    found = [round(student_quantile(freedom), 3) for freedom in (1, 10, 30, 2000)]
    assert found == [12.706, 2.228, 2.042, 1.96]


@pytest.mark.parametrize("scores", [[0.5] * 3, [0.0, 0.2], [1.0] * 5, [0.9, 1.0, 1.0], []], ids=str)
def test_a_range_is_on_the_scale_and_wider_than_nothing(scores):
    """Also if all that was seen is alike, or if nothing was."""
    low, high = mean_interval(scores, 0.0, 1.0)
    assert 0.0 <= low < high <= 1.0


def test_negative_and_large_scales_are_scales_too():
    """The same scores on another scale have the same range there."""
    scores = [0.2, 0.4, 0.9, 0.6]
    one = mean_interval(scores, 0.0, 1.0)
    other = mean_interval([100 * each - 100 for each in scores], -100.0, 0.0)
    assert other.low == pytest.approx(100 * one.low - 100)
    assert other.high == pytest.approx(100 * one.high - 100)


def test_the_luckiest_of_many_is_less_sure():
    """Five of five prove less of one of twenty members than of one of two; the seed's stay."""
    scores = np.ones((20, 5))
    scale = Scale.of(np.array([[0.0, 1.0]]), 0.0, 1.0)
    many = standings(np.full(20, 0.9), scores, scale)
    few = standings(np.full(2, 0.9), scores[:2], scale)
    assert many[1].low < few[1].low
    assert many[0] == few[0]


def test_a_range_holds_its_estimate():
    """Where parents say another thing than what was seen, the range reaches both."""
    scale = Scale.of(np.array([[0.0, 1.0]]), 0.0, 1.0)
    (standing,) = standings(np.array([0.6]), np.zeros((1, 10)), scale)
    assert standing.low == 0.0
    assert standing.high == 0.6
    assert standing.examples == 10


@pytest.mark.parametrize("perfect", [1.0, 5.0])
def test_a_scale_is_open_above_if_its_perfect_score_was_exceeded(perfect):
    """A metric from 0 to 10 whose perfect score nobody gave."""
    scale = Scale.of(np.array([[0.0, 7.0, np.nan, -np.inf]]), 0.0, perfect)
    assert (scale.highest, scale.top, scale.span) == (None, 7.0, np.inf)
    assert scale.on(8.0) == 8.0
    assert scale.on(-1.0) == 0.0


@pytest.mark.parametrize(
    ("scores", "lowest", "perfect", "are_verdicts"),
    [
        ([-51.0], -np.inf, 1.0, False),
        ([0.2], -np.inf, 1.0, False),
        ([0.4, 1.0], -np.inf, 1.0, False),
        ([0.4, 0.4, 0.4], -np.inf, 1.0, False),
        ([2.0], -np.inf, 5.0, False),
        ([0.0, 1.0], -np.inf, 5.0, False),
        ([20.0], -np.inf, 1.0, False),
        ([0.0], -np.inf, 1.0, False),
        ([0.0, 0.0], 0.0, 1.0, False),
        ([1.0], -np.inf, 1.0, True),
        ([0.0, 1.0, -np.inf], -np.inf, 1.0, True),
        ([-1.0, 1.0], -1.0, 1.0, True),
        ([0.0, 10.0], 0.0, 10.0, True),
        ([0.0, 0.3], 0.0, 1.0, False),
        ([-np.inf], -np.inf, 1.0, False),
    ],
    ids=str,
)
def test_only_verdicts_are_right_or_wrong(scores, lowest, perfect, are_verdicts):
    """The lowest score that was seen is no verdict for being the lowest so far: where the settings
    name no lowest score, 0 and 1 are verdicts and nothing else is. Where every score is the lowest,
    nobody knows yet whether there are others between it and the highest."""
    assert Scale.of(np.array([scores]), lowest, perfect).is_right_or_wrong is are_verdicts

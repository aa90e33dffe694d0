"""Intervals for a mean score, from the scores that were seen alone.

Where scores are right or wrong it is Wilson's, which stays on the scale and does not shrink to
nothing where all are alike. Otherwise it is Student's, with one score added at either end of the
scale, which does for any scores what Wilson's does for those: few that are alike prove little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

__all__ = ["TAIL", "Ends", "mean_interval", "share_interval", "student_quantile"]

TAIL = 0.025
"""How probably the truth lies beyond one end of a 95 % interval."""


class Ends(NamedTuple):
    """Of an interval."""

    low: float
    high: float


def mean_interval(
    scores: Sequence[float], lowest: float, highest: float, tail: float = TAIL
) -> Ends:
    """Where the mean of scores on this scale is; all of the scale where there is no score.

    Args:
        scores: Those that were seen.
        lowest: The lower end of the scale.
        highest: The upper end.
        tail: How probably the truth lies beyond either end.
    """
    if not scores:
        return Ends(lowest, highest)
    if {*scores} <= {lowest, highest}:
        low, high = share_interval(sum(each == highest for each in scores), len(scores), tail)
        span = highest - lowest
        return Ends(lowest + low * span, lowest + high * span)
    padded = [*scores, lowest, highest]
    center, mean = fmean(padded), fmean(scores)
    margin = student_quantile(len(padded) - 1, tail) * stdev(padded) / math.sqrt(len(padded))
    return Ends(max(lowest, min(center - margin, mean)), min(highest, max(center + margin, mean)))


def share_interval(right: int, count: int, tail: float = TAIL) -> Ends:
    """Wilson's interval for a share."""
    sure = NormalDist().inv_cdf(1 - tail)
    share, extra = right / count, sure * sure / count
    center = (share + extra / 2) / (1 + extra)
    margin = sure * math.sqrt(share * (1 - share) / count + extra / (4 * count)) / (1 + extra)
    # Rounding must not put the share itself outside.
    return Ends(min(center - margin, share), max(center + margin, share))


@lru_cache(maxsize=4096)
def student_quantile(freedom: int, tail: float = TAIL) -> float:
    """Beyond which so much of Student's distribution lies, by halving."""
    if freedom > 1000:
        return NormalDist().inv_cdf(1 - tail)
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_share(middle, freedom) < 1 - tail else (low, middle)
    return low


def _student_share(value: float, freedom: int) -> float:
    """Student's distribution function above zero (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(value / math.sqrt(freedom))
    cosine, total = math.cos(angle), 0.0
    is_odd = freedom % 2
    term = cosine if is_odd else 1.0
    for step in range(2 + is_odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (step - 1) / step
    inside = angle + math.sin(angle) * total if is_odd else math.sin(angle) * total
    return 0.5 + (inside / math.pi if is_odd else inside / 2)

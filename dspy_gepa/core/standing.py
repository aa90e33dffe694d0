"""How good each member is, for people: an estimate, an interval, and the scale that both are on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dspy_gepa.core.frontier import Scores, Vector
from dspy_gepa.core.interval import TAIL, mean_interval

__all__ = ["Scale", "Standing", "standings"]


@dataclass(frozen=True, slots=True)
class Scale:
    """What scores there can be, as far as it is known."""

    lowest: float
    highest: float | None
    """None where no score is known to be the highest."""
    top: float
    """The highest score that is known of: the highest there is, or else the highest seen."""
    span: float
    """The distance between the lowest and the highest score; infinite where either is not known."""
    is_right_or_wrong: bool
    """Whether every score that was seen is the lowest or the highest, and one is the highest.

    If all are the lowest, partial credit may still be to come. Where no score is known to be the
    lowest, only 0 and 1 are such verdicts, if 1 is the highest: the lowest one that was seen so far
    says nothing.
    """

    @classmethod
    def of(cls, scores: Scores, lowest: float, perfect: float) -> Scale:
        """The scale by the settings, widened by what was seen."""
        seen = scores[np.isfinite(scores)]
        is_known = bool(np.isfinite(lowest))
        if not len(seen):
            lowest = lowest if is_known else 0.0
            span = perfect - lowest if is_known else math.inf
            return cls(lowest, perfect, perfect, span, is_right_or_wrong=False)
        least, most = float(seen.min()), float(seen.max())
        verdicts = (lowest, perfect) if is_known else (0.0, 1.0) if perfect == 1 else ()
        lowest = lowest if is_known else least
        bottom, is_exceeded = min(lowest, least), most > perfect
        return cls(
            bottom,
            None if is_exceeded else perfect,
            max(perfect, most),
            perfect - bottom if is_known and not is_exceeded else math.inf,
            is_right_or_wrong=most == perfect and bool(np.isin(seen, verdicts).all()),
        )

    def on(self, value: float) -> float:
        """The nearest value on the scale."""
        at_least = max(self.lowest, value)
        return at_least if self.highest is None else min(self.highest, at_least)


class Standing(NamedTuple):
    """How good a member is, and how surely that is known.

    The interval is from the scores that were seen of the member alone. That of the first member
    holds in 95 of 100 cases. A later one is looked at because it did well, which is partly luck:
    the lower end is corrected for their number, and still the interval is an estimate. How often
    either holds the truth is in `benchmarks/README.md`.
    """

    estimate: float
    """Of its mean score over examples like the validation set's, on the scale of scores."""
    low: float
    """The lower end of the interval."""
    high: float
    """The upper end."""
    examples: int
    """On how many validation examples it was run."""


def standings(estimates: Vector, scores: Scores, scale: Scale) -> tuple[Standing, ...]:
    """Each member's standing, given its estimate and its validation scores."""
    others = max(1, len(scores) - 1)
    return tuple(
        _standing(scale.on(mean), row[~np.isnan(row)].tolist(), scale, others if number else 1)
        for number, (mean, row) in enumerate(zip(estimates.tolist(), scores, strict=True))
    )


def _standing(estimate: float, seen: list[float], scale: Scale, chances: int) -> Standing:
    low = mean_interval(seen, scale.lowest, scale.top, TAIL / chances).low
    high = mean_interval(seen, scale.lowest, scale.top).high
    return Standing(estimate, min(low, estimate), max(high, estimate), len(seen))

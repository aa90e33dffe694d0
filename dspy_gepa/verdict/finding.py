"""The verdict: what came of running the seed and the best that was found on held-out examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from dspy_gepa.core.rollout import Rollout
from dspy_gepa.verdict.interval import difference_interval

__all__ = ["NO_HELDOUT", "Verdict", "verdict_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether what was found is better than the seed. Printed, it is one sentence.

    The interval is Newcombe's where scores are right or wrong, and Student's otherwise: see
    `dspy_gepa.verdict.interval`.
    """

    kind: Literal["better", "no evidence of improvement", "worse", "not checked"]
    """ "better" or "worse" where the interval lies on one side of zero."""
    reason: str = ""
    """Why it was not checked, or why nothing had to be run; empty otherwise."""
    returned: Literal["best", "seed"] = "best"
    """What was handed back: the best that was found, or the program as it was given."""
    n: int = 0
    """The pairs that it rests on: examples on which both came to a score."""
    examples: int = 0
    """How many held-out examples there are."""
    seed_score: float | None = None
    """The seed's mean over the examples on which it came to a score."""
    best_score: float | None = None
    """Likewise that of the best that was found."""
    difference: float | None = None
    """The mean difference of the pairs."""
    low: float | None = None
    """The lower end of its 95 % interval; None if too little was seen for one."""
    high: float | None = None
    """The upper end."""
    method: str = ""
    """Whose interval it is."""
    gained: int = 0
    """On how many examples the best scored higher."""
    lost: int = 0
    """On how many it scored lower."""
    seed_failures: int = 0
    """On how many examples the seed failed to come to an answer."""
    best_failures: int = 0
    """Likewise the best."""
    evaluations: int = 0
    """How many rollouts were made for it in this call."""

    @property
    def shows_improvement(self) -> bool:
        """Whether the interval lies above zero."""
        return self.kind == "better"

    def __str__(self) -> str:
        """For people."""
        if self.returned == "seed" and self.examples:
            return f"{self._said} The program is returned as it was given."
        return self._said

    @property
    def _said(self) -> str:
        if self.reason:
            return f"{self.kind}: {self.reason}."
        if self.difference is None or self.seed_score is None or self.best_score is None:
            return f"{self.kind}: on none of {self.examples} examples did both come to a score."
        span = "" if self.low is None else f" (95 %: {self.low:+.3g} to {self.high:+.3g})"
        failed = f", {self.best_failures} failures" if self.best_failures else ""
        return (
            f"{self.kind}: {self.seed_score:.3g} before and {self.best_score:.3g} after on "
            f"{self.n} held-out examples, difference {self.difference:+.3g}{span}, higher on "
            f"{self.gained} and lower on {self.lost}{failed}."
        )


NO_HELDOUT = Verdict(
    kind="not checked",
    reason="there are no held-out examples, and the scores are of examples that the search chose "
    "by. Give heldout=, examples or a share",
)
"""Where nobody gave any."""


def verdict_of(
    seed: Sequence[Rollout],
    best: Sequence[Rollout],
    *,
    evaluations: int,
    counts_failures: bool = False,
    span: float = math.inf,
) -> Verdict:
    """The verdict, from rollouts on the same examples in the same order.

    A failure where the seed had an answer is no gain, whatever the `failure_score`: it counts at
    most as much as that answer.

    Args:
        seed: Those of what the search began with.
        best: Those of what it found.
        evaluations: How many of them were made now.
        counts_failures: Whether a failure is a score, as it is where there is a `failure_score`.
        span: The distance between the lowest and the highest score that there can be.
    """

    def has_scored(rollout: Rollout) -> bool:
        return counts_failures or not rollout.failure

    best = [
        replace(other, score=min(one.score, other.score))
        if other.failure and not one.failure
        else other
        for one, other in zip(seed, best, strict=True)
    ]
    pairs = [
        (one.score, other.score)
        for one, other in zip(seed, best, strict=True)
        if has_scored(one) and has_scored(other)
    ]
    before, after = [one for one, _ in pairs], [other for _, other in pairs]
    interval = difference_interval(before, after, span)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    means = [
        fmean(scores) if (scores := [each.score for each in of if has_scored(each)]) else None
        for of in (seed, best)
    ]
    return Verdict(
        kind="better"
        if low is not None and low > 0
        else "worse"
        if high is not None and high < 0
        else "no evidence of improvement",
        n=len(pairs),
        examples=len(seed),
        seed_score=means[0],
        best_score=means[1],
        difference=fmean(after) - fmean(before) if pairs else None,
        low=low,
        high=high,
        method="" if interval is None else interval.method,
        gained=sum(two > one for one, two in pairs),
        lost=sum(two < one for one, two in pairs),
        seed_failures=sum(bool(rollout.failure) for rollout in seed),
        best_failures=sum(bool(rollout.failure) for rollout in best),
        evaluations=evaluations,
    )

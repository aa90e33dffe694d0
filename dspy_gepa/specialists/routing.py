"""What routing to specialists brings, in numbers and in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from dspy_gepa.specialists.choosers import CHOOSERS, FUNCTION, Chooser
from dspy_gepa.specialists.member_sets import (
    Choice,
    Gain,
    Table,
    cross_fitted,
    estimates,
    grown,
)
from dspy_gepa.verdict.interval import difference_interval

__all__ = ["Routed", "Routing", "measured", "routed"]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Whether sending inputs to several members brings more than the best one.

    Printed, it says so in a sentence or two.
    """

    evidence: bool
    """Whether the examples, each routed by the others, show a gain. Otherwise the best program is
    returned."""
    members: tuple[int, ...]
    """The members that are routed to, the best over all first; that one alone without evidence."""
    gain: float = 0.0
    """What routing brings over the single best on validation examples. If scores choose, each
    example is routed by the others. The frontier's score, the best member of each example, says
    nothing about it."""
    low: float | None = None
    """The lower end of its range, an estimate: each example is routed by the others, so that they
    are not independent. None if too little was seen."""
    high: float | None = None
    """The upper end."""
    n: int = 0
    """The validation examples that it was measured on."""
    shares: Mapping[int, float] = field(default_factory=dict)
    """The share of inputs that each member gets; 1 for each where all are run."""
    texts: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Each member's texts. Members that were found by a search on what the best one fails have
    numbers above those of the run."""
    chooser: str = "nearest"
    """What chooses. The gain is its own; for "lm" it is that of "nearest"."""
    rollouts: int = 0
    """How many rollouts filled members' missing scores."""
    reason: str = ""
    """Why nothing was measured; empty if it was."""

    def __str__(self) -> str:
        """For people."""
        if self.reason:
            return f"the single best program: {self.reason}."
        span = "" if self.low is None else f" (estimate: {self.low:+.3g} to {self.high:+.3g})"
        what = f"{self.gain:+.3g}{span} against the best member alone, on {self.n} validation "
        what += f"examples; {self._entry.measured}."
        if not self.evidence:
            return f"the single best program: specialists show no gain that is sure, {what}"
        return (
            f"{len(self.members)} specialists: {what} {self._who_answers} The program stores the "
            "inputs of these examples, and so does each file that it is saved in."
        )

    @property
    def _entry(self) -> Chooser:
        return CHOOSERS.get(self.chooser, FUNCTION)

    @property
    def _who_answers(self) -> str:
        if self._entry.runs_all:
            return f"Each input goes to all of them: members {', '.join(map(str, self.members))}."
        shares = [f"{share:.0%} to member {each}" for each, share in self.shares.items()]
        return f"Where the examples go: {', '.join(shares)}."


class Routed(NamedTuple):
    """What routing brings, and what is needed to do it."""

    routing: Routing
    choice: Choice


def measured(routed_scores: Table, single_scores: Table, span: float = math.inf) -> Routing:
    """What routing brings that was run, against the single best, on the same examples.

    Args:
        routed_scores: The scores by routing.
        single_scores: Those of the single best.
        span: The distance between the lowest and the highest score that there can be.
    """
    gain = Gain(tuple(routed_scores.tolist()), tuple(single_scores.tolist()))
    if len(gain.routed) < 2:
        reason = f"there are {len(gain.routed)} validation examples to tell by"
        return Routing(evidence=False, members=(), reason=reason)
    interval = difference_interval(gain.single, gain.routed, span)
    return Routing(
        evidence=gain.mean > _ROUNDING,
        members=(),
        gain=gain.mean,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        n=len(gain.routed),
    )


def routed(
    scores: Table, likeness: Table, ids: tuple[int, ...], most: int, span: float = math.inf
) -> Routed:
    """The best set of at most so many of these members, and what routing to it brings.

    Args:
        scores: Members by validation examples, of which only those count that all were run on.
        likeness: Examples by examples.
        ids: The members' numbers.
        most: The most members.
        span: The distance between the lowest and the highest score that there can be.
    """
    whole = ~np.isnan(scores).any(0)
    scores, likeness = scores[:, whole], likeness[np.ix_(whole, whole)]
    count = int(whole.sum())
    if count < 2:
        reason = f"its members share {count} validation examples, which tell nothing"
        best = Choice((0,), 1.0)
        return Routed(Routing(evidence=False, members=ids[:1], reason=reason), best)
    choice = grown(scores, likeness, most)
    gain = cross_fitted(scores, likeness, lambda own, like: grown(own, like, most))
    found = measured(np.array(gain.routed), np.array(gain.single), span)
    is_gain = len(choice.members) > 1 and found.evidence
    members = choice.members if is_gain else (int(scores.mean(1).argmax()),)
    chosen = estimates(scores[list(members)], likeness, choice.shrinkage).argmax(0)
    shares = [float((chosen == place).mean()) for place in range(len(members))]
    named = tuple(ids[member] for member in members)
    routing = replace(
        found, evidence=is_gain, members=named, shares=dict(zip(named, shares, strict=True))
    )
    return Routed(routing, Choice(members, choice.shrinkage))

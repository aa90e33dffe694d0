"""Validation step by step: a child on few validation examples, a member on more where it pays.

Full validation of every child is what most of the published search's budget goes into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dspy_gepa.core.frontier import Vector, with_failures_scored
from dspy_gepa.core.streams import stream

__all__ = ["ValidationSchedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSchedule:
    """How many validation examples at a time. Our choice.

    The seed and members that are validated further go through them in one order. A child begins
    with some that its parents were run on: see `core/admission.py`.
    """

    seed_examples: int = 10
    """For the student's own texts, before the first child is compared with them."""
    first: int = 5
    """For a child, to be compared with its parent."""
    step: int = 10
    """For a member that is validated further, each time."""
    share: float = 0.5
    """The share of rollouts, after a head start, that validates members further. Half of them is
    for making members and half for telling which is best: that halves the reflections at equal
    scores, and overfits less."""
    pace: float = 8.0
    """At least so many rollouts are made for each call of the reflection LM, after a head start,
    because such a call costs about as much as so many rollouts."""
    head_start: int = 100
    """The first rollouts, which all go into proposals: early ones gain most."""
    drop: float = 0.1
    """A child is left out if its mean on the first examples is more than this below what is
    expected of its parent there, in units of the span of scores: one in five that turns wrong is
    too much, a trifle of partial credit is not."""
    completion_share: float = 0.25
    """The winner is run on all validation examples if these are no more than this share of the
    rollouts that the budget allows."""

    def order(self, validation: Sequence[int], *, seed: int) -> tuple[int, ...]:
        """The order in which the seed, and members further on, are run on these examples."""
        return _shuffled(tuple(validation), seed)

    def is_due(
        self, *, rollouts: int, revalidated: int, reflections: int, under_way: int = 0
    ) -> bool:
        """Whether a member is validated further before the next proposal.

        Given the rollouts that are paid, those that validate members further, and how many of these
        are under way; and calls of the reflection LM.
        """
        is_behind = revalidated < self.share * (rollouts - self.head_start)
        return is_behind or reflections * self.pace > rollouts + under_way + self.head_start

    def is_worse(self, child: Vector, expected: Vector, *, span: float) -> bool:
        """Whether a child is left out, given its scores and what its parent's would be there."""
        # Tenths have no exact value, and a difference of exactly so much is not enough.
        child, expected = with_failures_scored(np.stack([child, expected]))
        return bool(float((child - expected).mean()) < -self.drop * span - 1e-9)


@lru_cache(maxsize=16)
def _shuffled(validation: tuple[int, ...], seed: int) -> tuple[int, ...]:
    # Every proposal asks for it several times, and it is the same throughout a run.
    order = list(validation)
    stream(seed, "validation order").shuffle(order)
    return tuple(order)

"""Failures in a row: when they speak of a breakdown, and not of the texts that were run.

A quota that is used up or a service that dies makes the program or the metric fail on whatever
comes next. So does a bad text. Told apart are they by trying again what had succeeded.

Rollouts are taken in the order in which proposals ask for them, not in that of their answers, so
that the same answers give the same run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.proposal import Proposal
from dspy_gepa.core.rollout import Rollout, RolloutKey

__all__ = ["Done", "Streaks", "Suspicion", "in_order"]

_CHANCE = 1e-3
"""So improbable has a streak to be by what was seen before it. Our choice."""


class Done(NamedTuple):
    """A rollout that was answered, and what was run."""

    candidate: Candidate
    example: int
    rollout: Rollout


class Suspicion(NamedTuple):
    """So many failures of one cause in a row that something may have broken down."""

    cause: str
    position: int
    """How many rollouts there were by then, which names the trial that shows it."""
    succeeded: Done | None
    """What is to be tried again: the newest rollout that did not fail; None where all did."""


@dataclass(frozen=True, slots=True)
class Streaks:
    """What there was up to some rollout, by cause of failure.

    Only failures of the program or the metric count. A reply that could not be read is neither
    such a failure nor a success.
    """

    rollouts: int = 0
    """Those up to the newest success."""
    before: Mapping[str, int] = field(default_factory=dict)
    """Failures among them."""
    since: Mapping[str, int] = field(default_factory=dict)
    """Failures after the newest success."""
    success: Done | None = None
    """The newest success."""

    def after(self, done: Iterable[Done], least: int) -> tuple[Streaks, list[Suspicion]]:
        """How it stands after these rollouts, and the suspicions that they gave, in order.

        A streak has at least so many failures. It gives one suspicion, and another each time that
        it has doubled.
        """
        total, before, since = self.rollouts, Counter(self.before), Counter(self.since)
        success, suspicions = self.success, []
        for each in done:
            if not each.rollout.failure:
                total, success = total + sum(since.values()) + 1, each
                before.update(since)
                since.clear()
            elif each.rollout.is_broken:
                cause = each.rollout.cause
                since[cause] += 1
                first = max(least, _improbable(before[cause], total))
                times, rest = divmod(since[cause], first)
                if not rest and times & (times - 1) == 0:
                    position = total + sum(since.values())
                    suspicions.append(Suspicion(cause, position, success))
        return Streaks(total, dict(before), dict(since), success), suspicions


def _improbable(failures: int, rollouts: int) -> int:
    """How many failures in a row are improbable after so many among so many rollouts.

    By Laplace's rule of succession.
    """
    return math.ceil(math.log(_CHANCE) / math.log((failures + 1) / (rollouts + 2)))


def in_order(
    proposal: Proposal, known: Mapping[RolloutKey, Rollout], charged: Container[object]
) -> list[Done]:
    """What a proposal adds to what was charged, in order, up to the first that is not answered."""
    new = {
        key: evaluation.candidate
        for evaluation in proposal.evaluations
        for key in evaluation.keys
        if key not in charged
    }
    return [Done(new[key], key.example, known[key]) for key in takewhile(known.__contains__, new)]

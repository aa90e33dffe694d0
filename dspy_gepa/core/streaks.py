"""Failures in a row: when they speak of a breakdown, and not of the texts that were run.

A quota that is used up or a service that dies makes the program or the metric fail on whatever
comes next. So does a bad text, and now and then a tool fails that works. They are told apart by
trying again what had succeeded, until its failures are improbable too.

Rollouts are taken in the order in which proposals ask for them, not in that of their answers, so
that the same answers give the same run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import NamedTuple

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.proposal import Proposal
from dspy_gepa.core.rollout import Rollout, RolloutKey

__all__ = ["CandidateRecord", "Done", "Streaks", "Suspicion", "in_order"]

_CHANCE = 1e-3
"""How improbable a streak has to be by what was seen before it, and the failures of trials by what
was seen of the candidate that is tried. Our choice."""
_MOST_TRIALS = 100
"""Of one suspicion."""


class Done(NamedTuple):
    """A rollout that was answered, and what was run."""

    candidate: Candidate
    example: int
    rollout: Rollout


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """How a candidate did up to the newest success of any."""

    candidate: Candidate
    successes: tuple[int, ...] = ()
    """The examples of the newest ones, the newest last."""
    succeeded: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """How often it fails, by Laplace's rule of succession."""
        return _rate(self.failed, self.succeeded + self.failed)

    def plus(self, example: int) -> CandidateRecord:
        """With a success on this example."""
        kept = (*self.successes, example)[-_KEPT:]
        return replace(self, successes=kept, succeeded=self.succeeded + 1)


_KEPT = 10
"""Examples to try again: several, because one may have become hard for reasons of its own."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Failures in a row that nothing seen before lets expect: something may have broken down."""

    position: int
    """How many rollouts there were by then, which names the trials that show it."""
    causes: Mapping[str, int]
    """What failed how often."""
    known: frozenset[str]
    """Causes of failures before these."""
    witness: CandidateRecord | None
    """Whose successes are to be tried again: the candidate that failed least; None if none ever
    succeeded."""

    def trials(self) -> Iterator[RolloutKey]:
        """What is to be tried again, in order, until it is clear."""
        if self.witness is None:
            return
        digest, examples = self.witness.candidate.digest, self.witness.successes[::-1]
        for number in range(min(2 * self.enough, _MOST_TRIALS)):
            trial = self.position * _MOST_TRIALS + number
            yield RolloutKey(digest, examples[number % len(examples)], trial)

    @property
    def enough(self) -> int:
        """How many failures of what had succeeded are improbable, by how often it failed before."""
        assert self.witness is not None
        return math.ceil(math.log(_CHANCE) / math.log(self.witness.rate))

    def is_confirmed_by(self, failure: Rollout) -> bool:
        """Whether a trial failed for what the streak did.

        Another cause says that something else failed, unless each failure is of a cause of its own.
        """
        single = sum(count == 1 for count in self.causes.values())
        is_ever_new = 2 * single >= sum(self.causes.values()) and failure.cause not in self.known
        return failure.is_broken and (failure.cause in self.causes or is_ever_new)


@dataclass(frozen=True, slots=True)
class Streaks:
    """What there was up to some rollout.

    Only failures of the program or the metric count. A reply that could not be read is neither
    such a failure nor a success.
    """

    rollouts: int = 0
    """Those up to the newest success."""
    before: Mapping[str, int] = field(default_factory=dict)
    """Failures among them, by cause."""
    records: Mapping[str, CandidateRecord] = field(default_factory=dict)
    """How each candidate did, by its digest."""
    since: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Failures after the newest success, by the candidate's digest and by cause."""
    surprise: float = 0.0
    """How improbable those are: the logarithm of it, without its sign."""
    suspected: int = 0
    """How many of them there were at the newest suspicion."""

    def after(self, done: Iterable[Done], least: int) -> tuple[Streaks, list[Suspicion]]:
        """How it stands after these rollouts, and the suspicions that they gave, in order.

        A streak has at least `least` failures. It gives one suspicion, and another each time that
        it has doubled.
        """
        now, suspicions = _Counts(self), []
        for each in done:
            if not each.rollout.failure:
                now.succeed(each)
            elif each.rollout.is_broken:
                length = now.fail(each)
                if length >= max(least, 2 * now.suspected) and now.surprise > -math.log(_CHANCE):
                    now.suspected = length
                    suspicions.append(now.suspicion())
        return now.frozen(), suspicions


class _Counts:
    """`Streaks` while they are counted."""

    def __init__(self, start: Streaks) -> None:
        self._rollouts, self._before = start.rollouts, Counter(start.before)
        self._records, self._since = dict(start.records), Counter(start.since)
        self.surprise, self.suspected = start.surprise, start.suspected

    def succeed(self, done: Done) -> None:
        for (digest, cause), count in self._since.items():
            self._before[cause] += count
            known = self._records[digest]
            self._records[digest] = replace(known, failed=known.failed + count)
        self._rollouts += self._since.total() + 1
        self._since.clear()
        self.surprise, self.suspected = 0.0, 0
        digest = done.candidate.digest
        self._records[digest] = self._record(done.candidate).plus(done.example)

    def fail(self, done: Done) -> int:
        """Count it; how many there are in a row."""
        digest, cause = done.candidate.digest, done.rollout.cause
        self._records[digest] = self._record(done.candidate)
        self._since[digest, cause] += 1
        self.surprise -= math.log(_rate(self._before[cause], self._rollouts))
        return self._since.total()

    def suspicion(self) -> Suspicion:
        causes = Counter[str]()
        for (_, cause), count in self._since.items():
            causes[cause] += count
        able = [record for record in self._records.values() if record.successes]
        witness = min(able, key=lambda record: record.rate, default=None)
        position = self._rollouts + self._since.total()
        return Suspicion(position, causes, frozenset(+self._before), witness)

    def frozen(self) -> Streaks:
        return Streaks(
            self._rollouts,
            dict(+self._before),
            self._records,
            dict(self._since),
            self.surprise,
            self.suspected,
        )

    def _record(self, candidate: Candidate) -> CandidateRecord:
        return self._records.get(candidate.digest) or CandidateRecord(candidate)


def _rate(failures: int, rollouts: int) -> float:
    """How often it fails that failed so often among so many, by Laplace's rule of succession."""
    return (failures + 1) / (rollouts + 2)


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

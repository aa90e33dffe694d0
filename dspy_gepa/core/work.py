"""What the search asks for and what it is told: requests, answers and stops.

A request's key is its idempotency key. An answer that comes late or twice decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dspy_gepa.core.budget import FREE, Tally, Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, RolloutKey

__all__ = [
    "Answer",
    "Attempt",
    "Evidence",
    "ReflectionAnswer",
    "ReflectionKey",
    "ReflectionRequest",
    "Request",
    "RequestKey",
    "RolloutAnswer",
    "RolloutRequest",
    "Setback",
    "Stop",
]

ReflectionKey: TypeAlias = int
"""The ticket of the proposal that reflects."""
RequestKey: TypeAlias = RolloutKey | ReflectionKey


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """Run this candidate once on this example and score it."""

    candidate: Candidate
    example: int
    traced: bool
    """Whether a reflection may want to see how the answer came about."""

    @property
    def key(self) -> RequestKey:
        """What names this work."""
        return RolloutKey(self.candidate.digest, self.example)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A rollout of the candidate that is to be improved, and the example that it ran on."""

    example: int
    rollout: Rollout
    scores: Mapping[str, float] = field(default_factory=dict)
    """Component to the score that came with the words on that component, where it has such."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a reflection on the same candidate wrote before, and why it was rejected."""

    candidate: Candidate
    reason: str
    """In words, for people and models."""


@dataclass(frozen=True, slots=True)
class ReflectionRequest:
    """Write better texts for these components of this candidate, given what it did."""

    ticket: int
    candidate: Candidate
    components: tuple[str, ...]
    """Which texts to rewrite; each was called in at least one rollout of the evidence."""
    evidence: tuple[Evidence, ...]
    """The candidate's rollouts on the minibatch, traced, in the minibatch's order."""
    attempts: tuple[Attempt, ...] = ()
    """The newest rejected ones, the oldest of them first."""

    @property
    def key(self) -> RequestKey:
        """What names this work."""
        return self.ticket


Request: TypeAlias = RolloutRequest | ReflectionRequest


@dataclass(frozen=True, slots=True)
class RolloutAnswer:
    """A rollout that was asked for."""

    key: RolloutKey
    rollout: Rollout


@dataclass(frozen=True, slots=True)
class ReflectionAnswer:
    """The texts that a reflection gave, or why it gave none."""

    ticket: ReflectionKey
    texts: Mapping[str, str] = field(default_factory=dict)
    """Component to new text, for those that could be rewritten."""
    problem: str = ""
    """Why a text that was asked for is missing; empty where nothing is."""
    metric_calls: int = 0
    """Metric calls made for feedback on single components."""
    lm_calls: int = 0
    """Calls of the reflection LM."""
    usage: Usage = FREE
    """What all model calls cost, those of the metric included."""

    @property
    def charge(self) -> Tally:
        """What it costs of the budget."""
        return Tally.of(self.usage, metric_calls=self.metric_calls, reflection_calls=self.lm_calls)


@dataclass(frozen=True, slots=True)
class Setback:
    """A request that could not be carried out, because of what carries it out.

    Never a score: a wrong key, a busy or a dead server says nothing about a candidate. The request
    stays outstanding.
    """

    key: RequestKey
    cause: str
    """In words, for people."""
    is_lasting: bool = True
    """Whether it would not help to wait and try again."""
    metric_calls: int = 0
    """Calls of the user's metric that it cost all the same."""
    rollouts: int = 0
    """Runs of the program, likewise."""
    lm_calls: int = 0
    """Calls of the reflection LM, likewise."""
    usage: Usage = FREE
    """What model calls cost all the same."""
    retry_after_seconds: float = 0.0
    """How long the server asks to be left alone."""
    error: BaseException | None = field(default=None, compare=False)

    @property
    def lost(self) -> Tally:
        """What was paid for nothing."""
        return Tally.of(
            self.usage,
            metric_calls=self.metric_calls,
            rollouts=self.rollouts,
            reflection_calls=self.lm_calls,
        )


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody outside wants the run to end: no new work, what is in flight still counts."""

    reason: str


Answer: TypeAlias = RolloutAnswer | ReflectionAnswer | Setback

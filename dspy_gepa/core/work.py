"""What the search asks for and what it is told: requests, answers and stops.

A request's key is its idempotency key. An answer that comes late or twice decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from dspy_gepa.core.budget import FREE, Tally, Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Remark, RemarkKey, Rollout, RolloutKey

__all__ = [
    "Answer",
    "Evidence",
    "Exchange",
    "Fault",
    "Lesson",
    "ReflectionAnswer",
    "ReflectionKey",
    "ReflectionRequest",
    "RemarkAnswer",
    "RemarkRequest",
    "Repair",
    "Request",
    "RequestFailure",
    "RequestKey",
    "RolloutAnswer",
    "RolloutRequest",
    "Stop",
    "faults_in_words",
]


class ReflectionKey(NamedTuple):
    """Names a question to the reflection."""

    ticket: int
    """Of the proposal that reflects."""
    is_repair: bool = False
    """Whether it is the second question, about what could not be used of the first answer."""
    mends: int = 0
    """How many texts of this proposal did not run and were sent back before."""


RequestKey: TypeAlias = RolloutKey | RemarkKey | ReflectionKey


@dataclass(frozen=True, slots=True)
class RolloutRequest:
    """Run this candidate once on this example and score it."""

    candidate: Candidate
    example: int
    traced: bool
    """Whether a reflection may want to see how the answer came about."""
    trial: int = 0
    """See `RolloutKey`."""

    @property
    def key(self) -> RolloutKey:
        """What names this work."""
        return RolloutKey(self.candidate.digest, self.example, self.trial)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A rollout, mostly of the candidate that is to be improved, and the example that it ran on."""

    example: int
    rollout: Rollout
    remarks: Mapping[str, Remark] = field(default_factory=dict)
    """Component to what the metric said about its part, where it was asked."""

    @property
    def scores(self) -> dict[str, float]:
        """Component to the score that came with the words on that component, where it has such."""
        return {
            name: remark.score
            for name, remark in self.remarks.items()
            if remark.text and remark.score is not None
        }


@dataclass(frozen=True, slots=True)
class RemarkRequest:
    """Ask the metric about this component's part in a rollout that is known."""

    candidate: Candidate
    component: str
    evidence: Evidence

    @property
    def key(self) -> RemarkKey:
        """What names this work."""
        return RemarkKey(self.candidate.digest, self.evidence.example, self.component)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an earlier proposal on this line of ancestors tried, and what came of it."""

    ticket: int
    components: tuple[str, ...]
    """Those that it rewrote."""
    words: str
    """What the reflection said of its change, in a sentence; may be empty."""
    is_kept: bool
    """Whether its texts became a member."""
    gained: int
    """Of the examples on which both ran, how many scored higher than with the parent's texts."""
    lost: int
    """How many scored lower."""
    examples: int
    """How many both ran on."""
    candidate: Candidate | None = None
    """What it proposed, where that was made from the same parent and was run."""
    evidence: tuple[Evidence, ...] = ()
    """How what it proposed did on the examples that its reflection was shown, as far as it was run
    on them; empty if a lesson does not tell it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why components keep their texts although a reflection was to write, or wrote, new ones."""

    components: tuple[str, ...]
    """Several where it cannot be told which of them was meant; empty if it is about no
    component."""
    reason: str
    """In words, for people and for the reflection LM."""


def faults_in_words(faults: Iterable[Fault]) -> str:
    """The components and the reasons."""
    return "; ".join(
        ": ".join(filter(None, [", ".join(fault.components), fault.reason])) for fault in faults
    )


@dataclass(frozen=True, slots=True)
class Repair:
    """A reply of the reflection LM of which something could not be used."""

    components: tuple[str, ...]
    """What it was asked about."""
    reply: str
    """As it came."""
    faults: tuple[Fault, ...]
    """What could not be used and why."""

    @property
    def is_apart(self) -> bool:
        """Whether it is one of several about one reply, each about a part of the components.

        Then its faults name components beside its own.
        """
        return not {name for f in self.faults for name in f.components} <= set(self.components)


@dataclass(frozen=True, slots=True)
class ReflectionRequest:
    """Write better texts for these components of this candidate, given what it did."""

    ticket: int
    candidate: Candidate
    components: tuple[str, ...]
    """Which texts may be rewritten. Each was called in the parent's rollouts on the minibatch, by
    itself or by its owners, unless first texts are to be written."""
    evidence: tuple[Evidence, ...]
    """The candidate's rollouts on the minibatch, traced, in the minibatch's order; the one that
    failed where `mends` is above 0; empty if first texts are to be written."""
    contrasts: tuple[Evidence, ...] = ()
    """Other rollouts of the candidate that are known already and scored higher than the worst of
    the evidence, the highest first: what a rewrite must not break."""
    lessons: tuple[Lesson, ...] = ()
    """What came of earlier proposals on this line, in ticket order."""
    repairs: tuple[Repair, ...] = ()
    """What could not be used of the first replies, where this is the second question; it is about
    these replies alone. Empty in the first question."""
    mends: int = 0
    """Above 0 if the candidate is what this proposal made itself and does not run."""
    room: int = 0
    """Characters of a prompt that the reflection LM can read, where a longer one was refused in
    this run; else 0."""
    asks_apart: bool = False
    """Whether the reflection LM did not say whose text it wrote where it was asked about several
    components, so that each is asked about by itself: see `ReflectionAnswer.naming`."""

    @property
    def key(self) -> RequestKey:
        """What names this work."""
        return ReflectionKey(self.ticket, bool(self.repairs), self.mends)


Request: TypeAlias = RolloutRequest | RemarkRequest | ReflectionRequest


@dataclass(frozen=True, slots=True)
class RolloutAnswer:
    """A rollout that was asked for."""

    key: RolloutKey
    rollout: Rollout


@dataclass(frozen=True, slots=True)
class RemarkAnswer:
    """What the metric said about a component."""

    key: RemarkKey
    remark: Remark


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt to the reflection LM and what came of it; put on record and not looked at."""

    components: tuple[str, ...] = ()
    """What it was about; empty if that is not known."""
    prompt: str = ""
    reply: str = ""
    """As it came; empty if none came."""
    refused: str = ""
    """Why something of the reply could not be used; empty if all could."""
    is_cut_off: bool = False
    """Whether the reply ended at a limit of tokens."""
    seconds: float = 0.0
    prompt_tokens: int = 0
    """As the model reports them; 0 where it does not."""
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ReflectionAnswer:
    """The texts that a reflection gave, or why it gave none."""

    ticket: int
    texts: Mapping[str, str] = field(default_factory=dict)
    """Component to new text, for those that could be rewritten."""
    problem: str = ""
    """Why texts are missing, where that is about no single component; empty if none is."""
    metric_calls: int = 0
    """Calls of the user's metric that it made itself."""
    lm_calls: int = 0
    """Calls of the reflection LM."""
    usage: Usage = FREE
    """What all model calls cost, those of the metric included."""
    diagnosis: str = ""
    """What goes wrong and why, in the reflection's words; empty if it did not say."""
    lesson: str = ""
    """What it assumes about its change, in a sentence; empty if it did not say."""
    is_unchanged: bool = False
    """Whether it says that no text is at fault, so that none is to be rewritten."""
    faults: tuple[Fault, ...] = ()
    """Which components keep their texts because what was given for them cannot be used."""
    repairs: tuple[Repair, ...] = ()
    """What cannot be used of the replies, and may be asked about once more."""
    is_repair: bool = False
    """Whether it answers the second question."""
    mends: int = 0
    """As in the request."""
    room: int = 0
    """As in the request, with what was learned of it."""
    exchanges: tuple[Exchange, ...] = field(default=(), compare=False)
    """Every prompt and its reply, in order."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took."""
    naming: int = 0
    """Of a question about several components: 1 if it was said whose the texts are, -1 if it
    was not, also when that was asked for; else 0."""

    @property
    def key(self) -> ReflectionKey:
        """The request that it answers."""
        return ReflectionKey(self.ticket, self.is_repair, self.mends)

    def after(self, first: ReflectionAnswer) -> ReflectionAnswer:
        """What both answers say, where this one is about what could not be used of the first.

        What could be used stays, whatever became of the rest. What this answer says nothing of is
        at fault as before, unless it says that no text is to be rewritten.
        """
        answered = {*self.texts, *(name for fault in self.faults for name in fault.components)}
        before = [f for repair in first.repairs for f in repair.faults if f.components]
        still = (
            [] if self.is_unchanged else [f for f in before if answered.isdisjoint(f.components)]
        )
        return replace(
            self,
            texts={**first.texts, **self.texts},
            diagnosis=first.diagnosis or self.diagnosis,
            lesson=self.lesson or first.lesson,
            problem="; ".join(filter(None, [first.problem, self.problem])),
            is_unchanged=self.is_unchanged and not first.texts,
            faults=(*first.faults, *still, *self.faults),
            repairs=(),
            naming=self.naming or first.naming,
        )

    @property
    def unrepaired(self) -> ReflectionAnswer:
        """The answer if nothing of it is asked about once more."""
        unmended = (fault for repair in self.repairs for fault in repair.faults)
        return replace(self, faults=(*self.faults, *unmended), repairs=())

    @property
    def shortfalls(self) -> tuple[Fault, ...]:
        """All reasons why texts are missing."""
        return (*([Fault((), self.problem)] if self.problem else []), *self.faults)

    @property
    def charge(self) -> Tally:
        """What it costs of the budget."""
        return Tally.of(self.usage, metric_calls=self.metric_calls, reflection_calls=self.lm_calls)


@dataclass(frozen=True, slots=True)
class RequestFailure:
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
    pause_seconds: float = field(default=0.0, compare=False)
    """For how long nothing is begun because of it."""
    retry_after_seconds: float = 0.0
    """How long the server asks to be left alone."""
    is_of_process: bool = False
    """Whether the process that carried it out went away, which says nothing about any model."""
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


Answer: TypeAlias = RolloutAnswer | RemarkAnswer | ReflectionAnswer | RequestFailure

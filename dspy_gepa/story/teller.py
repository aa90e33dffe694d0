"""The fold: events, each with the state after it and its time, become notes and then a story.

An event costs next to nothing: what takes longer, such as an estimate of how good all members are,
is worked out when somebody asks for it, and so is the story itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.events import (
    Advanced,
    Committed,
    Event,
    Issued,
    Reflected,
    Remarked,
    RequestFailed,
    RolledOut,
)
from dspy_gepa.core.proposal import (
    CheckingMustPass,
    EvaluatingChild,
    EvaluatingParent,
    Evaluation,
    Origin,
    Phase,
    Proposal,
    Reflecting,
    Revalidation,
    Seed,
    Validating,
    evaluations_of,
)
from dspy_gepa.core.rollout import Remark, RemarkKey, Rollout, RolloutKey
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import ReflectionAnswer, RequestKey
from dspy_gepa.story.parts import ExchangeStory, Moment, Spending, Trouble

__all__ = ["Note", "Teller", "spending_of"]


_Paid: TypeAlias = Rollout | Remark | ReflectionAnswer | RequestFailed


@dataclass(slots=True)
class Note:
    """What events said of one proposal, beyond what the state keeps of it."""

    began_at: float | None = None
    ended_at: float | None = None
    components: tuple[str, ...] = ()
    shown: Evaluation | None = None
    gate: Evaluation | None = None
    anchors: Evaluation | None = None
    reference: tuple[Evaluation, ...] = ()
    """The seed's on the anchors."""
    validation: Evaluation | None = None
    """On the validation examples that the proposal asks for."""
    exchanges: list[ExchangeStory] = field(default_factory=list)


@dataclass(frozen=True)
class _PoolChange:
    """A proposal that changed the pool, and the state after it."""

    ticket: int
    has_joined: bool
    """Whether it became a member."""
    state: RunState
    at: float | None
    seconds: float
    """How long the run had been going on."""

    def __getstate__(self) -> dict[str, object]:
        """With where the run stood in place of the state, which holds strategies of the call's."""
        return {**self.__dict__, "state": None, "moment": self.moment}

    @cached_property
    def moment(self) -> Moment:
        """Where the run stood."""
        # Worked out when somebody asks: it takes longer than all that a run is told of otherwise.
        state = self.state
        estimates, best, tally, scale = state.estimates, state.best, state.used, state.scale
        return Moment(
            proposal=self.ticket,
            member=len(state.members) - 1 if self.has_joined else None,
            best=best,
            best_estimate=scale.on(float(estimates[best])),
            seed_estimate=scale.on(float(estimates[0])),
            member_estimate=scale.on(float(estimates[-1])) if self.has_joined else None,
            metric_calls=tally.metric_calls,
            total_tokens=tally.total_tokens,
            usd=tally.usd,
            at=self.at,
            seconds=None if self.at is None else self.seconds,
        )


class Teller:
    """Takes note of events, in order. What it knows so far is in its attributes.

    Args:
        begun: The state before the first event.
    """

    def __init__(self, begun: RunState) -> None:
        self.state = begun
        self.notes: dict[int, Note] = {}
        self.troubles: dict[str, Trouble] = {}
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.running_seconds = 0.0
        """Until the last event, pauses between sessions left out."""
        self._purposes: dict[RolloutKey | RemarkKey, str] = {}
        self._since: float | None = None
        self._pool_changes: list[_PoolChange] = []
        self._spending: dict[str, Spending] = {}
        self._called: set[str] = set()
        self._calls: list[int] = []
        self._paid: list[tuple[str, int, _Paid]] = []
        """Purpose, session and what was paid for, as far as it is not added up yet."""
        for proposal in begun.live:
            self._enter(proposal.ticket, proposal.origin, proposal.phase)

    def opened(self, at: float) -> None:
        """Take note that a session begins: time runs from now on.

        One that began no later than the last thing that is known is passed over.
        """
        if self.last_at is not None and at <= self.last_at:
            return
        self._calls.append(0)
        self._since = at
        self._pass(at)

    def told(self, event: Event, state: RunState, at: float | None = None) -> None:
        """Take note of an event; `state` is the one after it."""
        if at is not None:
            self._pass(at)
        before, self.state = self.state, state
        match event:
            case RolledOut(key, rollout):
                # A trial of what is known already is paid by who asked for that.
                asked = key._replace(trial=0) if key.trial else key
                self._spend(self._purposes.get(asked, "lost"), rollout)
            case Remarked(_, remark):
                self._spend("feedback on components", remark)
            case Reflected(reflection):
                self._reflected(reflection)
            case RequestFailed():
                self._faltered(event, at)
            case Issued(ticket, origin, phase):
                self._enter(ticket, origin, phase)
                self._note(ticket).began_at = at
            case Advanced(ticket, phase):
                self._enter(ticket, _live(state, ticket).origin, phase)
            case Committed(ticket):
                self._note(ticket).ended_at = at
                self._committed(ticket, before, at)

    @property
    def curve(self) -> tuple[Moment, ...]:
        """Where the run stood after each proposal that changed the pool."""
        return tuple(change.moment for change in self._pool_changes)

    @property
    def last_moment(self) -> Moment | None:
        """The last of the curve; None before the seed is validated."""
        return self._pool_changes[-1].moment if self._pool_changes else None

    @property
    def spending(self) -> Mapping[str, Spending]:
        """What was spent so far, by purpose."""
        self._add_up()
        return self._spending

    @property
    def called(self) -> AbstractSet[str]:
        """The components that any rollout called."""
        self._add_up()
        return self._called

    @property
    def calls(self) -> Sequence[int]:
        """Of the metric, in each session."""
        self._add_up()
        return self._calls

    def _pass(self, at: float) -> None:
        if self.first_at is None:
            self.first_at = at
        if self._since is None:
            self._since = at
        self.running_seconds += max(0.0, at - self._since)
        self._since = max(at, self._since)
        self.last_at = at

    def _note(self, ticket: int) -> Note:
        return self.notes.setdefault(ticket, Note())

    def _spend(self, purpose: str, what: _Paid) -> None:
        # Added up when somebody asks: most events are rollouts, and a run must not wait for this.
        self._paid.append((purpose, len(self._calls) - 1, what))

    def _add_up(self) -> None:
        paid, self._paid = self._paid, []
        for purpose, session, what in paid:
            if isinstance(what, RequestFailed):
                spent = spending_of(what.lost)
            else:
                spent = spending_of(what.charge, _worked(what))
            self._spending[purpose] = self._spending.get(purpose, Spending()) + spent
            if session >= 0:
                self._calls[session] += spent.metric_calls
            if isinstance(what, Rollout):
                self._called.update(step.component for step in what.trace.steps)

    def _enter(self, ticket: int, origin: Origin, phase: Phase) -> None:
        """Take note of what a phase asks for, and what for."""
        note = self._note(ticket)
        match phase:
            case Reflecting(evaluation, components):
                note.shown, note.components = evaluation, components
            case EvaluatingChild(evaluation):
                note.gate = evaluation
            case CheckingMustPass(evaluation, reference):
                note.anchors, note.reference = evaluation, reference
            case Validating(evaluation) if note.validation is None:
                note.validation = evaluation
        purpose = _purpose(origin, phase)
        for evaluation in evaluations_of(phase):
            for key in evaluation.keys:
                # Rollouts are paid by who asks first.
                self._purposes.setdefault(key, purpose)

    def _reflected(self, reflection: ReflectionAnswer) -> None:
        self._spend("reflections", reflection)
        self._note(reflection.ticket).exchanges += [
            ExchangeStory(
                components=each.components,
                prompt=each.prompt,
                reply=each.reply,
                refused=each.refused,
                is_cut_off=each.is_cut_off,
                seconds=each.seconds,
                prompt_tokens=each.prompt_tokens,
                completion_tokens=each.completion_tokens,
            )
            for each in reflection.exchanges
        ]

    def _faltered(self, event: RequestFailed, at: float | None) -> None:
        cause, lost = event.cause, spending_of(event.lost)
        self._spend("lost", event)
        known = self.troubles.get(cause) or Trouble(cause=cause, times=0, first_at=at)
        self.troubles[cause] = Trouble(
            cause=cause,
            times=known.times + 1,
            requests=tuple(dict.fromkeys([*known.requests, _kind(event.key)])),
            first_at=known.first_at,
            last_at=at,
            paused_seconds=known.paused_seconds + event.pause_seconds,
            lost=known.lost + lost,
        )

    def _committed(self, ticket: int, before: RunState, at: float | None) -> None:
        state, joined = self.state, len(self.state.members) > len(before.members)
        verdict = state.history[ticket].verdict.kind
        if not state.members or not (joined or verdict == "measured"):
            return
        change = _PoolChange(ticket, joined, state, at, self.running_seconds)
        self._pool_changes.append(change)


def spending_of(tally: Tally, seconds: float = 0.0) -> Spending:
    """The same as a part of a story."""
    return Spending(
        rollouts=tally.rollouts,
        metric_calls=tally.metric_calls,
        reflection_calls=tally.reflection_calls,
        total_tokens=tally.total_tokens,
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        usd=tally.usd,
        unpriced_calls=tally.unpriced_calls,
        seconds=seconds,
    )


def _worked(what: Rollout | Remark | ReflectionAnswer) -> float:
    """Seconds of work: calls of a reflection that ran side by side count each."""
    if not isinstance(what, ReflectionAnswer):
        return what.seconds
    return max(what.seconds, sum(each.seconds for each in what.exchanges))


def _live(state: RunState, ticket: int) -> Proposal:
    return next(proposal for proposal in state.live if proposal.ticket == ticket)


def _purpose(origin: Origin, phase: Phase) -> str:
    if isinstance(origin, Seed):
        return "validating the seed"
    if isinstance(origin, Revalidation):
        return "later validation"
    match phase:
        case EvaluatingParent():
            return "looking for failures"
        case EvaluatingChild():
            return "gate"
        case CheckingMustPass():
            return "examples that must pass"
    return "validation"


def _kind(key: RequestKey) -> str:
    if isinstance(key, RolloutKey):
        return "rollout"
    return "feedback" if isinstance(key, RemarkKey) else "reflection"

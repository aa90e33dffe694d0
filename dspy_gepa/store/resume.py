"""From stored events back to a run that goes on as if it had never stopped.

What was answered always counts. What was decided because the run was ending does not: a run that
goes on would have decided otherwise. Nor does on how many examples the seed was validated, as long
as there was nothing but the seed: a run with this budget might have begun with others. Nor do
failures that came of a breakdown, and all that was decided by them. What had begun when the process
was killed was paid for, at least in part: it counts as lost, and is begun anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from dspy_gepa.core.asking import asked_by
from dspy_gepa.core.budget import Tally
from dspy_gepa.core.endings import useless_reflections
from dspy_gepa.core.events import (
    Ended,
    Event,
    Issued,
    Reflected,
    Remarked,
    RequestFailed,
    RolledOut,
)
from dspy_gepa.core.rollout import RemarkKey, RolloutKey
from dspy_gepa.core.search import decide, evolve
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import (
    Answer,
    ReflectionAnswer,
    ReflectionKey,
    RemarkAnswer,
    RequestKey,
    RolloutAnswer,
    faults_in_words,
)

__all__ = ["ResumePoint", "is_past_seed", "reopening", "replayed", "unanswered"]


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """How a run that was ended from outside goes on."""

    kept: int
    """How many of its events hold."""
    events: tuple[Event, ...]
    """What takes the place of the others: the answers among them and what follows from those."""
    state: RunState
    """After all of these."""


def replayed(state: RunState, events: Iterable[Event]) -> RunState:
    """The state after these events."""
    return reduce(evolve, events, state)


def is_past_seed(events: Iterable[Event]) -> bool:
    """Whether anything was done beside validating the seed: begun, or written for it."""
    return any(isinstance(event, Issued | Reflected) for event in events)


def reopening(begun: RunState, events: Sequence[Event]) -> ResumePoint | None:
    """How to carry on a run that was interrupted, broke down, or had a budget for its seed alone.

    None if there is nothing to take back: its events hold as they are, because it never ended
    or came to its end by itself.
    """
    ends = [number for number, event in enumerate(events) if isinstance(event, Ended)]
    if ends and (broken := _Broken.at(begun, events, ends[0])) is not None:
        return broken.taken_back(begun, events)
    if not is_past_seed(events):
        return _rebegun(begun, tuple(events))
    if not ends:
        return None
    kept = ends[0]
    state = replace(replayed(begun, events[:kept]), failed_attempts={})
    if len(events) == kept + 1 and decide(state, None) == (events[kept],):
        return None
    repeated: list[Event] = []
    for event in events[kept + 1 :]:
        if _is_heard(event):
            answer = _answer(event)
            decided = (event,) if answer is None else decide(state, answer)
            repeated += decided
            state = replayed(state, decided)
    return ResumePoint(kept, tuple(repeated), replace(state, failed_attempts={}))


def unanswered(
    begun: RunState, events: Sequence[Event], keys: Iterable[RequestKey], *, trial_calls: int = 0
) -> tuple[Event, ...]:
    """That what had begun when the process died is lost, at the most that it can have cost.

    What the models cost is not known; as much is taken as the dearest of its kind did before.

    Args:
        begun: The state before the first event.
        events: What is stored.
        keys: What was begun and has no answer.
        trial_calls: How many calls of the metric the first rollout that comes to it may make beyond
            one.
    """
    keys = tuple(keys)
    if not keys:
        return ()
    state, lost = replayed(begun, events), []
    is_first = not any(rollout.metric_calls for rollout in state.known.values())
    for key in keys:
        count = Tally.of(state.dearest(key), metric_calls=1)
        if isinstance(key, RolloutKey):
            calls = 1 + trial_calls * is_first
            count, is_first = replace(count, rollouts=1, metric_calls=calls), False
        elif isinstance(key, ReflectionKey):
            # A proposer of somebody's own may make more than are held for it.
            made = [event.reflection.lm_calls for event in events if isinstance(event, Reflected)]
            most = max([state.settings.reflection_calls, *made])
            count = replace(count, metric_calls=0, reflection_calls=most)
        lost.append(RequestFailed(key, "the process ended before it was answered", count))
    return tuple(lost)


def _rebegun(begun: RunState, events: tuple[Event, ...]) -> ResumePoint | None:
    """How a run goes on from a beginning that may be another one than it had.

    What follows from the answers is left to be decided: until the manifest is written too, they
    have to be good for either beginning.
    """
    answers = tuple(filter(_is_heard, events))
    state = replace(replayed(begun, answers), failed_attempts={})
    decisions = len(events) - len(answers)
    if not decisions or events == (*answers, *decide(state, None)[:decisions]):
        return None
    return ResumePoint(0, answers, state)


@dataclass(frozen=True, slots=True)
class _Broken:
    """The answers that are no results, because something had broken down."""

    causes: frozenset[str]
    """Of failed rollouts."""
    reflections: frozenset[int]
    """Tickets."""
    late: frozenset[RolloutKey] = frozenset()
    """Rollouts that were under way at the end, and failed after it for whatever cause."""

    @classmethod
    def at(cls, begun: RunState, events: Sequence[Event], end: int) -> _Broken | None:
        """Those for which a run ended with this event; None if it was for something else."""
        ended = events[end]
        if not isinstance(ended, Ended) or not ended.is_breakdown:
            return None
        if ended.causes:
            late = (event for event in events[end:] if isinstance(event, RolledOut))
            failed = frozenset(event.key for event in late if event.rollout.is_broken)
            return cls(frozenset(ended.causes), frozenset(), failed)
        state = replace(replayed(begun, events[:end]), failed_attempts={})
        # Otherwise it was something from outside that it ended for.
        is_by_itself = decide(state, None)[:1] == (ended,)
        reflections = useless_reflections(state) if is_by_itself else frozenset()
        return cls(frozenset(), reflections) if reflections else None

    def taken_back(self, begun: RunState, events: Sequence[Event]) -> ResumePoint:
        """How the run goes on without them. What they cost stays on record."""
        first = next(number for number, event in enumerate(events) if self._has(event))
        before = after = replayed(begun, events[:first])
        repeated: list[Event] = []
        for event in events[first:]:
            if _is_heard(event):
                heard = self._heard(before, after, event)
                repeated += heard
                after = replayed(after, heard)
            before = evolve(before, event)
        return ResumePoint(first, tuple(repeated), replace(after, failed_attempts={}))

    def _has(self, event: Event) -> bool:
        match event:
            case RolledOut(key, rollout):
                return rollout.is_broken and (rollout.cause in self.causes or key in self.late)
            case Reflected(reflection):
                return reflection.ticket in self.reflections
        return False

    def _heard(self, before: RunState, after: RunState, event: Event) -> tuple[Event, ...]:
        """What becomes of an answer, given the state before it as it was and as it is now."""
        match event:
            case RolledOut(key, rollout) if self._has(event) or key.trial:
                lost = Tally.of(rollout.usage, rollouts=1, metric_calls=rollout.metric_calls)
                return (RequestFailed(key, rollout.failure, lost),)
            case RolledOut(key) | Remarked(key):
                heard = replace(event, is_asked_for=_is_wanted(after, key))
                said = _answer(heard)
                return (heard,) if said is None else decide(after, said)
            case Reflected(answer):
                if self._has(event) or not _is_same_question(before, after, answer):
                    why = faults_in_words(answer.shortfalls)
                    why = why or "no proposal asks for it any more"
                    return (RequestFailed(answer.key, why, answer.charge),)
                return decide(after, answer)
        return (event,)


def _is_wanted(state: RunState, key: RolloutKey | RemarkKey) -> bool:
    """Whether a proposal under way waits for this."""
    if isinstance(key, RemarkKey):
        return any(key in proposal.remarks for proposal in state.live)
    evaluations = (each for proposal in state.live for each in proposal.evaluations)
    return any(key in evaluation.keys for evaluation in evaluations)


def _is_same_question(before: RunState, after: RunState, answer: ReflectionAnswer) -> bool:
    """Whether a proposal under way asks the reflection what it was asked."""
    questions = [
        request
        for state in (before, after)
        for proposal in state.live
        if proposal.ticket == answer.ticket
        for request in asked_by(state, proposal)
        if request.key == answer.key
    ]
    return len(questions) == 2 and questions[0] == questions[1]


def _is_heard(event: Event) -> bool:
    """Whether an event records what came from outside and not what was decided."""
    # What was paid for nothing counts too, and is no reason to end this time.
    return isinstance(event, RolledOut | Remarked | Reflected | RequestFailed)


def _answer(event: Event) -> Answer | None:
    """The answer from which something follows; None for what is only put on record."""
    match event:
        case RolledOut(key, rollout, is_asked_for=True):
            return RolloutAnswer(key, rollout)
        case Remarked(key, remark, is_asked_for=True):
            return RemarkAnswer(key, remark)
        case Reflected(reflection):
            return reflection
    return None

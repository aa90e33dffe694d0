"""From stored events back to a run that goes on as if it had never stopped.

What was answered always counts. What was decided because the run was ending does not: a run that
goes on would have decided otherwise. Nor does on how many examples the seed was validated, as long
as there was nothing but the seed: a run with this budget might have begun with others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from dspy_gepa.core.events import Ended, Event, Faltered, Issued, Reflected, RolledOut
from dspy_gepa.core.search import decide, evolve
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Answer, RolloutAnswer

__all__ = ["Reopening", "is_past_seed", "reopening", "replayed"]


@dataclass(frozen=True, slots=True)
class Reopening:
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


def reopening(begun: RunState, events: Sequence[Event]) -> Reopening | None:
    """How to carry on a run that was interrupted, broke down, or had a budget for its seed alone.

    None where there is nothing to take back: its events hold as they are, because it never ended
    or came to its end by itself.
    """
    if not is_past_seed(events):
        return _rebegun(begun, tuple(events))
    ends = [number for number, event in enumerate(events) if isinstance(event, Ended)]
    if not ends:
        return None
    kept = ends[0]
    state = replace(replayed(begun, events[:kept]), vain={})
    if len(events) == kept + 1 and decide(state, None) == (events[kept],):
        return None
    repeated: list[Event] = []
    for event in events[kept + 1 :]:
        if _is_heard(event):
            answer = _answer(event)
            decided = (event,) if answer is None else decide(state, answer)
            repeated += decided
            state = replayed(state, decided)
    return Reopening(kept, tuple(repeated), replace(state, vain={}))


def _rebegun(begun: RunState, events: tuple[Event, ...]) -> Reopening | None:
    """How a run goes on from a beginning that may be another one than it had.

    What follows from the answers is left to be decided: until the manifest is written too, they
    have to be good for either beginning.
    """
    answers = tuple(filter(_is_heard, events))
    state = replace(replayed(begun, answers), vain={})
    decisions = len(events) - len(answers)
    if not decisions or events == (*answers, *decide(state, None)[:decisions]):
        return None
    return Reopening(0, answers, state)


def _is_heard(event: Event) -> bool:
    """Whether an event records what came from outside and not what was decided."""
    # What was paid for nothing counts too, and is no reason to end this time.
    return isinstance(event, RolledOut | Reflected | Faltered)


def _answer(event: Event) -> Answer | None:
    """The answer that an event records; None where it records a decision."""
    match event:
        case RolledOut(key, rollout):
            return RolloutAnswer(key, rollout)
        case Reflected(reflection):
            return reflection
    return None

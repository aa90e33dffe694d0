"""From stored events back to a run that goes on as if it had never stopped.

What was answered always counts. What was decided because the run was ending does not: a run that
goes on would have decided otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from dspy_gepa.core.events import Ended, Event, Faltered, Reflected, RolledOut
from dspy_gepa.core.search import decide, evolve
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Answer, RolloutAnswer

__all__ = ["Reopening", "reopening", "replayed"]


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


def reopening(begun: RunState, events: Sequence[Event]) -> Reopening | None:
    """How to carry on a run that was interrupted or broke down.

    None where there is nothing to take back: its events hold as they are, because it never ended
    or came to its end by itself.
    """
    ends = [number for number, event in enumerate(events) if isinstance(event, Ended)]
    if not ends:
        return None
    kept = ends[0]
    state = replace(replayed(begun, events[:kept]), vain={})
    if len(events) == kept + 1 and decide(state, None) == (events[kept],):
        return None
    repeated: list[Event] = []
    for event in events[kept + 1 :]:
        answer = _answer(event)
        if answer is not None or isinstance(event, Faltered):
            # What was paid for nothing counts, and is no reason to end this time.
            decided = (event,) if answer is None else decide(state, answer)
            repeated += decided
            state = replayed(state, decided)
    return Reopening(kept, tuple(repeated), replace(state, vain={}))


def _answer(event: Event) -> Answer | None:
    """The answer that an event records; None where it records a decision."""
    match event:
        case RolledOut(key, rollout):
            return RolloutAnswer(key, rollout)
        case Reflected(reflection):
            return reflection
    return None

"""The engine: decide, evolve, tell the observers, hand out what is new, wait for an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dspy_gepa.core.events import Committed, Event, RolledOut
from dspy_gepa.core.search import decide, evolve, requests
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Answer, Breakdown, RequestKey, Stop
from dspy_gepa.run.executor import Executor

__all__ = ["Finish", "Listener", "Stopper", "run"]

Listener: TypeAlias = Callable[[Event, RunState], None]
"""Told of every event, with the state after it. Only a journal may raise, which ends the run."""

Stopper: TypeAlias = Callable[[RunState], str]
"""Asked after every commit: why the run should end, or nothing where it should go on."""


@dataclass(frozen=True, slots=True)
class Finish:
    """How a run came to its end."""

    state: RunState
    error: BaseException | None = None
    """What broke the work, where `state.is_broken`."""


def run(
    state: RunState,
    executor: Executor,
    listeners: Sequence[Listener] = (),
    stoppers: Sequence[Stopper] = (),
) -> Finish:
    """Carry a run on from this state until it ends.

    The first Ctrl-C ends it as a `Stop` does: what runs is finished and counted. The second is
    raised at once.
    """
    said: Answer | Stop | None = None
    submitted: set[RequestKey] = set()
    error: BaseException | None = None
    while True:
        events = decide(state, said)
        for event in events:
            state = evolve(state, event)
            for listen in listeners:
                listen(event, state)
        if stop := _stop(state, events, stoppers):
            said = stop
            continue
        if state.ending:
            executor.abandon()
        elif said is None or not all(isinstance(event, RolledOut) for event in events):
            # An answered rollout on its own makes no new work.
            _submit_new(state, submitted, executor)
        if not executor.in_flight:
            return Finish(state, error)
        said = _next_said(executor, is_ending=bool(state.ending))
        if isinstance(said, Breakdown) and error is None:
            error = said.error


def _stop(state: RunState, events: Sequence[Event], stoppers: Sequence[Stopper]) -> Stop | None:
    if state.ending or not any(isinstance(event, Committed) for event in events):
        return None
    reason = next(filter(None, (stopper(state) for stopper in stoppers)), "")
    return Stop(reason) if reason else None


def _submit_new(state: RunState, submitted: set[RequestKey], executor: Executor) -> None:
    for request in requests(state):
        if request.key not in submitted:
            submitted.add(request.key)
            executor.submit(request)


def _next_said(executor: Executor, *, is_ending: bool) -> Answer | Stop:
    try:
        return executor.next_answer()
    except KeyboardInterrupt:
        if is_ending:
            raise
        return Stop("interrupted from the keyboard")

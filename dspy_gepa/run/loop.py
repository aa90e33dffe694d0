"""The engine: decide, evolve, tell the observers, begin what may begin, wait for an answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dspy_gepa.core.events import Committed, Event, RolledOut
from dspy_gepa.core.search import decisions, evolve, requests, shortage
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import (
    Answer,
    Request,
    RequestKey,
    Setback,
    Stop,
)
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.interruption import INTERRUPTED, interruptible
from dspy_gepa.run.pace import Pace

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
    is_stopped: bool = False
    """Whether somebody ended it, or the time: it did not come to its end by itself."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took."""
    was_interrupted: bool = False
    """Whether it was somebody at the keyboard who ended it."""


def run(
    state: RunState,
    executor: Executor,
    listeners: Sequence[Listener] = (),
    stoppers: Sequence[Stopper] = (),
    pace: Pace | None = None,
) -> Finish:
    """Carry a run on from this state until it ends.

    The first Ctrl-C ends it as a `Stop` does: what runs is finished and counted. The second is
    raised at once.
    """
    begun_seconds = time.monotonic()
    desk = _Desk(executor, pace or Pace(executor.slots), _deadline(state, begun_seconds))
    said: Answer | Stop | None = None
    error: BaseException | None = None
    is_stopped = False
    with interruptible(executor) as was_pressed:
        while True:
            events: list[Event] = []
            for event in decisions(state, said):
                state = evolve(state, event)
                events.append(event)
                for listen in listeners:
                    listen(event, state)
            if isinstance(said, Setback) and state.is_broken and error is None:
                error = said.error
            is_stopped = is_stopped or isinstance(said, Stop)
            if stop := _stop(state, events, stoppers):
                said = stop
                continue
            stop = desk.begin(state, is_new=any(map(_makes_work, events)))
            if stop is None and not executor.in_flight and (state.ending or not desk.waiting):
                seconds = time.monotonic() - begun_seconds
                was_interrupted = was_pressed() or state.ending == INTERRUPTED
                return Finish(state, error, is_stopped or was_pressed(), seconds, was_interrupted)
            said = stop or desk.next_said(is_ending=bool(state.ending), was_pressed=was_pressed)


@dataclass
class _Desk:
    """What runs, and what waits to be begun."""

    executor: Executor
    pace: Pace
    deadline_seconds: float
    running: dict[RequestKey, Request] = field(default_factory=dict)
    waiting: deque[Request] = field(default_factory=deque)

    def begin(self, state: RunState, *, is_new: bool) -> Stop | None:
        """Begin what may begin now; or why the run has to end, as nothing may any more."""
        if state.ending:
            self.waiting.clear()
            return None
        if time.monotonic() >= self.deadline_seconds:
            limit = state.settings.limits.seconds
            return Stop(f"the budget is used up: {limit:g} seconds have passed")
        if is_new or not self.waiting:
            self.waiting = deque(r for r in requests(state) if r.key not in self.running)
        while self.waiting and self.executor.in_flight < self.pace.allowed:
            if self.pace.pause_seconds:
                break
            if reason := shortage(state, tuple(self.running.values()), self.waiting[0]):
                return None if self.executor.in_flight else Stop(reason)
            request = self.waiting.popleft()
            self.running[request.key] = request
            self.executor.submit(request)
        return None

    def next_said(
        self, *, is_ending: bool, was_pressed: Callable[[], bool]
    ) -> Answer | Stop | None:
        """The next answer or stop; None where it is time to begin something."""
        try:
            said = self.executor.next_answer(self._patience_seconds(is_ending=is_ending))
        except KeyboardInterrupt:
            # Where the signal has no handler of ours: see `interruptible`.
            if is_ending or was_pressed():
                raise
            return Stop(INTERRUPTED)
        if said is None or isinstance(said, Stop):
            return said
        self.running.pop(said.key, None)
        if isinstance(said, Setback):
            self.pace.set_back(said)
        else:
            self.pace.answered()
        return said

    def _patience_seconds(self, *, is_ending: bool) -> float | None:
        """How long to wait for an answer; None for as long as it takes."""
        if is_ending:
            return None
        waits = []
        if self.waiting and self.pace.pause_seconds:
            waits.append(self.pace.pause_seconds)
        if self.deadline_seconds < float("inf"):
            waits.append(max(0.0, self.deadline_seconds - time.monotonic()))
        return min(waits, default=None)


def _makes_work(event: Event) -> bool:
    """Whether other requests may follow from it: not from an answered rollout on its own."""
    return not isinstance(event, RolledOut) or event.rollout.is_broken


def _deadline(state: RunState, begun_seconds: float) -> float:
    seconds = state.settings.limits.seconds
    return float("inf") if seconds is None else begun_seconds + seconds


def _stop(state: RunState, events: Sequence[Event], stoppers: Sequence[Stopper]) -> Stop | None:
    if state.ending or not any(isinstance(event, Committed) for event in events):
        return None
    reason = next(filter(None, (stopper(state) for stopper in stoppers)), "")
    return Stop(reason) if reason else None

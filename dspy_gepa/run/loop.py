"""The engine: decide, evolve, tell the observers, begin what may begin, wait for an answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from dspy_gepa.core.events import Committed, Event, Remarked, RolledOut
from dspy_gepa.core.search import decisions, evolve, requests, shortage
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import (
    Answer,
    ReflectionRequest,
    Request,
    RequestFailure,
    RequestKey,
    Stop,
)
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.interruption import INTERRUPTED, interruptible
from dspy_gepa.run.pace import Pace

__all__ = ["Beginnings", "Listener", "RunOutcome", "Stopper", "run_loop"]

Listener: TypeAlias = Callable[[Event, RunState], None]
"""Told of every event, with the state after it. What it raises ends the run, so only one that keeps
what must not be lost may raise: a journal, say."""


class Beginnings(Protocol):
    """Is told what is begun, so that it is known what was paid for where the process dies."""

    def begin(self, key: RequestKey) -> None:
        """Note that this is begun, before it costs anything."""
        ...

    def drop(self, key: RequestKey) -> None:
        """Note that this was not begun after all."""
        ...


Stopper: TypeAlias = Callable[[RunState], str]
"""Asked after every commit: why the run should end, or nothing if it should go on."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run came to its end."""

    state: RunState
    error: BaseException | None = None
    """What broke the work, where `state.is_broken`."""
    is_stopped: bool = False
    """Whether it was told to end: by somebody, by a stopper, or by a limit of seconds, tokens or
    USD that was reached between two requests."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took."""
    was_interrupted: bool = False
    """Whether it was somebody at the keyboard who ended it."""


def run_loop(
    state: RunState,
    executor: Executor,
    listeners: Sequence[Listener] = (),
    stoppers: Sequence[Stopper] = (),
    pace: Pace | None = None,
    *,
    beginnings: Beginnings | None = None,
) -> RunOutcome:
    """Carry a run on from this state until it ends.

    The first Ctrl-C ends it as a `Stop` does: what runs is finished and counted. The second is
    raised at once.
    """
    begun_seconds = time.monotonic()
    pace = pace or Pace(executor.slots)
    dispatcher = _Dispatcher(executor, pace, _deadline(state, begun_seconds), beginnings)
    message: Answer | Stop | None = None
    error: BaseException | None = None
    is_stopped = False
    with interruptible(executor) as was_pressed:
        while True:
            events: list[Event] = []
            for event in decisions(state, message):
                state = evolve(state, event)
                events.append(event)
                for listen in listeners:
                    listen(event, state)
            if isinstance(message, RequestFailure) and state.is_broken and error is None:
                error = message.error
            is_stopped = is_stopped or isinstance(message, Stop)
            if stop := _stop(state, events, stoppers):
                message = stop
                continue
            stop = dispatcher.begin(state, is_new=any(map(_makes_work, events)))
            if (
                stop is None
                and not executor.in_flight
                and (state.ending or not dispatcher.has_waiting)
            ):
                dispatcher.close()
                seconds = time.monotonic() - begun_seconds
                was_interrupted = was_pressed() or state.ending == INTERRUPTED
                return RunOutcome(
                    state, error, is_stopped or was_pressed(), seconds, was_interrupted
                )
            message = stop or dispatcher.next_message(
                is_ending=bool(state.ending), was_pressed=was_pressed
            )


@dataclass
class _Dispatcher:
    """What runs, and what waits to be begun."""

    executor: Executor
    pace: Pace
    deadline_seconds: float
    beginnings: Beginnings | None
    running: dict[RequestKey, Request] = field(default_factory=dict)
    waiting: deque[Request] = field(default_factory=deque)
    beside: deque[Request] = field(default_factory=deque)
    """What waits and needs no slot."""

    def begin(self, state: RunState, *, is_new: bool) -> Stop | None:
        """Begin what may begin now; or why the run has to end, as nothing may any more."""
        if state.ending:
            self.waiting.clear()
            self.beside.clear()
            return None
        if time.monotonic() >= self.deadline_seconds:
            limit = state.settings.limits.seconds
            return Stop(f"the budget is used up: {limit:g} seconds have passed")
        if is_new or not self.has_waiting:
            self._line_up(state)
        for queue in (self.beside, self.waiting):
            while queue and (queue is self.beside or self._taken < self.pace.allowed):
                if self.pace.pause_seconds:
                    return None
                if reason := shortage(state, tuple(self.running.values()), queue[0]):
                    return None if self.executor.in_flight else Stop(reason)
                self._submit(queue.popleft())
        return None

    def _line_up(self, state: RunState) -> None:
        self.waiting.clear()
        self.beside.clear()
        for request in requests(state):
            if request.key not in self.running:
                (self.beside if self._is_beside(request) else self.waiting).append(request)

    def _submit(self, request: Request) -> None:
        self.running[request.key] = request
        if self.beginnings is not None:
            self.beginnings.begin(request.key)
        self.executor.submit(request)

    def close(self) -> None:
        """Say what an executor with nothing in flight has given back without beginning it."""
        if self.beginnings is not None:
            for key in self.running:
                self.beginnings.drop(key)

    @property
    def has_waiting(self) -> bool:
        """Whether something waits to be begun."""
        return bool(self.waiting or self.beside)

    @property
    def _taken(self) -> int:
        """How many slots are taken."""
        return self.executor.in_flight - sum(map(self._is_beside, self.running.values()))

    def _is_beside(self, request: Request) -> bool:
        return self.executor.reflects_beside and isinstance(request, ReflectionRequest)

    def next_message(
        self, *, is_ending: bool, was_pressed: Callable[[], bool]
    ) -> Answer | Stop | None:
        """The next answer or stop; None if it is time to begin something."""
        try:
            message = self.executor.next_answer(self._patience_seconds(is_ending=is_ending))
        except KeyboardInterrupt:
            # Where the signal has no handler of ours: see `interruptible`.
            if is_ending or was_pressed():
                raise
            return Stop(INTERRUPTED)
        if message is None or isinstance(message, Stop):
            return message
        if self.running.pop(message.key, None) is None:
            # A setback for the same request came before this answer and lined it up once more.
            self.waiting = deque(each for each in self.waiting if each.key != message.key)
        if isinstance(message, RequestFailure):
            self.pace.set_back(message)
            return replace(message, pause_seconds=self.pace.pause_seconds)
        self.pace.answered()
        return message

    def _patience_seconds(self, *, is_ending: bool) -> float | None:
        """How long to wait for an answer; None for as long as it takes."""
        if is_ending:
            return None
        waits = []
        if self.has_waiting and self.pace.pause_seconds:
            waits.append(self.pace.pause_seconds)
        if self.deadline_seconds < float("inf"):
            waits.append(max(0.0, self.deadline_seconds - time.monotonic()))
        return min(waits, default=None)


def _makes_work(event: Event) -> bool:
    """Whether other requests may follow from it: none do from a sound rollout or a remark alone."""
    if isinstance(event, Remarked):
        return False
    return not isinstance(event, RolledOut) or event.rollout.is_broken


def _deadline(state: RunState, begun_seconds: float) -> float:
    seconds = state.settings.limits.seconds
    return float("inf") if seconds is None else begun_seconds + seconds


def _stop(state: RunState, events: Sequence[Event], stoppers: Sequence[Stopper]) -> Stop | None:
    if state.ending or not any(isinstance(event, Committed) for event in events):
        return None
    reason = next(filter(None, (stopper(state) for stopper in stoppers)), "")
    return Stop(reason) if reason else None

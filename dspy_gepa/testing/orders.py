"""Executors for tests: one thread, and answers in whatever order is asked for.

A run must not depend on the order of answers. Real threads show a few orders by accident; these
show any order on purpose, and the same one again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from dspy_gepa.core.streams import stream
from dspy_gepa.core.work import Answer, Request, Stop
from dspy_gepa.run.worker import Worker

__all__ = [
    "Order",
    "OrderedExecutor",
    "VirtualTimeExecutor",
    "durations",
    "newest_first",
    "oldest_first",
    "shuffled",
]

Order: TypeAlias = Callable[[int], int]
"""From how many requests wait, in the order in which they came: the position of the next one."""


def oldest_first(waiting: int) -> int:  # noqa: ARG001 - an order's signature
    """First in, first out."""
    return 0


def newest_first(waiting: int) -> int:
    """Last in, first out."""
    return waiting - 1


def shuffled(seed: int) -> Order:
    """A random order, the same for the same seed."""
    return stream(seed, "order").randrange


def durations(seed: int, spread: float = 1.0) -> Callable[[Request], float]:
    """Lognormal durations in seconds, median 1, for `VirtualTimeExecutor`: each request's own."""
    return lambda request: stream(seed, "seconds", str(request.key)).lognormvariate(0, spread)


class OrderedExecutor:
    """Answers one request at a time in a given order, each as often as is asked for.

    With two `copies`, every answer comes a second time at some later moment, as it does where
    delivery is at least once.
    """

    slots = 1_000_000
    reflects_beside = False

    def __init__(self, worker: Worker, order: Order = oldest_first, *, copies: int = 1) -> None:
        self._worker = worker
        self._order = order
        self._copies = copies
        self._waiting: list[Request] = []
        self._repeats: list[Answer] = []
        self._stops: deque[Stop] = deque()

    def submit(self, request: Request) -> None:
        """Take a request; returns at once."""
        self._waiting.append(request)

    def next_answer(self, timeout_seconds: float | None = None) -> Answer | Stop | None:
        """The answer whose turn it is; an interruption first."""
        if self._stops:
            return self._stops.popleft()
        if not self.in_flight:
            _check_waits(timeout_seconds)
            return None
        position = self._order(self.in_flight)
        if position >= len(self._waiting):
            return self._repeats.pop(position - len(self._waiting))
        answer = self._worker(self._waiting.pop(position))
        self._repeats += [answer] * (self._copies - 1)
        return answer

    @property
    def in_flight(self) -> int:
        """How many answers are still to come."""
        return len(self._waiting) + len(self._repeats)

    def interrupt(self, stop: Stop) -> None:
        """Have `next_answer` give this next."""
        self._stops.append(stop)

    def close(self) -> None:
        """Nothing to give back."""


class VirtualTimeExecutor:
    """Carries out up to `slots` requests at once in simulated time, so that tests need no clock.

    Answers come in the order in which they would be ready.
    """

    reflects_beside = False

    def __init__(self, worker: Worker, slots: int, duration: Callable[[Request], float]) -> None:
        self.slots = slots
        self._worker = worker
        self._duration = duration
        self._stops: deque[Stop] = deque()
        self._running: list[tuple[float, int, Request]] = []
        self._begun = 0
        self.now_seconds = 0.0
        """The simulated time: when the newest answer was ready."""
        self.busy_seconds = 0.0
        """What all requests that began take together."""

    def submit(self, request: Request) -> None:
        """Begin a request; returns at once."""
        seconds = self._duration(request)
        self._begun += 1  # of requests that are ready at once, the one that began first
        self.busy_seconds += seconds
        heapq.heappush(self._running, (self.now_seconds + seconds, self._begun, request))

    def next_answer(self, timeout_seconds: float | None = None) -> Answer | Stop | None:
        """The answer that is ready first; simulated time moves on to it."""
        if self._stops:
            return self._stops.popleft()
        if not self._running:
            _check_waits(timeout_seconds)
            return None
        self.now_seconds, _, request = heapq.heappop(self._running)
        return self._worker(request)

    @property
    def in_flight(self) -> int:
        """How many requests were begun and not answered yet."""
        return len(self._running)

    def interrupt(self, stop: Stop) -> None:
        """Have `next_answer` give this next."""
        self._stops.append(stop)

    def close(self) -> None:
        """Nothing to give back."""


def _check_waits(timeout_seconds: float | None) -> None:
    assert timeout_seconds is not None, "nothing is in flight, so this would wait for ever"

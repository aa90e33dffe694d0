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
from dspy_gepa.core.work import Answer, Request
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

    def __init__(self, worker: Worker, order: Order = oldest_first, *, copies: int = 1) -> None:
        self._worker = worker
        self._order = order
        self._copies = copies
        self._waiting: list[Request] = []
        self._repeats: list[Answer] = []

    def submit(self, request: Request) -> None:
        """Take a request; returns at once."""
        self._waiting.append(request)

    def next_answer(self) -> Answer:
        """The answer whose turn it is.

        Raises:
            IndexError: nothing is in flight.
        """
        if not self.in_flight:
            raise IndexError("nothing is in flight")
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

    def abandon(self) -> None:
        """Forget the requests that have not begun."""
        self._waiting.clear()

    def close(self) -> None:
        """Nothing to give back."""


class VirtualTimeExecutor:
    """Carries out up to `slots` requests at once in simulated time, so that tests need no clock.

    Requests begin in the order in which they came; answers come in the order in which they
    would be ready.
    """

    def __init__(self, worker: Worker, slots: int, duration: Callable[[Request], float]) -> None:
        self._worker = worker
        self._slots = slots
        self._duration = duration
        self._waiting: deque[Request] = deque()
        self._running: list[tuple[float, int, Request]] = []
        self._begun = 0
        self.now_seconds = 0.0
        """The simulated time: when the newest answer was ready."""
        self.busy_seconds = 0.0
        """What all requests that began take together."""

    def submit(self, request: Request) -> None:
        """Take a request; returns at once."""
        self._waiting.append(request)
        self._fill()

    def next_answer(self) -> Answer:
        """The answer that is ready first; simulated time moves on to it.

        Raises:
            IndexError: nothing is in flight.
        """
        self.now_seconds, _, request = heapq.heappop(self._running)
        self._fill()
        return self._worker(request)

    @property
    def in_flight(self) -> int:
        """How many requests were taken and not answered yet."""
        return len(self._running) + len(self._waiting)

    def abandon(self) -> None:
        """Forget the requests that have not begun; those that run are still answered."""
        self._waiting.clear()

    def close(self) -> None:
        """Nothing to give back."""

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            request = self._waiting.popleft()
            seconds = self._duration(request)
            self._begun += 1  # of requests that are ready at once, the one that began first
            self.busy_seconds += seconds
            heapq.heappush(self._running, (self.now_seconds + seconds, self._begun, request))

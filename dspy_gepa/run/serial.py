"""One request at a time, in the calling thread."""

from __future__ import annotations

import queue
from collections import deque

from dspy_gepa.core.work import Answer, Request, Stop
from dspy_gepa.run.worker import Worker

__all__ = ["SerialExecutor"]


class SerialExecutor:
    """Carries out a request when its answer is asked for."""

    slots = 1
    reflects_beside = False

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waiting: deque[Request] = deque()
        # The one queue that a signal handler may put into while its own thread waits for it.
        self._stops: queue.SimpleQueue[Stop] = queue.SimpleQueue()

    def submit(self, request: Request) -> None:
        """Take a request; returns at once."""
        self._waiting.append(request)

    def next_answer(self, timeout_seconds: float | None = None) -> Answer | Stop | None:
        """The answer to the oldest request; an interruption first, for which no more is begun."""
        if self._waiting and self._stops.empty():
            return self._worker(self._waiting.popleft())
        try:
            stop = self._stops.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        self._waiting.clear()
        return stop

    @property
    def in_flight(self) -> int:
        """How many requests were taken and not answered yet."""
        return len(self._waiting)

    def interrupt(self, stop: Stop) -> None:
        """Have `next_answer` give this, after the request that is being carried out."""
        self._stops.put(stop)

    def close(self) -> None:
        """Nothing to give back."""

"""One request at a time, in the calling thread."""

from __future__ import annotations

import threading
from collections import deque

from dspy_gepa.core.work import Answer, Request, Stop
from dspy_gepa.run.worker import Worker

__all__ = ["SerialExecutor"]


class SerialExecutor:
    """Carries out a request when its answer is asked for."""

    slots = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waiting: deque[Request] = deque()
        self._stops: deque[Stop] = deque()
        self._is_stopped = threading.Event()

    def submit(self, request: Request) -> None:
        """Take a request; returns at once."""
        self._waiting.append(request)

    def next_answer(self, timeout_seconds: float | None = None) -> Answer | Stop | None:
        """The answer to the oldest request; an interruption first."""
        if not self._stops and self._waiting:
            return self._worker(self._waiting.popleft())
        self._is_stopped.wait(timeout_seconds)
        return self._stops.popleft() if self._stops else None

    @property
    def in_flight(self) -> int:
        """How many requests were taken and not answered yet."""
        return len(self._waiting)

    def interrupt(self, stop: Stop) -> None:
        """Have `next_answer` give this, after the request that is being carried out."""
        self._stops.append(stop)
        self._is_stopped.set()

    def close(self) -> None:
        """Nothing to give back."""

"""One request at a time, in the calling thread, in the order in which they came."""

from __future__ import annotations

from collections import deque

from dspy_gepa.core.work import Answer, Request
from dspy_gepa.run.worker import Worker

__all__ = ["SerialExecutor"]


class SerialExecutor:
    """Carries out a request when its answer is asked for."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waiting: deque[Request] = deque()

    def submit(self, request: Request) -> None:
        """Take a request; returns at once."""
        self._waiting.append(request)

    def next_answer(self) -> Answer:
        """The answer to the oldest request.

        Raises:
            IndexError: nothing is in flight.
        """
        return self._worker(self._waiting.popleft())

    @property
    def in_flight(self) -> int:
        """How many requests were taken and not answered yet."""
        return len(self._waiting)

    def abandon(self) -> None:
        """Forget the requests that have not begun."""
        self._waiting.clear()

    def close(self) -> None:
        """Nothing to give back."""

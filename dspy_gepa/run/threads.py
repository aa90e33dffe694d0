"""Many requests at once, in threads of one process."""

from __future__ import annotations

import contextvars
import queue
import threading
from typing import Any

from dspy_gepa.core.work import Answer, ReflectionRequest, Request, Stop
from dspy_gepa.run.worker import Worker

__all__ = ["ThreadedExecutor"]


class ThreadedExecutor:
    """Carries out up to `num_threads` rollouts at once, and reflections beside them.

    Each request runs in a copy of the context in which the executor was made, so that a
    `dspy.context` around the run holds in every thread. Threads are begun as they are needed and
    are daemons: one that hangs keeps neither the run nor the process from ending.
    """

    reflects_beside = True

    def __init__(self, worker: Worker, num_threads: int) -> None:
        self.slots = num_threads
        self._worker = worker
        self._context = contextvars.copy_context()
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = 0
        self._in_flight = 0

    def submit(self, request: Request) -> None:
        """Begin a request; returns at once."""
        self._in_flight += 1
        if isinstance(request, ReflectionRequest):
            name = f"dspy_gepa-reflection-{request.ticket}"
            threading.Thread(target=self._answer, args=[request], name=name, daemon=True).start()
            return
        if self._threads < min(self._in_flight, self.slots):
            self._threads += 1
            name = f"dspy_gepa-{self._threads}"
            threading.Thread(target=self._carry_out, name=name, daemon=True).start()
        self._requests.put(request)

    def next_answer(self, timeout_seconds: float | None = None) -> Answer | Stop | None:
        """The next answer, in the order in which they are ready.

        Raises:
            KeyboardInterrupt: a worker raised it.
            RuntimeError: a worker raised something else, which it must not.
        """
        message: Answer | Stop | KeyboardInterrupt | None
        try:
            message = self._answers.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if not isinstance(message, Stop):
            self._in_flight -= 1
        if isinstance(message, KeyboardInterrupt):
            raise message
        if message is None:
            raise RuntimeError("A worker raised an error, which its thread has printed.")
        return message

    @property
    def in_flight(self) -> int:
        """How many requests were begun and not answered yet."""
        return self._in_flight

    def interrupt(self, stop: Stop) -> None:
        """Have `next_answer` give this as soon as it can."""
        self._answers.put(stop)

    def close(self) -> None:
        """Let threads end when they have nothing more to do. What runs is not waited for."""
        for _ in range(self._threads):
            self._requests.put(None)

    def _carry_out(self) -> None:
        while (request := self._requests.get()) is not None:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        answer: Answer | KeyboardInterrupt | None = None
        try:
            answer = self._context.copy().run(self._worker, request)
        except KeyboardInterrupt as interrupt:
            answer = interrupt
        finally:
            self._answers.put(answer)

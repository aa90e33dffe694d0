"""Many requests at once, in threads of one process."""

from __future__ import annotations

import contextvars
import queue
from concurrent.futures import Future, ThreadPoolExecutor

from dspy_gepa.core.work import Answer, Request
from dspy_gepa.run.worker import Worker

__all__ = ["ThreadedExecutor"]


class ThreadedExecutor:
    """Carries out up to `num_threads` requests at once, in the order in which they came.

    Each request runs in a copy of the context in which the executor was made, so that a
    `dspy.context` around the run holds in every thread.
    """

    def __init__(self, worker: Worker, num_threads: int) -> None:
        self._worker = worker
        self._context = contextvars.copy_context()
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="dspy_gepa")
        self._answered: queue.SimpleQueue[Future[Answer]] = queue.SimpleQueue()
        self._futures: set[Future[Answer]] = set()

    def submit(self, request: Request) -> None:
        """Take a request; returns at once."""
        future = self._threads.submit(self._context.copy().run, self._worker, request)
        self._futures.add(future)
        future.add_done_callback(self._answered.put)

    def next_answer(self) -> Answer:
        """The next answer, in the order in which they are ready."""
        while (future := self._answered.get()) not in self._futures:
            pass  # it was abandoned before it began
        self._futures.remove(future)
        return future.result()

    @property
    def in_flight(self) -> int:
        """How many requests were taken and not answered yet."""
        return len(self._futures)

    def abandon(self) -> None:
        """Forget the requests that have not begun."""
        self._futures -= {future for future in self._futures if future.cancel()}

    def close(self) -> None:
        """Wait for running requests and end the threads."""
        self._threads.shutdown(cancel_futures=True)

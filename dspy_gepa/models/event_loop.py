"""The event loop of a run: everything asynchronous in it runs on the same one.

What a program holds between calls, such as a semaphore, a lock or a session, belongs to the loop
that first waited for it. So there is one loop, in a thread of its own, as long as the run lasts.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import TypeVar

from dspy_gepa.models.catching import Failed
from dspy_gepa.models.timeouts import TimedOut

__all__ = ["EventLoop"]

ResultT = TypeVar("ResultT")

_GRACE_SECONDS = 1.0
"""How long a loop may take to say that it is alive, and one that is ended to clear up."""


class EventLoop:
    """Runs coroutines for several threads at once. Its thread begins with the first of them."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def within(
        self, timeout_seconds: float | None, call: Callable[[], Awaitable[ResultT]]
    ) -> ResultT | Failed:
        """What the awaitable returns or raises; `TimedOut` as raised if it takes too long.

        It runs in the caller's context, and the caller waits. What takes too long is cancelled. A
        loop that does not even hear that, because something blocks it, is left behind, and the
        next call begins another one.

        Raises:
            KeyboardInterrupt: it was raised there, or here while waiting.
            RuntimeError: the loop was closed before.
        """
        loop, future = self._running(), Future[ResultT | Failed]()
        tasks: list[asyncio.Task[None]] = []

        async def carry_out() -> None:
            # Neither may reach the loop, which it would end for everybody.
            try:
                future.set_result(await call())
            except KeyboardInterrupt as interrupt:
                future.set_exception(interrupt)
            except SystemExit:
                future.set_result(Failed(RuntimeError("it was ended by SystemExit")))

        def begin() -> None:
            tasks.append(loop.create_task(carry_out()))
            tasks[0].add_done_callback(lambda task: _settle(future, task))

        # The task takes over the context in which it is made.
        loop.call_soon_threadsafe(begin, context=contextvars.copy_context())
        try:
            return future.result(timeout_seconds)
        except NotDone:
            self._give_up(loop, tasks)
            return Failed(TimedOut(f"it took longer than {timeout_seconds:g} seconds"))

    def close(self) -> None:
        """End the loop's thread; what still runs there is cancelled."""
        with self._starting:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._is_closed:
                raise RuntimeError("The run is over, and its event loop with it.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: a coroutine that hangs does not keep the process alive.
                name = "dspy_gepa-event-loop"
                threading.Thread(target=_serve, args=[self._loop], name=name, daemon=True).start()
            return self._loop

    def _give_up(self, loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[None]]) -> None:
        heard = threading.Event()

        def cancel() -> None:
            heard.set()
            for task in tasks:
                task.cancel()

        loop.call_soon_threadsafe(cancel)
        if not heard.wait(_GRACE_SECONDS):
            with self._starting:
                if self._loop is loop:
                    self._loop = None


def _settle(future: Future[ResultT | Failed], task: asyncio.Task[None]) -> None:
    """Say what a task raised, where it has not said what it returned."""
    if future.done():
        return
    error = None if task.cancelled() else task.exception()
    if not isinstance(error, Exception):
        error = RuntimeError("it was ended by CancelledError")
    future.set_result(Failed(error))


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, and clear up."""
    asyncio.set_event_loop(loop)
    loop.run_forever()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=_GRACE_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

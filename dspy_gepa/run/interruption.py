"""Ctrl-C while a run is under way: the first ends it in good order, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dspy_gepa.core.work import Stop
from dspy_gepa.run.executor import Executor

__all__ = ["INTERRUPTED", "interruptible"]

INTERRUPTED = "interrupted from the keyboard"
"""Why a run ends that somebody stopped."""


@contextmanager
def interruptible(executor: Executor) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C inside into a `Stop`; the next one raises KeyboardInterrupt.

    So the first one cuts no step of the run in two, wherever it comes. Only in the main thread of a
    program that has no handler of its own is it heard; elsewhere nothing changes.

    Gives a function that says whether the first one came.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    presses: list[int] = []

    def heard(number: int, _frame: FrameType | None) -> None:
        presses.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        executor.interrupt(Stop(INTERRUPTED))

    signal.signal(signal.SIGINT, heard)
    try:
        yield lambda: bool(presses)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)

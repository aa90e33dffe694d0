"""How long user code may take. What hangs is left behind, and what it says later is not heard."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from dspy_gepa.models.catching import Failed, catching

__all__ = ["TimedOut", "call_with_timeout"]

ResultT = TypeVar("ResultT")


class TimedOut(Exception):
    """A call took longer than it may. Never leaves the worker."""


def call_with_timeout(
    timeout_seconds: float | None, call: Callable[[], ResultT]
) -> ResultT | Failed:
    """What the call returns or raises; `TimedOut` as raised where it takes longer than it may.

    A thread cannot be ended from outside, so one that hangs goes on by itself, as a daemon that
    does not keep the process alive. With None the call is made here and may take for ever.
    """
    if timeout_seconds is None:
        return catching(call)
    outcomes: list[ResultT | Failed] = []
    interrupts: list[KeyboardInterrupt] = []
    is_done = threading.Event()
    context = contextvars.copy_context()

    def carry_out() -> None:
        try:
            outcomes.append(context.run(catching, call))
        except KeyboardInterrupt as interrupt:
            interrupts.append(interrupt)
        finally:
            is_done.set()

    threading.Thread(target=carry_out, name="dspy_gepa-timed", daemon=True).start()
    if not is_done.wait(timeout_seconds):
        return Failed(TimedOut(f"it took longer than {timeout_seconds:g} seconds"))
    if interrupts:
        raise interrupts[0]
    # Without an answer the thread was ended by something that is no Exception.
    return outcomes[0] if outcomes else Failed(RuntimeError("its thread was ended from within"))

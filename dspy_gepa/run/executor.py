"""How requests are carried out: one after the other, or many at once.

An executor decides nothing. The run is the same whichever order its answers come in.
"""

from __future__ import annotations

from typing import Protocol

from dspy_gepa.core.work import Answer, Request, Stop

__all__ = ["Executor"]


class Executor(Protocol):
    """Takes requests and gives each one's answer once. Used by one thread, but for `interrupt`."""

    slots: int
    """How many requests it carries out at once. The loop gives it no more."""
    reflects_beside: bool
    """Whether reflections take none of these slots, because they do little but wait."""

    def submit(self, request: Request) -> None:
        """Begin a request; returns at once."""
        ...

    def next_answer(self, timeout_seconds: float | None = None) -> Answer | Stop | None:
        """The next answer, or what `interrupt` was told; waits for it.

        None if nothing came in time. With nothing in flight it waits for an interruption only.
        """
        ...

    @property
    def in_flight(self) -> int:
        """How many requests were begun and not answered yet."""
        ...

    def interrupt(self, stop: Stop) -> None:
        """Have `next_answer` give this as soon as it can. For other threads and signal handlers."""
        ...

    def close(self) -> None:
        """Give back threads and the like, without waiting for what still runs."""
        ...

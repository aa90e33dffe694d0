"""How requests are carried out: one after the other, or many at once.

An executor decides nothing. The run is the same whichever order its answers come in.
"""

from __future__ import annotations

from typing import Protocol

from dspy_gepa.core.work import Answer, Request

__all__ = ["Executor"]


class Executor(Protocol):
    """Takes requests and gives each one's answer once. Used by one thread."""

    def submit(self, request: Request) -> None:
        """Take a request; returns at once."""
        ...

    def next_answer(self) -> Answer:
        """The next answer; waits for it. Something must be in flight."""
        ...

    @property
    def in_flight(self) -> int:
        """How many requests were taken and not answered yet."""
        ...

    def abandon(self) -> None:
        """Forget the requests that have not begun; those that run are still answered."""
        ...

    def close(self) -> None:
        """Give back threads and the like. No answer is asked for afterwards."""
        ...

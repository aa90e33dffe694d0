"""How many requests run at once, and from when: fewer and later after setbacks.

A server that is busy is asked less, by additive increase and multiplicative decrease, and one that
is away is asked again after longer and longer pauses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dspy_gepa.core.work import RequestFailure

__all__ = ["PAUSES_SECONDS", "Pace"]

PAUSES_SECONDS = (2.0, 8.0, 30.0)
"""Pauses after setbacks in a row, the last for all further ones; DSPy's own retries come first."""
_LONGEST_PAUSE_SECONDS = 120.0
"""The longest pause that a server may ask for."""


class Pace:
    """What may run now.

    Args:
        slots: The most requests at once.
        pauses_seconds: How long nothing is begun after the first, second, ... setback in a row;
            `PAUSES_SECONDS` where it is None.
        clock: Seconds.
    """

    def __init__(
        self,
        slots: int,
        pauses_seconds: Sequence[float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = slots
        self._pauses_seconds = tuple(PAUSES_SECONDS if pauses_seconds is None else pauses_seconds)
        self._clock = clock
        self._allowed = slots
        self._answered = 0
        self._in_a_row = 0
        self._resumes_seconds = clock()

    @property
    def allowed(self) -> int:
        """How many requests may run at once."""
        return self._allowed

    @property
    def pause_seconds(self) -> float:
        """For how long nothing may begin yet."""
        return max(0.0, self._resumes_seconds - self._clock())

    def answered(self) -> None:
        """Note that a request was carried out."""
        self._in_a_row = 0
        self._answered += 1
        if self._answered >= self._allowed:
            self._answered = 0
            self._allowed = min(self._slots, self._allowed + 1)

    def set_back(self, setback: RequestFailure) -> None:
        """Note that a request was not carried out. Those that ran beside it count once."""
        if setback.is_of_process:
            return  # No server is busy.
        now_seconds = self._clock()
        pause_seconds = min(setback.retry_after_seconds, _LONGEST_PAUSE_SECONDS)
        if now_seconds >= self._resumes_seconds:
            self._allowed = max(1, self._allowed // 2)
            self._answered = 0
            if self._pauses_seconds:
                step = min(self._in_a_row, len(self._pauses_seconds) - 1)
                pause_seconds = max(pause_seconds, self._pauses_seconds[step])
            self._in_a_row += 1
        self._resumes_seconds = max(self._resumes_seconds, now_seconds + pause_seconds)

"""Observers read the one stream of events. None of them can disturb a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from dspy_gepa.core.events import Event
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import readable

__all__ = ["FanOut", "Observer", "attempted"]

# Below DSPy's own logger, so that its handlers, levels and `disable_logging` hold for ours too.
logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class _Readable(logging.Filter):
    """Leaves no control characters in what is logged: it may quote anybody."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, readable."""
        if (message := record.getMessage()) != (shown := readable(message)):
            record.msg, record.args = shown, ()
        if record.exc_info and not record.exc_text:
            # What is set here no handler formats again.
            record.exc_text = readable(logging.Formatter().formatException(record.exc_info))
        return True


logger.addFilter(_Readable())


class Observer(Protocol):
    """Is told of everything that happens, in order, in the thread from which the run was begun.

    One that has a `begun` is told the state from which the run begins, or is carried on, before
    anything is asked for. One that has a `close` is closed when the run is over, however that came
    about.
    """

    def __call__(self, event: Event, state: RunState) -> None:
        """Take note of an event; `state` is the one after it."""
        ...


class FanOut:
    """Tells several observers. One that raises is reported once and left out from then on."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._all = tuple(observers)
        self._told = list(self._all)

    def __call__(self, event: Event, state: RunState) -> None:
        """Tell all observers of an event."""
        self._told = [each for each in self._told if _works(each, partial(each, event, state))]

    def begun(self, state: RunState) -> None:
        """Tell all observers that can be told that the run begins, or is carried on, from here."""
        self._told = [each for each in self._told if _begins(each, state)]

    def close(self) -> None:
        """Close every observer that can be closed, however the run ended."""
        for each in self._all:
            close = getattr(each, "close", None)
            if callable(close):
                _works(each, close)


def _begins(observer: Observer, state: RunState) -> bool:
    begun = getattr(observer, "begun", None)
    return not callable(begun) or _works(observer, partial(begun, state))


def attempted(call: Callable[[], object], problem: str, *details: object) -> bool:
    """Whether a call went through; what it raises is logged with these words, and that is all."""
    try:
        call()
    except Exception:
        # Nothing that is told or kept beside a run is worth that run, which costs money.
        logger.exception(problem, *details)
        return False
    return True


def _works(observer: Observer, call: Callable[[], object]) -> bool:
    return attempted(call, "observer %r failed and is told no more in this run", observer)

"""Observers read the one stream of events. None of them can disturb a run."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from dspy_gepa.core.events import Event
from dspy_gepa.core.state import RunState

__all__ = ["FanOut", "Observer"]

# Below DSPy's own logger, so that its handlers, levels and `disable_logging` hold for ours too.
logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class Observer(Protocol):
    """Is told of everything that happens, in order, in the thread that called `compile`."""

    def __call__(self, event: Event, state: RunState) -> None:
        """Take note of an event; `state` is the one after it."""
        ...


class FanOut:
    """Tells several observers. One that raises is reported once and left out from then on."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)

    def __call__(self, event: Event, state: RunState) -> None:
        """Tell all observers of an event."""
        self._observers = [o for o in self._observers if self._has_taken(o, event, state)]

    def _has_taken(self, observer: Observer, event: Event, state: RunState) -> bool:
        try:
            observer(event, state)
        except Exception:
            # No observer is worth a run that costs money.
            logger.exception("observer %r failed and is told no more in this run", observer)
            return False
        return True

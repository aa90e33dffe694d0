"""Says which components a program never called, so that nobody waits for them to be improved."""

from __future__ import annotations

import logging

from dspy_gepa.core.events import Ended, Event
from dspy_gepa.core.state import RunState
from dspy_gepa.observe.telling import Telling
from dspy_gepa.story.building import uncalled_in

__all__ = ["CallCheck"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class CallCheck:
    """Warns at the end of components that no training example led to.

    A component is rewritten by what its calls show, so that one that is not called stays as it is.
    """

    def __init__(self, telling: Telling) -> None:
        self._telling = telling

    def __call__(self, event: Event, state: RunState) -> None:
        """Say at the end what was not called."""
        teller = self._telling.teller
        if not isinstance(event, Ended) or not state.members or teller is None:
            return
        if missed := uncalled_in(teller):
            logger.warning(
                "No training example that was run led to a call of %s, so nothing was "
                "rewritten there. If none of all does, add some that do.",
                ", ".join(missed),
            )

"""Says which components a program never called, so that nobody waits for them to be improved."""

from __future__ import annotations

import logging

from dspy_gepa.core.events import Ended, Event, RolledOut
from dspy_gepa.core.state import RunState

__all__ = ["CallCheck"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class CallCheck:
    """Warns at the end of components that no training example led to.

    A component is rewritten by what its calls show, so that one that is not called stays as it is.
    """

    def __init__(self) -> None:
        self._called: set[str] = set()

    def __call__(self, event: Event, state: RunState) -> None:
        """Note what was called, or say what was not."""
        if isinstance(event, RolledOut):
            self._called |= {step.component for step in event.rollout.trace.steps}
        if isinstance(event, Ended) and self._called and state.members:
            owners, frozen = state.settings.owners, state.settings.frozen
            missed = [
                name
                for name in state.members[0].candidate
                if self._called.isdisjoint(owners.get(name, (name,))) and name not in frozen
            ]
            if missed:
                logger.warning(
                    "No training example that was run led to a call of %s, so nothing was "
                    "rewritten there. If none of all does, add some that do.",
                    ", ".join(missed),
                )

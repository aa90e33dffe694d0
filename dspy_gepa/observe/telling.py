"""Keeps the story of a run while it happens, for the displays and for the result."""

from __future__ import annotations

import time
from collections.abc import Callable

from dspy_gepa.core.budget import NOTHING
from dspy_gepa.core.events import Event
from dspy_gepa.core.state import RunState
from dspy_gepa.store.run_dir import RunDir, read_run
from dspy_gepa.story.facts import NO_FACTS
from dspy_gepa.story.stored import facts_of, teller_of
from dspy_gepa.story.teller import Teller

__all__ = ["Telling"]


class Telling:
    """An observer that tells a teller; the first of all, so that the others read what is known.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.teller: Teller | None = None
        self.facts = NO_FACTS
        self._clock = now

    def begun_with(self, state: RunState, run_dir: RunDir | None) -> None:
        """Take note that a run begins, before its first model call.

        Args:
            state: From which it begins, or is carried on.
            run_dir: Where it is kept: what happened before stands there, and events happen when
                they are written down, so that this story and the directory's are the same.
        """
        self.teller = Teller(state)
        if run_dir is not None:
            self.facts = facts_of(
                run_dir.manifest, name=run_dir.path.name, described=run_dir.described
            )
            self._clock = lambda: run_dir.journal.at_seconds
            if state.tally != NOTHING:
                self.teller = teller_of(read_run(run_dir.path))
                self.teller.state = state
        self.teller.opened(self.now() if run_dir is None else run_dir.journal.opened_at)

    def __call__(self, event: Event, state: RunState) -> None:
        """Tell of an event."""
        if self.teller is not None:
            self.teller.told(event, state, self._clock())

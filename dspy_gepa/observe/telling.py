"""Keeps the story of a run while it happens, for the displays and for the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from dspy_gepa.core.budget import NOTHING
from dspy_gepa.core.events import Event
from dspy_gepa.core.state import RunState
from dspy_gepa.observe.observer import attempted
from dspy_gepa.store.manifest import named_settings
from dspy_gepa.store.run_dir import RunDir, read_run
from dspy_gepa.story.building import story_of
from dspy_gepa.story.facts import NO_FACTS, Facts, Outcome
from dspy_gepa.story.now import Now, now_of
from dspy_gepa.story.stored import facts_of, settings_in_words, teller_of
from dspy_gepa.story.story import Story
from dspy_gepa.story.teller import Teller

__all__ = ["Reader", "Telling"]


class Reader(Protocol):
    """Reads the whole story once the call is over."""

    def over(self, story: Story, *, has_failed: bool) -> None:
        """Take note of how it ended; `has_failed` if an error did."""
        ...


def _unchanged(values: Any) -> Any:
    return values


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
        self._readers: list[Reader] = []
        self.without_secrets: Callable[[Any], Any] = _unchanged
        """From plain values that are passed on to the same with references in place of secrets."""

    @property
    def story(self) -> Story | None:
        """What happened so far; None before the run begins."""
        return None if self.teller is None else story_of(self.teller, self.facts)

    def current(self, at: float) -> Now | None:
        """Where the run stands at this time; None before it begins."""
        return None if self.teller is None else now_of(self.teller, at)

    def concluded(self, outcome: Outcome) -> None:
        """Take note of what became of the search."""
        self.facts = replace(self.facts, outcome=outcome)

    def tell_at_end(self, reader: Reader) -> None:
        """Give this one the story when the call is over."""
        self._readers.append(reader)

    @contextmanager
    def whole(self, *, if_failed: Callable[[RunState], None] | None = None) -> Iterator[None]:
        """Around a whole call: those who asked for it are given the story at its end.

        The story then has what came after the search as well. It is told however the end comes.

        Args:
            if_failed: Is given the last state if an error ends the call.
        """
        has_failed = True
        try:
            yield
            has_failed = False
        finally:
            self.facts = replace(self.facts, is_running=False)
            if has_failed and if_failed is not None and self.teller is not None:
                if_failed(self.teller.state)
            readers, self._readers = self._readers, []
            if readers and (story := self.story) is not None:
                has_failed = has_failed or story.status == "broke"
                for each in readers:
                    told = partial(each.over, story, has_failed=has_failed)
                    attempted(told, "%s could not write down the end", type(each).__name__)

    def begun_with(
        self,
        state: RunState,
        run_dir: RunDir | None,
        without_secrets: Callable[[Any], Any] = _unchanged,
    ) -> None:
        """Take note that a run begins, before its first model call.

        Args:
            state: From which it begins, or is carried on.
            run_dir: Where it is kept: what happened before stands there, and events happen when
                they are written down, so that this story and the directory's are the same.
            without_secrets: As the attribute.
        """
        self.teller = Teller(state)
        self.facts = Facts(settings=settings_in_words(named_settings(state.settings)))
        self.without_secrets = without_secrets
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

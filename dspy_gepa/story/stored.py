"""The story of a run as its directory holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dspy_gepa.core.search import evolve
from dspy_gepa.store.run_dir import StoredRun, read_run
from dspy_gepa.story.building import story_of
from dspy_gepa.story.facts import NO_OUTCOME, Facts, Outcome
from dspy_gepa.story.parts import ExampleStory, Session, Setting
from dspy_gepa.story.story import Story
from dspy_gepa.story.teller import Teller
from dspy_gepa.values.answers import fields_alone

__all__ = ["facts_of", "stored_story", "story_in", "teller_of"]


def stored_story(stored: StoredRun, outcome: Outcome = NO_OUTCOME) -> Story:
    """The story of a stored run, under way, finished or dead."""
    return story_of(teller_of(stored), facts_of(stored, outcome))


def story_in(log_dir: str | os.PathLike[str]) -> Story:
    """What happened in the run of this directory, without secrets: to be passed on.

    Raises:
        JournalError: there is no run, or it cannot be read.
        JournalCorrupt: what is stored was changed.
    """
    return stored_story(read_run(Path(log_dir), fields_alone))


def teller_of(stored: StoredRun) -> Teller:
    """A teller that was told of all that is stored."""
    state = stored.manifest.begun
    teller = Teller(state)
    openings = {session.first: session.opened_at for session in stored.sessions}
    for number, (event, at) in enumerate(zip(stored.events, stored.times, strict=True)):
        if number in openings:
            teller.opened(openings[number])
        state = evolve(state, event)
        teller.told(event, state, at)
    return teller


def facts_of(stored: StoredRun, outcome: Outcome = NO_OUTCOME) -> Facts:
    """What the directory says beside events."""
    manifest = stored.manifest
    return Facts(
        name=stored.path.absolute().name,
        models={use: _model(of) for use, of in manifest.models.items()},
        versions=manifest.versions,
        settings=tuple(
            Setting(name=name, value=str(value), is_default=None)
            for name, value in manifest.settings.items()
        ),
        examples={
            number: ExampleStory(
                number=number,
                position=0,
                is_training=False,
                is_validation=False,
                digest=digest,
            )
            for number, digest in enumerate(manifest.examples)
        },
        sessions=tuple(
            Session(
                opened_at=session.opened_at, closed_at=session.closed_at, version=session.version
            )
            for session in stored.sessions
        ),
        outcome=outcome,
        is_running=stored.is_running,
    )


def _model(described: object) -> str:
    if isinstance(described, Mapping):
        return str(described.get("model", described))
    return str(described)

"""The story of a run as its directory holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dspy_gepa.core.search import evolve
from dspy_gepa.core.state import RunState
from dspy_gepa.store.example_file import Described
from dspy_gepa.store.manifest import Manifest
from dspy_gepa.store.outcome import kept_fields
from dspy_gepa.store.run_dir import StoredRun, read_run
from dspy_gepa.story.building import story_of
from dspy_gepa.story.facts import NO_OUTCOME, Facts, Outcome
from dspy_gepa.story.parts import Check, ExampleStory, Session, Spending
from dspy_gepa.story.story import Story
from dspy_gepa.story.teller import Teller
from dspy_gepa.values.answers import fields_alone
from dspy_gepa.values.plain import dataclass_from

__all__ = ["facts_of", "outcome_of", "settings_in_words", "stored_story", "story_in", "teller_of"]


def stored_story(stored: StoredRun) -> Story:
    """The story of a stored run, under way, finished or dead."""
    teller = teller_of(stored)
    facts = facts_of(stored.manifest, stored)
    return story_of(teller, replace(facts, outcome=outcome_of(stored, teller.state)))


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
    openings = [session.opened_at for session in reversed(stored.sessions)]
    for event, at in zip(stored.events, stored.times, strict=True):
        # By time: an answer that a later session only told anew came in an earlier one.
        while openings and at is not None and at >= openings[-1]:
            teller.opened(openings.pop())
        state = evolve(state, event)
        teller.told(event, state, at)
    return teller


def facts_of(
    manifest: Manifest,
    stored: StoredRun | None = None,
    *,
    name: str = "",
    described: Mapping[int, Described] = MappingProxyType({}),
) -> Facts:
    """What is known of a run beside its events.

    Args:
        manifest: What the run is.
        stored: What its directory holds; None if it is being written.
        name: The directory's, where there is nothing stored.
        described: The examples, likewise.
    """
    sessions = () if stored is None else stored.sessions
    described = described if stored is None else stored.examples
    return Facts(
        name=name if stored is None else stored.path.absolute().name,
        models={use: _model(of) for use, of in manifest.models.items()},
        versions=manifest.versions,
        settings=settings_in_words(manifest.settings),
        examples={
            number: ExampleStory(
                number=number,
                position=0,
                is_training=False,
                is_validation=False,
                digest=digest,
                inputs=described[number].inputs if number in described else None,
                expected=described[number].expected if number in described else None,
            )
            for number, digest in enumerate(manifest.examples)
        },
        sessions=tuple(
            Session(
                opened_at=session.opened_at, closed_at=session.closed_at, version=session.version
            )
            for session in sessions
        ),
        is_running=stored is None or stored.is_running,
    )


def outcome_of(stored: StoredRun, state: RunState) -> Outcome:
    """What became of the search that ended in this state; nothing if that is not known.

    Raises:
        JournalCorrupt: what is stored of it was changed.
    """
    fields: Mapping[str, Any] = kept_fields(stored, state).get("story", {})
    if not fields:
        return NO_OUTCOME
    parts = {
        "check": dataclass_from(Check, fields["check"]),
        "for_demonstrations": dataclass_from(Spending, fields["for_demonstrations"]),
        "afterwards": dataclass_from(Spending, fields["afterwards"]),
        "aggregates": tuple(fields["aggregates"]),
    }
    return dataclass_from(Outcome, {**fields, **parts})


def settings_in_words(settings: Mapping[str, object]) -> Mapping[str, str]:
    """Settings by name, as a story has them."""
    return {name: str(value) for name, value in settings.items()}


def _model(described: object) -> str:
    if isinstance(described, Mapping):
        return str(described.get("model", described))
    return str(described)

"""`outcome.json`: what became of a search after its end, which no event says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dspy_gepa.core.state import RunState
from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.store.run_dir import RunDir, StoredRun
from dspy_gepa.values.plain import dumps, loads, packed, unpacked

__all__ = ["OUTCOME", "keep_fields", "kept_fields"]

OUTCOME = "outcome.json"


def keep_fields(run_dir: RunDir, state: RunState, outcome: Mapping[str, object]) -> None:
    """Write down what became of the search that ended in this state.

    Raises:
        JournalError: there is no room or no right to write.
    """
    stored = {"of": _mark_of(state), "fields": packed(dict(outcome))}
    run_dir.write_text(OUTCOME, dumps(stored))


def kept_fields(stored: StoredRun, state: RunState) -> Mapping[str, Any]:
    """What was written down; nothing if there is nothing, or the run was carried on since.

    Raises:
        JournalCorrupt: something else stands there.
    """
    path = stored.path / OUTCOME
    if not path.exists():
        return {}
    try:
        told = loads(path.read_text("utf-8"))
        outcome: Mapping[str, Any] = unpacked(told["fields"])
        return outcome if told["of"] == _mark_of(state) else {}
    except (OSError, LookupError, TypeError, UnicodeDecodeError, JournalCorrupt) as error:
        raise JournalCorrupt(f"{path} holds no outcome: {error}. Remove it.") from None


def _mark_of(state: RunState) -> list[Any]:
    """Tells the state that an outcome belongs to from those before and after it."""
    tally = state.tally
    counts = [getattr(tally, each.name) for each in fields(tally) if each.compare]
    return [len(state.history), len(state.known), *counts, state.ending]

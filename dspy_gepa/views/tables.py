"""A story as plain dictionaries and as tables: of pandas, or for a tracker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, NamedTuple

from dspy_gepa.errors import MissingExtra
from dspy_gepa.story.story import MemberStory, Story

__all__ = ["SCHEMA", "Tables", "dictionary_of", "rows_of", "run_values", "tables_of"]

SCHEMA = "dspy_gepa.run/2"
"""Under "schema": the number rises where a key means something else or is gone."""


def dictionary_of(story: Story) -> dict[str, Any]:
    """All of it but its sessions, as JSON can have it; with examples and answers if kept."""
    plain = _plain(asdict(story))
    assert isinstance(plain, dict)
    # When the run's process let go of it is not known to that process.
    del plain["sessions"]
    return {"schema": SCHEMA, **plain}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def run_values(story: Story | str) -> dict[str, Any]:
    """A run in a list of runs, for programs; the same keys where it cannot be read, and why."""
    readable = None if isinstance(story, str) else story
    members = () if readable is None or readable.returned is None else readable.members
    returned = None if readable is None else readable.returned
    values: dict[str, Any] = {
        "began_at": readable and readable.began_at,
        "status": readable and readable.status,
        "returned": returned,
    }
    for title, number in (("", returned), ("seed_", 0)):
        member = members[number] if members and number is not None else None
        for name in ("right", "seen", "mean"):
            values[f"{title}{name}"] = member and getattr(member, name)
    for name in ("metric_calls", "total_tokens", "usd", "unpriced_calls"):
        values[name] = readable and getattr(readable.total, name)
    return {**values, "problem": story if isinstance(story, str) else None}


class Tables(NamedTuple):
    """Data frames, or lists of rows; a score's row names member and example."""

    members: Any
    proposals: Any
    scores: Any
    spending: Any


def tables_of(story: Story) -> Tables:
    """The same as tables.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas as pd  # type: ignore[import-untyped, import-not-found, unused-ignore]  # noqa: PLC0415 - nobody needs it who asks for no table
    except ImportError as error:
        raise MissingExtra("pandas", "report") from error
    return Tables(*map(pd.DataFrame, rows_of(story)))


def rows_of(story: Story) -> Tables:
    """The same as rows: each a dictionary from column to value."""
    nested = {"texts", "answers", "tops", "children", "objectives"}
    names = [each.name for each in fields(MemberStory) if each.name not in nested]
    members = [
        {
            **{name: getattr(member, name) for name in names},
            "tops": len(member.tops),
            **{f"text.{name}": text for name, text in member.texts.items()},
            **{f"objective.{name}": mean for name, mean in member.objectives.items()},
        }
        for member in story.members
    ]
    proposals = [
        {
            "number": each.number,
            "kind": each.kind,
            "parents": each.parents,
            "verdict": each.verdict,
            "reason": each.reason,
            "member": each.member,
            "seconds": each.seconds,
            **{f"spent.{unit}": amount for unit, amount in asdict(each.spending).items()},
        }
        for each in story.proposals
    ]
    scores = [
        {
            "member": member.number,
            "example": example,
            **{name: value for name, value in asdict(answer).items() if name != "objectives"},
            **{f"objective.{name}": value for name, value in answer.objectives.items()},
        }
        for member in story.members
        for example, answer in member.answers.items()
    ]
    spending = [{"purpose": name, **asdict(spent)} for name, spent in story.spending.items()]
    return Tables(members, proposals, scores, spending)

"""What a story needs to know beside events and states: names, settings, examples, the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dspy_gepa.story.parts import (
    NOT_CHECKED,
    NOTHING_SPENT,
    Check,
    ExampleStory,
    Session,
    Spending,
)

__all__ = ["NO_FACTS", "NO_OUTCOME", "Facts", "Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a search after its end."""

    returned: int | None = None
    """The member whose texts are handed over; None if there is none."""
    best: int | None = None
    """The member that ranks highest, by the aggregate metric where there is one."""
    aggregates: tuple[float, ...] = ()
    """What the aggregate metric says of each member; empty if there is none."""
    check: Check = NOT_CHECKED
    demonstrations: str = ""
    """In words; empty if none were asked for."""
    for_demonstrations: Spending = NOTHING_SPENT
    routing: str = ""
    """Likewise of specialists."""
    afterwards: Spending = NOTHING_SPENT
    """For specialists and the verdict."""
    is_stopped: bool = False
    """Whether somebody, or a limit in seconds, ended the search."""
    is_final: bool = False
    """Whether the call came to its end."""


NO_OUTCOME = Outcome()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of one run."""

    name: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[int, ExampleStory] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    outcome: Outcome = NO_OUTCOME
    is_running: bool = True
    """Whether a process is at it, where it has not ended."""


NO_FACTS = Facts()

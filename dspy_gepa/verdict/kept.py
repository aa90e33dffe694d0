"""A verdict as a run directory keeps it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.values.plain import dumps, loads, packed, unpacked
from dspy_gepa.verdict.finding import NO_HELDOUT, Verdict

__all__ = ["VERDICT_FILE", "as_text", "verdict_in"]

VERDICT_FILE = "verdict.json"


def as_text(verdict: Verdict) -> str:
    """What is written down."""
    return dumps(packed(asdict(verdict)))


def verdict_in(folder: Path) -> Verdict:
    """The verdict in this run directory; that nothing was checked where there is none.

    Raises:
        JournalCorrupt: what stands there is no verdict.
    """
    path = folder / VERDICT_FILE
    if not path.exists():
        return NO_HELDOUT
    try:
        return Verdict(**unpacked(loads(path.read_text("utf-8"))))
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise JournalCorrupt(f"{path} holds no verdict: {error}. Remove it.") from None

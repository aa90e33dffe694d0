"""The lines of a run under way, for a terminal or a log: at most 79 columns where it can be."""

from __future__ import annotations

from dspy_gepa.errors import readable
from dspy_gepa.story.now import Happening, Now
from dspy_gepa.story.wording import amount, clock, exact

__all__ = ["COLUMNS", "happening_line", "heartbeat", "status_of"]

COLUMNS = 79
"""One less than a terminal has: some begin a new line when the last column is filled."""
_BAR = 12
_SHORT = {"metric_calls": "calls", "total_tokens": "tokens", "reflection_calls": "reflections"}


def happening_line(happened: Happening, *, columns: int | None = COLUMNS) -> str:
    """One line for what happened; not shortened where `columns` is None."""
    number = "   " if happened.number is None else f"{happened.number:3d}"
    best = " *" if happened.is_best else ""
    parts = f"{happened.became}{best}".ljust(14) if happened.became else ""
    rest = "  ".join(filter(None, [happened.seen, happened.lines, happened.reason]))
    lead = f"{clock(happened.seconds)} {number}" if happened.number is not None else ""
    lead = lead or f"{clock(happened.seconds)}    "
    return _short(f"{lead} {happened.what:<19} {parts}{rest}".rstrip(), columns)


def status_of(now: Now, *, columns: int = COLUMNS) -> str:
    """The one line that changes: what is used, the best so far, what is done, the time left."""
    if now.limit is None:
        used = f"{now.spent.metric_calls} calls"
    else:
        unit, share = now.limit.unit, min(1.0, now.limit.share)
        full = round(share * _BAR)
        used = (
            f"{_plain(now.limit.used, unit)}/{_plain(now.limit.limit, unit)} "
            f"{_SHORT.get(unit, unit.replace('usd', 'USD'))} [{'#' * full}{'.' * (_BAR - full)}]"
        )
    tried = sum(now.verdicts.values())
    parts = [
        f"best {now.best}" if now.best else "",
        f"{now.verdicts.get('accepted', 0)}/{tried} kept" if tried else "",
        f"{now.doing} {clock(now.doing_seconds)}" if now.doing else "",
        "" if now.left_seconds is None else f"+{clock(now.left_seconds)}",
    ]
    return _short(f"GEPA {used} {', '.join(filter(None, parts))}", columns)


def heartbeat(now: Now) -> str:
    """That it is still at work, for who sees no line that changes."""
    used = "" if now.limit is None else f"; {_share(now)}"
    doing = now.doing or "waiting"
    return f"still working: {doing} for {clock(now.doing_seconds)}{used}"


def _share(now: Now) -> str:
    assert now.limit is not None
    unit = now.limit.unit
    return f"{_plain(now.limit.used, unit)} of {amount(now.limit.limit, unit)} used"


def _plain(value: float, unit: str) -> str:
    if unit == "seconds":
        return clock(value)
    return exact(value) if unit == "usd" else f"{value:.0f}"


def _short(text: str, columns: int | None) -> str:
    line = " ".join(readable(text).splitlines()) if "\n" in text else readable(text)
    if columns is None or len(line) <= columns:
        return line
    return line[: columns - 3] + "..."

"""Points in time, scores and prices as people read them."""

from __future__ import annotations

from datetime import datetime, timezone

from dspy_gepa.story.parts import Spending
from dspy_gepa.story.wording import counted, exact

__all__ = ["first_line", "moment", "money", "score"]


def moment(at: float | None) -> str:
    """A point in time; the same on every machine."""
    if at is None:
        return "not recorded"
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def score(value: float | None) -> str:
    """A score with as many digits as are of use; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


def money(spent: Spending) -> str:
    """What was spent in money: where prices are not known, that is said and no 0 is shown."""
    if spent.usd:
        unknown = f", {counted(spent.unpriced_calls, 'call')} without a known price"
        return f"{exact(spent.usd)} USD{unknown if spent.unpriced_calls else ''}"
    return "price not known" if spent.total_tokens else "no tokens counted"


def first_line(text: str, most: int = 160) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 3]}..."

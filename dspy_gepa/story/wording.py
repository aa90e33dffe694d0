"""Amounts, durations, counts, points in time, scores and prices as people read them."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

from dspy_gepa.core.budget import unit_in_words
from dspy_gepa.story.parts import Spending

__all__ = [
    "amount",
    "clock",
    "counted",
    "exact",
    "first_line",
    "listed",
    "moment",
    "money",
    "score",
    "score_in_words",
    "sentences",
    "spent_in_words",
    "took",
]

_ONES = {"metric_calls": "metric call", "reflection_calls": "reflection", "rollouts": "rollout"}


def counted(count: int, one: str, many: str = "") -> str:
    """The number and the word for it: "1 member", "2 members"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def amount(value: float, unit: str) -> str:
    """A quantity with its unit: "148 metric calls", "0.42 USD", "2:05"."""
    if unit == "seconds":
        return clock(value)
    if unit == "usd":
        return f"{exact(value)} USD"
    if unit in _ONES:
        return counted(int(value), _ONES[unit])
    return f"{value:,.0f} {unit_in_words(unit)}"


def exact(value: float) -> str:
    """A number with as many digits as are of use."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def clock(seconds: float) -> str:
    """A duration as a clock shows it: "0:05", "1:02:03"."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def took(seconds: float) -> str:
    """A duration of one piece of work: "0.35 s", "1:02"."""
    return f"{exact(seconds)} s" if seconds < 60 else clock(seconds)


def score_in_words(*, right: int | None, seen: int, mean: float | None) -> str:
    """What was really seen of a candidate: "13 of 15 right", or "0.610 on 15"."""
    if right is not None:
        return f"{right} of {seen} right"
    return f"nothing scored on {seen}" if mean is None else f"{mean:.3f} on {seen}"


def listed(parts: tuple[str, ...]) -> str:
    """The words in a row: "a, b and c"."""
    *before, last = parts or ("",)
    return f"{', '.join(before)} and {last}" if before else last


def moment(at: float | None) -> str:
    """A point in time; the same on every machine."""
    if at is None:
        return "not recorded"
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def score(value: float | None) -> str:
    """A score with as many digits as are of use; a dash where there is none.

    And "failed" for -inf, which is a failure without a score.
    """
    if value is None or value == -math.inf:
        return "–" if value is None else "failed"
    return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


def money(spent: Spending) -> str:
    """What was spent in money: where prices are not known, that is said and no 0 is shown."""
    unknown = counted(spent.unpriced_calls, "call") if spent.unpriced_calls else ""
    if spent.usd:
        return f"{exact(spent.usd)} USD{f', {unknown} without a known price' if unknown else ''}"
    if unknown:
        return "price not known"
    return "0 USD" if spent.total_tokens else "no tokens counted"


def spent_in_words(spent: Spending) -> str:
    """All that was spent: metric calls, reflections, tokens and money."""
    parts = [amount(getattr(spent, unit), unit) for unit in ("metric_calls", "reflection_calls")]
    if spent.total_tokens:
        parts.append(amount(spent.total_tokens, "total_tokens"))
    return ", ".join([*parts, money(spent)])


def sentences(text: str, most: int = 600) -> str:
    """The first whole sentences of a text, in one line; the first one however long it is."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    ends = [found.end() for found in re.finditer(r"[.!?](?=\s)", line)]
    return line[: max((end for end in ends if end <= most), default=min(ends, default=len(line)))]


def first_line(text: str, most: int = 160) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 3]}..."

"""Amounts, durations and counts as people read them."""

from __future__ import annotations

from dspy_gepa.core.budget import unit_in_words

__all__ = ["amount", "clock", "counted", "exact", "listed", "score_in_words"]

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


def score_in_words(*, right: int | None, seen: int, mean: float | None) -> str:
    """What was really seen of a candidate: "13 of 15 right", or "0.610 on 15"."""
    if right is not None:
        return f"{right} of {seen} right"
    return f"nothing scored on {seen}" if mean is None else f"{mean:.3f} on {seen}"


def listed(parts: tuple[str, ...]) -> str:
    """The words in a row: "a, b and c"."""
    *before, last = parts or ("",)
    return f"{', '.join(before)} and {last}" if before else last

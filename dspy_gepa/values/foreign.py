"""What holds of any value of a user's: it may hold itself, and its own words may fail."""

from __future__ import annotations

__all__ = ["IN_USER_CODE", "entered", "is_writable", "str_of"]

IN_USER_CODE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a user's predicate, `__str__` or mapping may raise where no more than its own value is at
stake. MemoryError and what ends a process are not among them."""
_DEEPEST = 20
"""Levels of containers that are gone through unless asked otherwise; no sane value has more."""
_TOO_LONG = 10**640
"""The lowest limit that Python can be given for the digits of an integer is 640: below this number
every integer can be written."""


def entered(
    value: object, within: tuple[int, ...], deepest: int = _DEEPEST
) -> tuple[int, ...] | None:
    """The ids of the containers around what is in this one, given those around it.

    None if it is not to be entered: it is one of those itself, or lies deeper than so many. The
    depth alone would not do: through what holds itself there are as many ways as a tree of that
    depth has leaves.
    """
    is_around = id(value) in within
    return None if is_around or len(within) >= deepest else (*within, id(value))


def is_writable(number: int) -> bool:
    """Whether Python writes an integer in digits, whatever limit was set."""
    return abs(number) < _TOO_LONG


def str_of(value: object) -> str:
    """What `str` says about the value, or that it says nothing if it raises."""
    try:
        return str(value)
    except IN_USER_CODE:
        return f"<a {type(value).__name__} that cannot be put into words>"

"""Whether two mathematical expressions are equal, with the package `math-verify`."""

from __future__ import annotations

import re
from typing import Any

from answers import boxed, text_of
from task import needed

__all__ = ["is_equal"]

LONGEST = 300
TOWER = re.compile(r"\^\s*(?:\{[^{}]*\^|\S\s*\^|\{?\s*-?\d{4,})|\*\*.*\*\*|\d{5,}\s*!|!\s*!")


def is_equal(answer: Any, right: str, task: str) -> bool:
    """Whether the answer, or what its last box holds, is equal to the right expression."""
    text = text_of(answer)
    text = boxed(text) or text
    if plain(text) == plain(right):
        return bool(plain(text))
    # To compute a power of a power could take forever, and a thread cannot be interrupted.
    if not text or len(text) > LONGEST or TOWER.search(text):
        return False
    math_verify = needed("math_verify", "math-verify", task)
    wanted, given = (
        math_verify.parse(f"${each.strip('$')}$", parsing_timeout=None) for each in (right, text)
    )
    return bool(math_verify.verify(wanted, given, timeout_seconds=None))


def plain(expression: str) -> str:
    """An expression without blanks, dollars, and marks that only change how it looks."""
    return re.sub(r"\s+|\$|\\left|\\right|\\[,;! ]|\.$", "", expression).replace("dfrac", "frac")

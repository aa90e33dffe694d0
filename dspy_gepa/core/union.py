"""Two rewritings of one text as one: line by line, what either of them added, less what it removed.

The merge of version control, which keeps both sides where they conflict ("union" in git). Two
members with one component each, which learned different things, have no other way to come together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

__all__ = ["union"]


def union(origin: str, one: str, other: str) -> str:
    """The text with what each of two others changed in it.

    Lines that one of them removed are gone. Lines that both added at the same place stand one
    below the other, a blank line between them. A line that both added stands there once.
    """
    old = origin.split("\n")
    mine, theirs = _Changes.between(old, one.split("\n")), _Changes.between(old, other.split("\n"))
    statements = {line.strip() for lines in mine.added for line in lines if _says_something(line)}
    merged: list[str] = []
    for place, line in enumerate([*old, None]):
        first = mine.added[place]
        second = [new for new in theirs.added[place] if new.strip() not in statements]
        merged += first
        if any(map(_says_something, second)):
            is_apart = not first or not first[-1].strip() or not second[0].strip()
            merged += second if is_apart else ["", *second]
        if line is not None and place in mine.kept and place in theirs.kept:
            merged.append(line)
    return "\n".join(merged)


def _says_something(line: str) -> bool:
    """Whether it is more than form: blank lines, rulers and fences may be needed twice."""
    return any(map(str.isalnum, line)) and not line.lstrip().startswith(("```", "~~~"))


@dataclass(frozen=True, slots=True)
class _Changes:
    """What makes one list of lines of another."""

    kept: frozenset[int]
    """Places of old lines that stay."""
    added: Sequence[Sequence[str]]
    """New lines by the place of the old line before which they stand; the last after all."""

    @classmethod
    def between(cls, old: Sequence[str], new: Sequence[str]) -> _Changes:
        """The changes from the one to the other."""
        kept: set[int] = set()
        added: list[list[str]] = [[] for _ in range(len(old) + 1)]
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        for kind, first, last, begin, end in matcher.get_opcodes():
            if kind == "equal":
                kept.update(range(first, last))
            else:
                added[first] += new[begin:end]
        return cls(frozenset(kept), added)

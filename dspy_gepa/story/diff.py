"""What changed between two texts: lines, and within changed lines words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

__all__ = ["DiffLine", "Span", "counted_lines", "diff_lines"]

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_ALIKE = 0.3
"""Two lines are one changed line where so much of them is the same. Our choice."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a line."""

    text: str
    is_changed: bool


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of one text or of both."""

    sign: Literal["+", "-", " "]
    """Whether only the newer text has it, only the older, or both."""
    spans: tuple[Span, ...]

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(span.text for span in self.spans)


def diff_lines(before: str, after: str) -> tuple[DiffLine, ...]:
    """All lines of both texts, in order."""
    old, new = before.splitlines(), after.splitlines()
    found: list[DiffLine] = []
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            found += [DiffLine(" ", (Span(line, is_changed=False),)) for line in old[i:j]]
        elif tag == "replace" and j - i == m - k:
            pairs = [_changed(one, two) for one, two in zip(old[i:j], new[k:m], strict=True)]
            found += [one for one, _ in pairs] + [two for _, two in pairs]
        else:
            found += [DiffLine("-", (Span(line, is_changed=False),)) for line in old[i:j]]
            found += [DiffLine("+", (Span(line, is_changed=False),)) for line in new[k:m]]
    return tuple(found)


def _changed(before: str, after: str) -> tuple[DiffLine, DiffLine]:
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return (
            DiffLine("-", (Span(before, is_changed=False),)),
            DiffLine("+", (Span(after, is_changed=False),)),
        )
    codes = matcher.get_opcodes()
    minus = tuple(_spans((tag, old[i:j]) for tag, i, j, _, _ in codes))
    plus = tuple(_spans((tag, new[k:m]) for tag, _, _, k, m in codes))
    return DiffLine("-", minus), DiffLine("+", plus)


def _spans(parts: Iterable[tuple[str, list[str]]]) -> Iterator[Span]:
    for tag, words in parts:
        if words:
            yield Span("".join(words), is_changed=tag != "equal")


def counted_lines(pairs: Iterable[tuple[str, str]]) -> str:
    """How many lines were gained and lost over all these texts: "+3 -1 lines"; "" if none."""
    gained = lost = 0
    for before, after in pairs:
        old, new = before.splitlines(), after.splitlines()
        for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if tag != "equal":
                gained, lost = gained + m - k, lost + j - i
    parts = [f"+{gained}" if gained else "", f"-{lost}" if lost else ""]
    said = " ".join(filter(None, parts))
    return f"{said} {'line' if gained + lost == 1 else 'lines'}" if said else ""

"""What changed from one text to another: by line, and within changed lines by word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

__all__ = [
    "Change",
    "DiffLine",
    "Span",
    "changes_between",
    "counted_lines",
    "diffed",
    "folded",
    "unified",
]

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_ALIKE = 0.35
"""Lines with so much in common are shown as one line that changed. Our choice."""
_SIGNS = {"removed": "-", "added": "+"}
_MOST_PAIRS = 200_000
"""Of equal lines or words. Beyond so many, what is repeated often is not compared: it would take
seconds, and the answer would be of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One component's text, before and after."""

    component: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a line."""

    text: str
    is_changed: bool


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a comparison."""

    kind: Literal["same", "removed", "added", "folded"]
    spans: tuple[Span, ...]
    """Its text in parts; of folded lines there is none."""
    count: int = 1
    """How many lines it stands for: more than one where they are folded."""

    @property
    def sign(self) -> str:
        """A plus where only the newer text has it, a minus where only the older has it."""
        return _SIGNS.get(self.kind, " ")

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(span.text for span in self.spans)


def changes_between(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """The components whose texts differ; one that is missing has an empty text."""
    return tuple(
        Change(component=name, before=before.get(name, ""), after=after.get(name, ""))
        for name in dict.fromkeys([*before, *after])
        if before.get(name, "") != after.get(name, "")
    )


def diffed(before: str, after: str) -> tuple[DiffLine, ...]:
    """All lines of both texts, in order; where lines changed, the old ones before the new ones."""
    return tuple(_lines(_split(before), _split(after)))


def folded(lines: Sequence[DiffLine], around: int = 2) -> tuple[DiffLine, ...]:
    """The same, with one line in place of several that are further from a change than so many."""
    changed = [place for place, line in enumerate(lines) if line.kind != "same"]
    near = {
        place
        for change in changed
        for place in range(max(0, change - around), min(len(lines), change + around + 1))
    }
    return tuple(_folded(lines, near))


def unified(before: str, after: str) -> list[str]:
    """The changed lines with a sign before each, and few around them, for a terminal."""
    return [
        f"  ... {line.count} equal lines" if line.kind == "folded" else f"{line.sign} {line.text}"
        for line in folded(diffed(before, after))
    ]


def counted_lines(changes: Iterable[Change]) -> str:
    """How many lines were gained and lost over all these texts: "+3 -1 lines"; "" if none."""
    gained = lost = 0
    for change in changes:
        lines = _matcher(_split(change.before), _split(change.after))
        for tag, a, b, c, d in lines.get_opcodes():
            if tag != "equal":
                gained, lost = gained + d - c, lost + b - a
    parts = [f"+{gained}" if gained else "", f"-{lost}" if lost else ""]
    words = " ".join(filter(None, parts))
    return f"{words} {'line' if gained + lost == 1 else 'lines'}" if words else ""


def _split(text: str) -> list[str]:
    # Only where a page or a terminal begins a new line, so that every other sign is still there.
    return text.replace("\r\n", "\n").split("\n") if text else []


def _folded(lines: Sequence[DiffLine], near: set[int]) -> Iterator[DiffLine]:
    hidden: list[DiffLine] = []
    for place in range(len(lines) + 1):
        if place < len(lines) and place not in near:
            hidden.append(lines[place])
            continue
        if len(hidden) > 1:
            yield DiffLine("folded", (), len(hidden))
        else:
            yield from hidden
        hidden = []
        if place < len(lines):
            yield lines[place]


def _lines(one: Sequence[str], two: Sequence[str]) -> Iterator[DiffLine]:
    for tag, a, b, c, d in _matcher(one, two).get_opcodes():
        if tag == "equal":
            yield from (_whole("same", line) for line in one[a:b])
        elif b - a == d - c:
            yield from _paired(one[a:b], two[c:d])
        else:
            yield from _apart(one[a:b], two[c:d])


def _paired(removed: Sequence[str], added: Sequence[str]) -> Iterator[DiffLine]:
    """As many lines as before: each is compared with the one in its place."""
    pairs = [_by_word(old, new) for old, new in zip(removed, added, strict=True)]
    yield from (old for old, _ in pairs)
    yield from (new for _, new in pairs)


def _apart(removed: Sequence[str], added: Sequence[str]) -> Iterator[DiffLine]:
    """More lines or fewer: one that became several is compared with its likeliest."""
    if len(removed) == 1 and added:
        place = max(range(len(added)), key=lambda each: _likeness(removed[0], added[each]))
        old, new = _by_word(removed[0], added[place])
        yield old
        yield from (_whole("added", line) for line in added[:place])
        yield new
        yield from (_whole("added", line) for line in added[place + 1 :])
        return
    yield from (_whole("removed", line) for line in removed)
    yield from (_whole("added", line) for line in added)


def _likeness(one: str, two: str) -> float:
    return SequenceMatcher(None, _WORD.findall(one), _WORD.findall(two), autojunk=False).ratio()


def _by_word(old: str, new: str) -> tuple[DiffLine, DiffLine]:
    one, two = _WORD.findall(old), _WORD.findall(new)
    matcher = _matcher(one, two)
    if matcher.ratio() < _ALIKE:
        return _whole("removed", old), _whole("added", new)
    before: list[Span] = []
    after: list[Span] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        before.append(Span("".join(one[a:b]), tag != "equal"))
        after.append(Span("".join(two[c:d]), tag != "equal"))
    return DiffLine("removed", _joined(before)), DiffLine("added", _joined(after))


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """As few spans as there can be: a space between two words that changed belongs to them."""
    found: list[Span] = []
    for place, span in enumerate(spans):
        after = spans[place + 1] if place + 1 < len(spans) else span
        is_between = bool(found) and found[-1].is_changed and after.is_changed
        is_changed = span.is_changed or (is_between and span.text.isspace())
        if found and found[-1].is_changed == is_changed:
            found[-1] = Span(found[-1].text + span.text, is_changed)
        elif span.text:
            found.append(Span(span.text, is_changed))
    return tuple(found)


def _whole(kind: Literal["same", "removed", "added"], line: str) -> DiffLine:
    return DiffLine(kind, (Span(line, is_changed=False),))


def _matcher(one: Sequence[str], two: Sequence[str]) -> SequenceMatcher[str]:
    counts = Counter(two)
    pairs = sum(count * counts[text] for text, count in Counter(one).items())
    return SequenceMatcher(None, one, two, autojunk=pairs > _MOST_PAIRS)

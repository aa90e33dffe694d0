"""The texts that a reply sets apart in forms that nobody asked for: fences, elements, fields.

What tells a new text from talk about it in any language is where it stands, and what it has of the
current one.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

__all__ = [
    "Element",
    "elements",
    "fences",
    "in_other_form",
    "is_placeholder",
    "left_out",
    "pieces_of",
    "trimmed",
    "unfenced",
]

_DECORATION = r"[ \t*_`]*"
"""What models put around a mark on its line."""
_ANY_NAME = r"[A-Za-z][\w.-]*"
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([\w.+-]*)[^\n`]*$", re.MULTILINE)
_PROSE = frozenset({"", "text", "txt", "plaintext", "plain", "markdown", "md"})
"""What a fence around prose is called; other names are those of programming languages."""
_OPENING, _CLOSING = "([{<（［【", ")]}>）］】"
_ASIDE_OPENINGS, _DOTS = ("(", "[", "（", "［", "【"), ("...", "\u2026")
_FIELD_HEADER = re.compile(r"^\[\[ ## (\S[^\n]*?) ## \]\][ \t]*$", re.MULTILINE)
"""How DSPy's chat adapter writes a field, and so what its models of tests answer."""
_YAML_FIELD = re.compile(r"([\w -]+):[ \t]*([|>])[+-]?[ \t]*\n((?:(?:[ \t][^\n]*)?(?:\n|\Z))+)")
"""A field of YAML whose text stands in a block, with its line breaks or without them."""
_RUN = 12
"""Bytes in a row that two texts share because one goes on from the other: two words of English,
four characters of Chinese."""
_LEAST_INHERITED = 0.4
"""Of the bytes of the current text. Our choice: where nothing says that a text is meant as the new
one, that it goes on from the current one does. Rewrites mostly keep more; talk about the current
text, errors of servers, and answers to the program's task, less."""

_LEAST_LEFT_OUT = 0.2
"""Of the bytes of the current text: what a line in brackets stands for. Our choice: less may go
because of what was changed around such a line."""

_MOST_ASIDES = 3
"""Lines in brackets of a text: more of them are its form, and stand for nothing."""


class Element(NamedTuple):
    """What stands between two marks of one name, or a mark without its other."""

    name: str
    attributes: str
    text: str
    start: int
    end: int
    is_opened: bool = True
    is_closed: bool = True


class Piece(NamedTuple):
    """A text that a reply sets apart, by a fence, an element or a field."""

    name: str
    text: str
    is_code: bool = False
    """Whether it stands in a fence that is named for a language."""


def in_other_form(answer: str, current: Mapping[str, str], *, in_any_form: bool) -> dict[str, str]:
    """The texts of a reply without our marks, where only one reading is likely.

    What goes on from the current text is meant as the new one, if it comes last: reasons come
    before what they are for. Of two drafts nobody can tell which one is meant. Where any text that
    is set apart was asked for, the only one is taken, whatever it says. The current text itself is
    quoted where another one stands beside it; alone it is to stay.
    """
    quoted = set(map(str.strip, current.values()))
    pieces = [
        piece
        for piece in pieces_of(answer)
        if not is_placeholder(piece.text) and piece.name not in ("diagnosis", "lesson")
    ]
    pieces = [piece for piece in pieces if piece.text not in quoted] or pieces
    chosen = {piece.name: piece for piece in pieces if piece.name in current}
    if len(current) == 1 and not chosen:
        ((component, old),) = current.items()
        alike = [_goes_on(old, piece) for piece in pieces]
        if len(pieces) == 1 or (alike.count(True) == 1 and alike[-1]):
            chosen[component] = pieces[-1]
    is_meant = all(
        _goes_on(current[name], piece) or (in_any_form and not piece.is_code)
        for name, piece in chosen.items()
    )
    return {name: piece.text for name, piece in chosen.items()} if is_meant else {}


def is_placeholder(text: str) -> bool:
    """Whether a text is one line in a pair of brackets: what a form has in place of a text."""
    line = text.lstrip(" \t*_`\"'>-").rstrip(" \t*_`\"'.!:")
    depths = list(accumulate((sign in _OPENING) - (sign in _CLOSING) for sign in line))
    return "\n" not in line and bool(line) and depths[-1] == 0 < min(depths[:-1], default=0)


def left_out(current: str, text: str, *, is_prose: bool) -> str:
    """The line that stands for a part of the current text; empty if there is none.

    It begins with dots or, in prose, it is in brackets, and between what stands before it and what
    stands after it, or the end, much of the current text is missing. One end of that is there:
    where all is written anew, such a line stands for nothing.
    """
    lines, runs = text.split("\n"), _runs(current)
    asides = [place for place, line in enumerate(lines) if _is_aside(line, is_prose=is_prose)]
    for place in asides if len(asides) <= _MOST_ASIDES else ():
        line = lines[place].strip()
        above, below = (
            set(_runs("\n".join(part), len(runs[0])))
            for part in (lines[:place], lines[place + 1 :])
        )
        stop = max((i for i, run in enumerate(runs, 1) if run in above), default=0)
        rest = (i for i, run in enumerate(runs) if i >= stop and run in below)
        start = min(rest, default=len(runs))
        is_missing = (stop > 0 or start < len(runs)) and line not in current
        if is_missing and start - stop >= _LEAST_LEFT_OUT * len(runs):
            return line
    return ""


def _is_aside(line: str, *, is_prose: bool) -> bool:
    """Whether words begin with dots or, in prose, are in brackets, behind signs of their place."""
    bare = line.lstrip(" \t*_`>-#/")
    inside = bare.lstrip("0123456789.- ")
    is_in_brackets = inside.startswith(_ASIDE_OPENINGS) and is_placeholder(inside)
    has_words = any(map(str.isalpha, line))
    return has_words and (bare.startswith(_DOTS) or (is_prose and is_in_brackets))


def _runs(text: str, length: int = _RUN) -> list[bytes]:
    """So many bytes in a row, from each place on; all of a text that is shorter."""
    flat = " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")
    return [flat[start : start + length] for start in range(max(1, len(flat) - length + 1))]


def _inherited(current: str, text: str) -> float:
    """Which part of the current text stands in the other one too, in runs of some length."""
    old = _runs(current)
    new = set(_runs(text, len(old[0])))
    shared = [run in new for run in old]
    size = len(old) + len(old[0]) - 1
    covered = sum(any(shared[max(0, i - len(old[0]) + 1) : i + 1]) for i in range(size))
    return covered / max(1, size)


def _goes_on(current: str, piece: Piece) -> bool:
    """Whether it goes on from the current text; a part of code, or code with it, does not."""
    begins_alike = piece.text[:_RUN] == current.strip()[:_RUN]
    is_whole = begins_alike or not piece.is_code
    return is_whole and _inherited(current, piece.text) >= _LEAST_INHERITED


def pieces_of(answer: str) -> list[Piece]:
    """What a reply sets apart, in order: fields of JSON, YAML or DSPy, else elements, else fences.

    Elements with elements in them leave open which is meant.
    """
    fenced = list(fences(answer))
    alone = fenced[0][1] if len(fenced) == 1 else answer.strip()
    try:
        found = json.loads(alone, strict=False)
    except (ValueError, RecursionError):  # the latter where it nests a thousand times
        found = _yaml_block(alone) or _dspy_fields(alone)
    if isinstance(found, dict):
        return [Piece(name, trimmed(text)) for name, text in found.items() if isinstance(text, str)]
    if whole := [one for one in elements(answer) if one.text]:
        is_nested = any(elements(trimmed(one.text)) for one in whole)
        return [] if is_nested else [Piece(one.name, unfenced(trimmed(one.text))) for one in whole]
    return [Piece(name, trimmed(inside), name not in _PROSE) for name, inside, _, _ in fenced]


def _dspy_fields(written: str) -> dict[str, str] | None:
    """The fields of a reply that is in DSPy's own form, by their names; None if it is not."""
    before, *rest = _FIELD_HEADER.split(written.strip())
    fields = dict(zip(rest[::2], rest[1::2], strict=True))
    fields.pop("completed", None)
    return None if before or not fields else fields


def _yaml_block(written: str) -> dict[str, str] | None:
    """The text of YAML that is one field with a block, by its name; None if it is anything else."""
    if not (field := _YAML_FIELD.fullmatch(written)):
        return None
    text = textwrap.dedent(field[3])
    return {field[1]: text if field[2] == "|" else re.sub(r"(?<=\S)\n(?=\S)", " ", text)}


def elements(text: str, name: str = _ANY_NAME) -> list[Element]:
    """The outermost elements whose opening marks begin a line and whose closing ones end one.

    Marks of one name nest; what stands inside of an element is its own. A mark without its other is
    one by itself.

    Args:
        text: Where to look.
        name: A pattern for the names that count, in lower case or upper.
    """
    pattern = re.compile(
        rf"^{_DECORATION}<({name})((?:\s[^<>\n]*?)?)(/?)>(?:{_DECORATION}$)?"
        rf"|(?:^{_DECORATION})?</({name})(?:\s[^<>\n]*)?>(?={_DECORATION}$)",
        re.MULTILINE | re.IGNORECASE,
    )
    marks = list(pattern.finditer(text))
    closings: dict[int, re.Match[str]] = {}
    opened: dict[str, list[int]] = {}
    for mark in marks:
        own = opened.setdefault((mark[1] or mark[4]).lower(), [])
        if mark[1] and not mark[3]:
            own.append(mark.start())
        elif mark[4] and own:
            closings[own.pop()] = mark
    found: list[Element] = []
    place = 0
    for mark in marks:
        if mark.start() < place:
            continue
        closing = closings.get(mark.start())
        place = closing.end() if closing else mark.end()
        inside = text[mark.end() : closing.start()] if closing else ""
        is_opened, is_closed = bool(mark[1]), bool(closing or mark[3] or mark[4])
        name, attributes = mark[1] or mark[4], mark[2] or ""
        found.append(Element(name, attributes, inside, mark.start(), place, is_opened, is_closed))
    return found


def fences(text: str) -> Iterator[tuple[str, str, int, int]]:
    """The outermost fences: what they are called, what stands in them, and where they stand.

    A fence with a name opens a block. One without a name closes the block that is open, if it has
    at least as many marks as the fence that opened it; otherwise it opens one, too.
    """
    opened: list[re.Match[str]] = []
    for mark in _FENCE.finditer(text):
        closes = opened and not mark[2] and mark[1].startswith(opened[-1][1])
        if not closes:
            opened.append(mark)
            continue
        first = opened.pop()
        if not opened:
            inside = text[first.end() + 1 : mark.start()]
            yield first[2].casefold(), inside, first.start(), mark.end()


def unfenced(text: str, current: str = "") -> str:
    """The text without a fence around all of it, where the current text has none."""
    for _, inside, start, end in fences(text):
        if (start, end) == (0, len(text)) and not _FENCE.match(current.strip()):
            return trimmed(inside)
    return text


def trimmed(text: str) -> str:
    """The text without blank lines around it."""
    if "\n" not in text:
        return text.strip()
    return re.sub(r"\A(?:[ \t]*\n)+|\s+\Z", "", text)

"""What a reply sets apart: elements, fences, fields of JSON, of YAML or of DSPy."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

__all__ = [
    "Element",
    "elements",
    "fences",
    "is_placeholder",
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
_FIELD_HEADER = re.compile(r"^\[\[ ## (\S[^\n]*?) ## \]\][ \t]*$", re.MULTILINE)
"""How DSPy's chat adapter writes a field, and so what its models of tests answer."""
_YAML_FIELD = re.compile(r"([\w -]+):[ \t]*([|>])[+-]?[ \t]*\n((?:(?:[ \t][^\n]*)?(?:\n|\Z))+)")
"""A field of YAML whose text stands in a block, with its line breaks or without them."""
_OPENING, _CLOSING = "([{<（［【", ")]}>）］】"


class Element(NamedTuple):
    """What stands between two marks of one name, or a mark without its other."""

    name: str
    attributes: str
    text: str
    start: int
    end: int
    is_opened: bool = True
    is_closed: bool = True


def is_placeholder(text: str) -> bool:
    """Whether a text is one line in a pair of brackets: what a form has in place of a text."""
    line = text.lstrip(" \t*_`\"'>-").rstrip(" \t*_`\"'.!:")
    depths = list(accumulate((sign in _OPENING) - (sign in _CLOSING) for sign in line))
    return "\n" not in line and bool(line) and depths[-1] == 0 < min(depths[:-1], default=0)


def pieces_of(answer: str) -> list[tuple[str, str]]:
    """What a reply sets apart by name: fields of JSON, YAML or DSPy, else elements, else fences.

    Elements with elements in them leave open which is meant.
    """
    fenced = list(fences(answer))
    alone = fenced[0][1] if len(fenced) == 1 else answer.strip()
    try:
        found = json.loads(alone, strict=False)
    except (ValueError, RecursionError):  # the latter where it nests a thousand times
        found = _yaml_block(alone) or _dspy_fields(alone)
    if isinstance(found, dict):
        return [(name, trimmed(text)) for name, text in found.items() if isinstance(text, str)]
    if whole := [one for one in elements(answer) if one.text]:
        is_nested = any(elements(trimmed(one.text)) for one in whole)
        return [] if is_nested else [(one.name, unfenced(trimmed(one.text))) for one in whole]
    return [(name, trimmed(inside)) for name, inside, _, _ in fenced if name in _PROSE]


def _yaml_block(written: str) -> dict[str, str] | None:
    """The text of YAML that is one field with a block, by its name; None if it is anything else."""
    if not (field := _YAML_FIELD.fullmatch(written)):
        return None
    text = textwrap.dedent(field[3])
    return {field[1]: text if field[2] == "|" else re.sub(r"(?<=\S)\n(?=\S)", " ", text)}


def _dspy_fields(written: str) -> dict[str, str] | None:
    """The fields of a reply that is in DSPy's own form, by their names; None if it is not."""
    before, *rest = _FIELD_HEADER.split(written.strip())
    fields = dict(zip(rest[::2], rest[1::2], strict=True))
    fields.pop("completed", None)
    return None if before or not fields else fields


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

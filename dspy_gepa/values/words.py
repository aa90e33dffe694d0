"""Any value in words: the same in every process, never with media or other bytes in the text.

An image, say, is written as a mark such as [image 1], and is handed to the model beside the text.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from dspy_gepa.values.foreign import entered, is_writable, str_of
from dspy_gepa.values.media import ENCODED_ROWS, MORE_LINES, is_encoded

__all__ = ["LEFT_OUT", "Marks", "left_out", "no_media", "sendable", "shortened", "text_of"]

LEFT_OUT = re.compile(
    r"\[\.\.\. [\d,]+ (?:(?:characters|calls|steps|examples) [a-z ]+"
    r"|bytes(?: of [\w.+/-]{1,161})? left out|(?:image|audio|file|attachment) left out) \.\.\.\]"
)
"""Matches every mark that stands for something that a prompt does not show."""

_DEEPEST = 10
"""Levels of containers that are written out."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DATA_URL = re.compile(
    r"data:([\w.+-]{1,80}/[\w.+-]{1,80})?((?:;[\w.=+-]{1,80}){0,4}),"
    rf"([\w%.~!*'()+/=-]{{16,}}{MORE_LINES})",
    re.ASCII,
)
_LONGEST_QUOTED_URL = 256
"""Characters of a data: URL without base64 that may as well be a text somebody wrote."""
_LEAST_ENCODED = 1000
"""Characters of encoded content of which a prompt tells the size only. Our choice: no word, hash,
key or path of anybody's is as long."""


def no_media(value: object) -> str:  # noqa: ARG001 - the shape is that of functions that look
    """An empty kind for every value: nothing counts as a medium."""
    return ""


class Marks:
    """Numbers the media of one prompt in the order in which they are written, each once.

    Args:
        kind_of: The kind of medium that a value is ("image"); "" for everything else.
        most: How many are numbered; a later one is left out of the prompt, and a mark says so.
        prefix: Stands before the kind in a title, so that no title is a user's own words.
    """

    def __init__(
        self, kind_of: Callable[[object], str] = no_media, *, most: int = 8, prefix: str = ""
    ) -> None:
        self._kind_of = kind_of
        self._most = most
        self._prefix = prefix
        # The objects are kept too, as an id is given again once its object is gone.
        self._titles: dict[int, tuple[str, object]] = {}
        self._written = 0
        self.seen = 0
        """How often a medium was met, each time that it was."""

    @property
    def media(self) -> tuple[tuple[str, object], ...]:
        """Title and object of every medium that has a number."""
        return tuple(titled for titled in self._titles.values() if titled[0])

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles as they stand in the text."""
        return tuple(title for title, _ in self.media)

    def mark(self, value: object) -> str:
        """What is written in a medium's place; empty for a value that is none."""
        if value is None or isinstance(value, (str, bytes, bool, int, float)):
            return ""
        kind = self._kind_of(value)
        if not kind:
            return ""
        self.seen += 1
        if id(value) not in self._titles:
            number = 1 + sum(title.startswith(f"[{self._prefix}{kind} ") for title in self.titles)
            is_full = len(self.titles) >= self._most
            self._titles[id(value)] = (
                "" if is_full else f"[{self._prefix}{kind} {number}]",
                value,
            )
        title = self._titles[id(value)][0]
        self._written += bool(title)
        return title or left_out(1, kind)

    def are_unmistakable_in(self, text: str) -> bool:
        """Whether a text that has all titles which were written has nothing else like one."""
        kinds = "|".join({re.escape(title[1:].rsplit(" ", 1)[0]) for title in self.titles})
        return len(re.findall(rf"\[(?:{kinds}) \d+\]", text)) == self._written


def text_of(value: object, marks: Marks | None = None) -> str:
    """The value in words, the same in every process: text as it is, containers as JSON.

    Lone surrogates are written out, because they could not be sent. Of bytes, of data: URLs and of
    long base64 only the size is written.

    Args:
        value: Anything.
        marks: Knows which values are media; without it none is.
    """
    plain = _plain(value, (), Marks() if marks is None else marks)
    if isinstance(plain, (dict, list)):
        return sendable(json.dumps(plain, ensure_ascii=False))
    return sendable(plain if isinstance(plain, str) else str_of(value))


def shortened(text: str, limit: int) -> str:
    """The text, or its beginning and end around a mark that says how much is left out.

    Never longer than `limit` characters; empty if not even the mark fits.
    """
    if len(text) <= limit:
        return text
    room = limit - len(left_out(len(text), "characters"))
    if room < 0:
        return ""
    # The task tends to stand at the beginning, which gets more, and the outcome at the end.
    tail = room // 3
    mark = left_out(len(text) - room, "characters")
    return text[: room - tail] + mark + text[len(text) - tail :]


def sendable(text: str) -> str:
    """The text with lone surrogates written out, because they could not be sent."""
    return text.encode("utf-8", "backslashreplace").decode()


def left_out(count: int, what: str) -> str:
    """The mark for so many things that are not shown."""
    return f"[... {count:,} {what} left out ...]"


def _plain(value: object, within: tuple[int, ...], marks: Marks) -> object:
    """The value in JSON's terms, in an order that does not depend on the process."""
    if isinstance(value, str):
        return _without_bytes(value)
    if value is None or isinstance(value, (bool, int, float)):
        return str_of(value) if isinstance(value, int) and not is_writable(value) else value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return left_out(len(value), "bytes")
    if mark := marks.mark(value):
        return mark
    if not isinstance(value, (Mapping, list, tuple, AbstractSet)):
        return _plain_object(value, within, marks)
    inside = entered(value, within, _DEEPEST)
    return "..." if inside is None else _plain_container(value, inside, marks)


def _plain_container(
    value: Mapping[object, object] | list[object] | tuple[object, ...] | AbstractSet[object],
    inside: tuple[int, ...],
    marks: Marks,
) -> object:
    if isinstance(value, Mapping):
        return {str_of(key): _plain(item, inside, marks) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((_plain(item, inside, marks) for item in value), key=repr)
    return [_plain(item, inside, marks) for item in value]


def _plain_object(value: object, within: tuple[int, ...], marks: Marks) -> object:
    """An object in its own words, or field by field where there are media in it."""
    fields = _fields(value)
    inside = entered(value, within, _DEEPEST)
    if fields and inside is not None:
        before = marks.seen
        plain = {name: _plain(item, inside, marks) for name, item in fields.items()}
        if marks.seen > before:
            return plain
    return sendable(_without_bytes(_ADDRESS.sub("", str_of(value))))


def _fields(value: object) -> dict[str, object]:
    """The fields of a dataclass, a model of pydantic's kind or a record of DSPy's; else empty."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif hasattr(kind, "model_dump"):
        # What `model_dump` returns would be encoded already.
        names = list(getattr(kind, "model_fields", ()))
    elif hasattr(kind, "toDict") and hasattr(kind, "items"):
        return {str_of(name): item for name, item in value.items()}  # type: ignore[attr-defined]
    else:
        return {}
    return {name: getattr(value, name, None) for name in names}


def _without_bytes(text: str) -> str:
    text = _DATA_URL.sub(_data_url, text) if "data:" in text else text
    return ENCODED_ROWS.sub(_encoded, text) if len(text) >= _LEAST_ENCODED else text


def _data_url(match: re.Match[str]) -> str:
    is_base64 = match[2].lower().endswith(";base64")
    if not is_base64 and len(match[3]) <= _LONGEST_QUOTED_URL:
        return match[0]
    kind = f" of {match[1]}" if match[1] else ""
    size = len(match[3]) * 3 // 4 if is_base64 else len(match[3])
    return left_out(size, f"bytes{kind}")


def _encoded(match: re.Match[str]) -> str:
    if not is_encoded(match[0], _LEAST_ENCODED):
        return match[0]
    return left_out(len(match[0]) * 3 // 4, "bytes of base64")

"""Images, recordings and files as plain values, which every room can pass on, show and store.

The edge makes them of DSPy's objects where it records something, and DSPy's objects of them again
where a model or a user's code is handed one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

__all__ = [
    "ENCODED_ROWS",
    "MORE_LINES",
    "Media",
    "content_of",
    "data_uri",
    "is_encoded",
    "without_base64",
]

_DATA_URI = re.compile(r"data:([^,\s]*);base64,(.*)", re.DOTALL)
_ROW = r"[A-Za-z0-9+/_-]"
"""What base64 consists of, in its usual form and in that for addresses."""
_BREAK = r"(?:\r?\n|(?:\\r)?\\n)[ \t]*"
"""The end of a line, also as it is written within JSON."""
MORE_LINES = (
    rf"(?:{_BREAK}{_ROW}{{60,}})*"
    rf"(?:{_BREAK}{_ROW}+={{0,2}}(?=[ \t]*(?:[\r\n\\\"']|\Z)))?={{0,2}}"
)
"""Matches what follows the first line of encoded content, of which mail has 76 characters a line
and a certificate 64."""
ENCODED_ROWS = re.compile(rf"{_ROW}{{60,}}{MORE_LINES}")
"""Matches what may be encoded content: see `is_encoded`."""
_WITHIN_TEXT = re.compile(
    rf"data:([\w.+/;=-]*);base64,([\w+/=-]+{MORE_LINES})|({ENCODED_ROWS.pattern})"
)
_LEAST = 200
"""Encoded content outside a data URI is replaced from so many characters on. Our choice: no word is
as long."""
_KINDS = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"))
_LONGEST_ADDRESS = 200
"""Characters of an address that are shown: signed ones can fill a page."""


@dataclass(frozen=True, slots=True)
class Media:
    """Something that can be shown to a model and not be said in words."""

    kind: str
    """One of "image", "audio" and "file"."""
    uri: str = ""
    """Its address, or all of its content as a data URI; empty for a file that a provider keeps."""
    name: str = ""
    """A file's name; empty if it has none."""
    file_id: str = ""
    """What a provider calls a file that was uploaded before; empty for others."""

    def __str__(self) -> str:
        """What stands for it in a text: never its content, but enough to tell it from others."""
        found = content_of(self.uri)
        if found is not None:
            mime, content = found
            where = [mime, f"{len(content):,} bytes", f"sha256 {_digest(content)}"]
        else:
            where = [without_base64(self.uri)[:_LONGEST_ADDRESS]]
        known_as = f"id {self.file_id}" if self.file_id else ""
        return f"({', '.join(filter(None, [self.kind, self.name, *where, known_as]))})"

    __repr__ = __str__


def content_of(uri: str) -> tuple[str, bytes] | None:
    """The type and the content that a data URI holds; None for any other text.

    Only what is written as Python's own encoder writes it counts, so that type and content give
    back the very same text.
    """
    match = _DATA_URI.fullmatch(uri) if uri.startswith("data:") else None
    if match is None:
        return None
    mime, written = match.groups()
    try:
        content = base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError):
        return None
    return (mime, content) if base64.b64encode(content).decode() == written else None


def data_uri(mime: str, content: bytes) -> str:
    """The data URI of which `content_of` gives these two back."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def without_base64(text: str) -> str:
    """The text with a short mark in place of every encoded content; different ones differ."""
    return _WITHIN_TEXT.sub(_mark, text)


def is_encoded(run: str, least: int) -> bool:
    """Whether a match of `ENCODED_ROWS` is encoded content, of at least so many characters.

    It has small letters, capital letters and digits, as prose without spaces, a genome, a digest or
    a row of one letter mostly has not.
    """
    return len(run) >= least and all(kind.search(run) for kind in _KINDS)


def _mark(match: re.Match[str]) -> str:
    mime, content, run = match.groups()
    if run and not is_encoded(run, _LEAST):
        return match[0]
    written = run or content
    kind = mime or "encoded content"
    return f"({kind}, {len(written):,} characters, sha256 {_digest(written.encode())})"


def _digest(content: bytes) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]

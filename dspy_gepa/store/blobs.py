"""What does not belong in a line: files named by the SHA-256 of their content, shared when equal.

A file is JSON that is too large, or the decoded content of a data URI of any size.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from dspy_gepa.errors import JournalCorrupt, JournalError
from dspy_gepa.store.files import file_error, write_whole
from dspy_gepa.values.media import content_of, data_uri
from dspy_gepa.values.plain import Json, dumps, loads

__all__ = ["BASE64_MARK", "LARGE", "MARK", "Blobs"]

LARGE = 32_768
"""Characters, about, from which on a text, a list or a dictionary gets a file of its own. Our
choice: a trace of an ordinary call stays in its line, and a document that is shown to every
candidate is stored once."""
MARK = "$blob"
"""The key under which a line holds the address of what was taken out of it."""
BASE64_MARK = ";base64,"
"""What a line has in it where it may hold a data URI."""

_ADDRESS = re.compile(r"[0-9a-f]{64}")
_MIME = "type"
"""The key beside the address for a data URI: what stands between "data:" and ";base64,"."""
_JOINED = "$joined"
"""The key of the parts of a text that has data URIs in it."""
_DATA_URI = re.compile(r"data:[^,\s]{0,200}?;base64,[A-Za-z0-9+/]*={0,2}")
_REFERENCE_SIZE = 80
_OVERHEAD = 4


class Blobs:
    """The files of one folder, which is made when the first one is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: set[str] = set()

    def externalize(self, fields: dict[str, Json]) -> dict[str, Json]:
        """The dictionary with addresses for what is large or encoded in it, the innermost first.

        What is pointed to is on the disk when this returns.

        Raises:
            JournalError: there is no room or no right to write.
        """
        return {name: self._thinned(value)[0] for name, value in fields.items()}

    def inline(self, value: Json) -> Json:
        """The value with the content of the files in place of their addresses.

        Raises:
            JournalCorrupt: a file is missing or was changed.
            JournalError: a file cannot be read.
        """
        if isinstance(value, list):
            return [self.inline(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and MARK in value:
            return self.inline(loads(self._content(value[MARK], "json")))
        if len(value) == 2 and MARK in value and _MIME in value:
            return data_uri(value[_MIME], self._content(value[MARK], "bin"))
        if len(value) == 1 and _JOINED in value:
            return "".join(self.inline(value[_JOINED]))
        return {name: self.inline(item) for name, item in value.items()}

    def _thinned(self, value: Json) -> tuple[Json, int]:
        if isinstance(value, str):
            if BASE64_MARK in value and (parts := self._split(value)):
                return self._thinned({_JOINED: parts} if len(parts) > 1 else parts[0])
            size = len(value)
        elif isinstance(value, list):
            items = [self._thinned(item) for item in value]
            value, size = [item for item, _ in items], sum(size + _OVERHEAD for _, size in items)
        elif isinstance(value, dict):
            fields = {name: self._thinned(item) for name, item in value.items()}
            size = sum(len(name) + size + _OVERHEAD for name, (_, size) in fields.items())
            value = {name: item for name, (item, _) in fields.items()}
        else:
            size = _OVERHEAD
        if size < LARGE:
            return value, size
        return {MARK: self._put(dumps(value).encode(), "json")}, _REFERENCE_SIZE

    def _split(self, text: str) -> list[Json]:
        """The text's parts, with addresses in place of data URIs; empty if it holds none."""
        parts: list[Json] = []
        end = 0
        for match in _DATA_URI.finditer(text):
            if (held := content_of(match[0])) is not None:
                mime, content = held
                parts += [text[end : match.start()], {MARK: self._put(content, "bin"), _MIME: mime}]
                end = match.end()
        return [part for part in (*parts, text[end:]) if part] if parts else []

    def _put(self, content: bytes, ending: str) -> str:
        address = hashlib.sha256(content).hexdigest()
        path = self._path(address, ending)
        if path.name in self._written:
            return address
        try:
            self._folder.mkdir(exist_ok=True)
            is_there = path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == address
        except OSError as error:
            raise file_error(path, "cannot be written", error) from error
        if not is_there:
            write_whole(path, content)
        self._written.add(path.name)
        return address

    def _content(self, address: object, ending: str) -> bytes:
        # An address is no path: it must not lead anywhere else.
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise JournalCorrupt(f"{address!r:.80} is no address")
        path = self._path(address, ending)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise JournalCorrupt(f"the file {path} is missing") from None
        except OSError as error:
            raise JournalError(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != address:
            raise JournalCorrupt(f"the file {path} was changed")
        return content

    def _path(self, address: str, ending: str) -> Path:
        return self._folder / f"{address}.{ending}"

"""What is too large for a line: files named by the SHA-256 of their content, shared when equal."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from dspy_gepa.errors import JournalCorrupt, JournalError
from dspy_gepa.store.files import unusable, write_whole
from dspy_gepa.store.plain import Json, dumps, loads
from dspy_gepa.store.secret import Redactor

__all__ = ["LARGE", "MARK", "Blobs"]

LARGE = 32_768
"""Characters, about, from which on a text, a list or a dictionary gets a file of its own. Our
choice: a trace of an ordinary call stays in its line, and a document that is shown to every
candidate is stored once."""
MARK = "$blob"
"""The key under which a line holds the address of what was taken out of it."""

_ADDRESS = re.compile(r"[0-9a-f]{64}")
_REFERENCE_SIZE = 80
_OVERHEAD = 4


class Blobs:
    """The files of one folder, which is made when the first one is written."""

    def __init__(self, folder: Path, redact: Redactor) -> None:
        self._folder = folder
        self._redact = redact
        self._written: set[str] = set()

    def thinned(self, fields: dict[str, Json]) -> dict[str, Json]:
        """The dictionary with addresses in place of what is large in it, the innermost first.

        What is pointed to is on the disk when this returns.

        Raises:
            JournalError: there is no room or no right to write.
        """
        return {name: self._thinned(value)[0] for name, value in fields.items()}

    def whole(self, value: Json) -> Json:
        """The value with the content of the files in place of their addresses.

        Raises:
            JournalCorrupt: a file is missing or was changed.
        """
        if isinstance(value, list):
            return [self.whole(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and MARK in value:
            return self.whole(loads(self._content(value[MARK])))
        return {name: self.whole(item) for name, item in value.items()}

    def _thinned(self, value: Json) -> tuple[Json, int]:
        if isinstance(value, str):
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
        return {MARK: self._put(self._redact(dumps(value)))}, _REFERENCE_SIZE

    def _put(self, content: str) -> str:
        raw = content.encode()
        address = hashlib.sha256(raw).hexdigest()
        if address in self._written:
            return address
        path = self._path(address)
        try:
            self._folder.mkdir(exist_ok=True)
            is_there = path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == address
        except OSError as error:
            raise unusable(path, "cannot be written", error) from error
        if not is_there:
            write_whole(path, raw)
        self._written.add(address)
        return address

    def _content(self, address: object) -> bytes:
        # An address is no path: it must not lead anywhere else.
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise JournalCorrupt(f"{address!r:.80} is no address")
        path = self._path(address)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise JournalCorrupt(f"the file {path} is missing") from None
        except OSError as error:
            raise JournalError(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != address:
            raise JournalCorrupt(f"the file {path} was changed")
        return content

    def _path(self, address: str) -> Path:
        return self._folder / f"{address}.json"

"""What stands in a journal, read line by line; changes nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dspy_gepa.core.events import Event, Reflected, Remarked, RequestFailed, RolledOut
from dspy_gepa.core.work import RequestKey
from dspy_gepa.errors import JournalCorrupt, JournalError, JournalMismatch
from dspy_gepa.store.blobs import MARK, Blobs
from dspy_gepa.store.codec import FORMAT, OLDER, decode, decode_key
from dspy_gepa.store.redaction import Redactor
from dspy_gepa.values.plain import Json, loads

__all__ = ["SEAL", "Contents", "StoredSession", "read_journal"]

SEAL = ',"crc":"%08x"}'
"""How a line ends: with a checksum over it and all before it."""
_BEGINNING = b'{"journal":"dspy_gepa"'
_SEAL_LENGTH = len(SEAL % 0)
_READERS = {5: decode, 6: decode, FORMAT: decode}
"""By format version; an event of an older one is read as what it means today."""


class StoredSession(NamedTuple):
    """A process that wrote to the journal."""

    opened_at: float
    """Seconds since the epoch."""
    version: str
    """Of dspy_gepa."""
    first: int
    """How many events came before it."""
    closed_at: float | None = None
    """None if it did not close it: it is at it, or died."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands in a journal."""

    fingerprint: str = ""
    """Of the run that it belongs to; empty if nothing was written yet."""
    events: list[Event] = field(default_factory=list)
    """Those that hold, in order: what a `reopen` took back is left out."""
    times: list[float | None] = field(default_factory=list)
    """When each of them was written, in seconds since the epoch; None in journals of format 5."""
    sessions: tuple[StoredSession, ...] = ()
    """Who wrote, in order."""
    under_way: tuple[RequestKey, ...] = ()
    """What was begun and has no answer: the process died meanwhile, or is still at it."""
    size: int = 0
    """Bytes up to the end of the last line that was written whole."""
    checksum: int = 0
    """Of all those lines."""


def read_journal(path: Path, blobs: Blobs, redact: Redactor) -> Contents:
    """The journal's content, without a last line that was only written in part.

    It is empty if there is no file. Changes nothing, so another process may be writing. Secrets
    that are known are put back in.

    Raises:
        JournalCorrupt: a line was changed. Names it.
        JournalMismatch: it is in a format that this version cannot read. Names it.
        JournalError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file, blobs, redact)
    except FileNotFoundError:
        return Contents()
    except JournalError:
        raise
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error


def _read(path: Path, file: BinaryIO, blobs: Blobs, redact: Redactor) -> Contents:
    fingerprint, size, checksum = "", 0, 0
    decoder = _Told(decode)
    for number, line in enumerate(file, start=1):
        if number == 1:
            decoder = _Told(_reader(path, line))
        content = _unsealed(line, checksum)
        if content is None:
            is_last = not file.read(1)
            if is_last and (number > 1 or _is_begun(line)):
                break
            raise JournalCorrupt(
                f"{path}, line {number} is damaged, and lines follow it: something else than a "
                "run wrote here. Restore the file from a copy, or give the run another log_dir."
            )
        try:
            if f'"{MARK}"'.encode() in line:
                content = redact.shown(blobs.inline(content))
            elif redact.has_references(line):
                content = redact.shown(content)
            if number == 1:
                fingerprint = str(content.get("fingerprint"))
            else:
                decoder.take(content)
        except JournalCorrupt as error:
            raise JournalCorrupt(f"{path}, line {number}: {error}") from None
        size += len(line)
        checksum = int(line[-11:-3], 16)
    return Contents(
        fingerprint,
        decoder.events,
        decoder.times,
        tuple(decoder.sessions),
        tuple(decoder.under_way),
        size,
        checksum,
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What the lines so far say."""

    read_event: Callable[[Json], Event]
    events: list[Event] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)
    sessions: list[StoredSession] = field(default_factory=list)
    under_way: dict[RequestKey, None] = field(default_factory=dict)

    def take(self, content: dict[str, Json]) -> None:
        """Take note of a line."""
        milliseconds = content.pop("at", None)
        at = milliseconds / 1000 if isinstance(milliseconds, int) else None
        if "begun" in content:
            self.under_way[decode_key(content["begun"])] = None
        elif "dropped" in content:
            self.under_way.pop(decode_key(content["dropped"]), None)
        elif "session" in content:
            self._attend(content, at or 0.0)
        elif "reopened" in content:
            self._reopen(content["reopened"], content["events"], at)
        else:
            self._add(self.read_event(content), at)

    def _attend(self, content: dict[str, Json], at: float) -> None:
        if content["session"] == "opened":
            version = str(content.get("version", ""))
            self.sessions.append(StoredSession(at, version, len(self.events)))
        elif self.sessions:
            self.sessions[-1] = self.sessions[-1]._replace(closed_at=at)

    def _reopen(self, kept: int, stored: list[Json], at: float | None) -> None:
        """Put events in the place of others; an answer that is in both keeps its time."""
        came: dict[RequestKey, float] = {}
        for event, then in zip(self.events[kept:], self.times[kept:], strict=True):
            key = _answered(event)
            if key is not None and then is not None:
                came[key] = then
        del self.events[kept:], self.times[kept:]
        last = (self.times or [min(came.values(), default=at)])[-1]
        for event in map(self.read_event, stored):
            key = _answered(event)
            if key in came:
                last = came[key] if last is None else max(last, came[key])
            self._add(event, last)

    def _add(self, event: Event, at: float | None) -> None:
        self.events.append(event)
        self.times.append(at)
        if (key := _answered(event)) is not None:
            self.under_way.pop(key, None)


def _answered(event: Event) -> RequestKey | None:
    """The request that an event says is over; None if it says that of none."""
    if isinstance(event, Reflected):
        return event.reflection.key
    return event.key if isinstance(event, RolledOut | Remarked | RequestFailed) else None


def _is_begun(line: bytes) -> bool:
    """Whether this is a part of our header, and not the content of some other file."""
    # After a loss of power a file can have its length already, and zeros for content.
    written = line.strip(b"\0")
    return written.startswith(_BEGINNING) or _BEGINNING.startswith(written)


def _unsealed(line: bytes, checksum: int) -> dict[str, Json] | None:
    """What a line holds without its seal; None if it is not as it was written."""
    unsealed, seal = line[: -_SEAL_LENGTH - 1], line[-_SEAL_LENGTH - 1 :]
    if seal != (SEAL % zlib.crc32(unsealed, checksum)).encode() + b"\n":
        return None
    content = loads(unsealed + b"}")
    return content if isinstance(content, dict) else None


def _reader(path: Path, header: bytes) -> Callable[[Json], Event]:
    """How to read events in the format that the header names."""
    try:
        fields = loads(header)
    except JournalCorrupt:
        return decode  # it is damaged, which its seal shows
    version = fields.get("format") if isinstance(fields, dict) else None
    if isinstance(version, int) and version not in _READERS:
        raise JournalMismatch(
            f"{path} is in format {version!r:.20}, and this version of dspy_gepa reads "
            f"{sorted(_READERS)}{f': {OLDER}' if version < FORMAT else ''}. Use the version that "
            "wrote it, or another log_dir."
        )
    return _READERS[version] if isinstance(version, int) else decode

"""`events.jsonl`: a header line, then one line an event, each with a checksum over all before it.

A line is handed to the system in one write before anything follows from its event: killing the
process loses nothing that was answered. A loss of power loses at most the rollouts and remarks that
were answered within `FLUSH_SECONDS` after the last flush; all else is flushed when it happens.

Lines that are no events say what is begun, so that what was paid for without an answer is known
where the process dies meanwhile.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from dspy_gepa.core.events import Event, Faltered, Reflected, Remarked, RolledOut
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import RequestKey
from dspy_gepa.errors import JournalCorrupt, JournalError, JournalMismatch
from dspy_gepa.store.blobs import ENCODED, LARGE, MARK, Blobs
from dspy_gepa.store.codec import FORMAT, OLDER, decode, decode_key, encode, encode_key
from dspy_gepa.store.files import flush_folder, unusable
from dspy_gepa.store.secret import Redactor
from dspy_gepa.values.plain import Json, dumps, loads

__all__ = ["FLUSH_SECONDS", "Contents", "Journal", "read_journal", "with_output"]

FLUSH_SECONDS = 0.1
"""The least time between two flushes for rollouts alone. Our choice: a flush takes milliseconds."""
_LONGEST_SHARE = 20
"""On slow disks rollouts alone are flushed less often: at most this fraction of the time."""

_BEGINNING = b'{"journal":"dspy_gepa"'
_SEAL = ',"crc":"%08x"}'
_SEAL_LENGTH = len(_SEAL % 0)
_READERS = {FORMAT: decode}
"""By format version; an event of an older one is read as what it means today."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands in a journal."""

    fingerprint: str = ""
    """Of the run that it belongs to; empty where nothing was written yet."""
    events: list[Event] = field(default_factory=list)
    """Those that hold, in order: what a `reopen` took back is left out."""
    under_way: tuple[RequestKey, ...] = ()
    """What was begun and has no answer: the process died meanwhile, or is still at it."""
    size: int = 0
    """Bytes up to the end of the last line that was written whole."""
    checksum: int = 0
    """Of all those lines."""


def read_journal(path: Path, blobs: Blobs, redact: Redactor) -> Contents:
    """The journal's content, without a last line that was only written in part.

    Changes nothing, so another process may be writing. Secrets that are known are put back in.

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


class Journal:
    """Writes events to a journal; a listener of the run loop. One writer at a time: see `Lock`.

    Args:
        path: The file; made where it is not there.
        contents: What `read_journal` found; what follows it in the file is cut off.
        fingerprint: For the header of a new journal.
        blobs: Takes what is too large for a line.
        redact: Puts references in place of secrets in what is written.
        stored_output: From a program's answer to what is kept of it.
        clock: Seconds, for the pace of flushing.

    Raises:
        JournalError: there is no room or no right to write.
    """

    def __init__(
        self,
        path: Path,
        contents: Contents,
        fingerprint: str,
        blobs: Blobs,
        redact: Redactor,
        *,
        stored_output: Callable[[object], object] = lambda output: output,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._blobs = blobs
        self._redact = redact
        self._stored_output = stored_output
        self._clock = clock
        self._size, self._checksum = contents.size, contents.checksum
        self._problem: OSError | None = None
        self._next_flush_seconds = clock()
        self._descriptor: int | None = _opened(path, self._size)
        try:
            if not self._size:
                self._write({"journal": "dspy_gepa", "format": FORMAT, "fingerprint": fingerprint})
                flush_folder(path.parent)
            self.flush()
        except OSError as error:
            os.close(self._descriptor)
            if isinstance(error, JournalError):
                raise
            raise unusable(path, "cannot be flushed to the disk", error) from error

    def __call__(self, event: Event, state: RunState) -> None:  # noqa: ARG002 - a listener's
        """Write an event down; see `append`."""
        self.append(event)

    def append(self, event: Event) -> None:
        """Write an event down, and flush it unless it is one of many soon after the last flush.

        Raises:
            JournalError: there is no room or no right to write. The journal is as it was before
                this event, and takes no more.
        """
        self._write(self._encoded(event))
        if not isinstance(event, RolledOut | Remarked) or self._is_flush_due:
            self.flush()

    def begin(self, key: RequestKey) -> None:
        """Write down that this is begun, before it costs anything.

        Raises:
            JournalError: there is no room or no right to write.
        """
        self._write({"begun": encode_key(key)})
        if self._is_flush_due:
            self.flush()

    def drop(self, key: RequestKey) -> None:
        """Write down that this was not begun after all.

        Raises:
            JournalError: there is no room or no right to write.
        """
        self._write({"dropped": encode_key(key)})

    @property
    def _is_flush_due(self) -> bool:
        return self._clock() >= self._next_flush_seconds

    def reopen(self, kept: int, events: Sequence[Event]) -> None:
        """Take back all events from number `kept` on, and put these in their place: in one write.

        Raises:
            JournalError: there is no room or no right to write; then nothing is taken back.
        """
        self._write({"reopened": kept, "events": [*map(self._encoded, events)]})
        self.flush()

    def _encoded(self, event: Event) -> dict[str, Json]:
        return encode(with_output(event, self._stored_output))

    def flush(self) -> None:
        """Have everything on the disk.

        Raises:
            JournalError: the disk refuses.
        """
        if self._descriptor is None:
            raise JournalError(f"{self._path} is closed.")
        began_seconds = self._clock()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._problem = error
            raise unusable(self._path, "cannot be flushed to the disk", error) from error
        ended_seconds = self._clock()
        pause_seconds = max(FLUSH_SECONDS, _LONGEST_SHARE * (ended_seconds - began_seconds))
        self._next_flush_seconds = ended_seconds + pause_seconds

    def close(self) -> None:
        """Flush and let go of the file. Nothing can be appended afterwards."""
        if self._descriptor is None:
            return
        try:
            if self._problem is None:
                self.flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, fields: dict[str, Json]) -> None:
        if self._descriptor is None:
            raise JournalError(f"{self._path} is closed.")
        if self._problem is not None:
            raise unusable(self._path, "takes no more, because something is missing", self._problem)
        body = dumps(fields)
        if self._redact.concerns(body):
            fields = self._redact.hidden(fields)
            body = dumps(fields)
        if len(body) >= LARGE or ENCODED in body:
            body = dumps(self._blobs.thinned(fields))
        unsealed = body[:-1].encode()
        checksum = zlib.crc32(unsealed, self._checksum)
        line = unsealed + (_SEAL % checksum).encode() + b"\n"
        try:
            _write_all(self._descriptor, line)
        except OSError as error:
            self._problem = error
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise unusable(self._path, "takes no more", error) from error
        self._size += len(line)
        self._checksum = checksum


def with_output(event: Event, form: Callable[[object], object]) -> Event:
    """The event with a program's answer in it in another form."""
    if not isinstance(event, RolledOut) or event.rollout.output is None:
        return event
    return replace(event, rollout=replace(event.rollout, output=form(event.rollout.output)))


def _opened(path: Path, size: int) -> int:
    """The file, made where it is not there, cut to this size and open for appending."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise unusable(path, "cannot be opened for writing", error) from error
    try:
        os.ftruncate(descriptor, size)
    except OSError as error:
        os.close(descriptor)
        raise unusable(path, "cannot be written", error) from error
    return descriptor


def _write_all(descriptor: int, line: bytes) -> None:
    """One write, unless the system takes only a part: then the next one says why."""
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read(path: Path, file: BinaryIO, blobs: Blobs, redact: Redactor) -> Contents:
    fingerprint, size, checksum = "", 0, 0
    told = _Told(decode)
    for number, line in enumerate(file, start=1):
        if number == 1:
            told = _Told(_reader(path, line))
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
                content = redact.shown(blobs.whole(content))
            elif redact.has_references(line):
                content = redact.shown(content)
            if number == 1:
                fingerprint = str(content.get("fingerprint"))
            else:
                told.take(content)
        except JournalCorrupt as error:
            raise JournalCorrupt(f"{path}, line {number}: {error}") from None
        size += len(line)
        checksum = int(line[-11:-3], 16)
    return Contents(fingerprint, told.events, tuple(told.under_way), size, checksum)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the lines so far say."""

    read_event: Callable[[Json], Event]
    events: list[Event] = field(default_factory=list)
    under_way: dict[RequestKey, None] = field(default_factory=dict)

    def take(self, content: dict[str, Json]) -> None:
        """Take note of a line."""
        if "begun" in content:
            self.under_way[decode_key(content["begun"])] = None
        elif "dropped" in content:
            self.under_way.pop(decode_key(content["dropped"]), None)
        elif "reopened" in content:
            self._add(content["reopened"], content["events"])
        else:
            self._add(len(self.events), [content])

    def _add(self, kept: int, stored: list[Json]) -> None:
        added = [*map(self.read_event, stored)]
        self.events[kept:] = added
        for event in added:
            if (key := _answered(event)) is not None:
                self.under_way.pop(key, None)


def _answered(event: Event) -> RequestKey | None:
    """The request that an event says is over; None where it says that of none."""
    if isinstance(event, Reflected):
        return event.reflection.key
    return event.key if isinstance(event, RolledOut | Remarked | Faltered) else None


def _is_begun(line: bytes) -> bool:
    """Whether this is a part of our header, and not the content of some other file."""
    # After a loss of power a file can have its length already, and zeros for content.
    written = line.strip(b"\0")
    return written.startswith(_BEGINNING) or _BEGINNING.startswith(written)


def _unsealed(line: bytes, checksum: int) -> dict[str, Json] | None:
    """What a line holds without its seal; None where it is not as it was written."""
    unsealed, seal = line[: -_SEAL_LENGTH - 1], line[-_SEAL_LENGTH - 1 :]
    if seal != (_SEAL % zlib.crc32(unsealed, checksum)).encode() + b"\n":
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

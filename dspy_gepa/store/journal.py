"""`events.jsonl`: a header line, then one line an event, each with a checksum over all before it.

A line is handed to the system in one write before anything follows from its event: killing the
process loses nothing that was answered. A loss of power loses at most the rollouts and remarks that
were answered since the last flush, and the notes of what had begun. They are flushed with the first
of them that is written `FLUSH_SECONDS` after the last flush, or later on a slow disk. All other
events are flushed when they happen.

Every line but the header says when it was written. Lines that are no events say what is begun, so
that what was paid for without an answer is known where the process dies meanwhile, and when a
session was opened and closed.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dspy_gepa.core.events import Event, Remarked, RolledOut
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import RequestKey
from dspy_gepa.errors import JournalError
from dspy_gepa.store.blobs import BASE64_MARK, LARGE, Blobs
from dspy_gepa.store.codec import FORMAT, encode, encode_key
from dspy_gepa.store.contents import SEAL, Contents
from dspy_gepa.store.files import file_error, flush_folder
from dspy_gepa.store.redaction import Redactor
from dspy_gepa.values.plain import Json, dumps

__all__ = ["FLUSH_SECONDS", "Journal", "with_output"]

FLUSH_SECONDS = 0.1
"""The least time from a flush to the next that is made for rollouts, remarks or beginnings alone.
Our choice: a flush takes milliseconds."""
_LONGEST_SHARE = 20
"""On a slow disk that time is this many times as long as the flush before it took, so that flushing
for these takes a twentieth of the time at most."""


class Journal:
    """Writes events to a journal; a listener of the run loop. One writer at a time: see `Lock`.

    Args:
        path: The file; made where it is not there.
        contents: What `read_journal` found; what follows it in the file is cut off.
        fingerprint: For the header of a new journal.
        blobs: Takes what is too large for a line.
        redact: Puts references in place of secrets in what is written.
        stored_output: From a program's answer to what is kept of it.
        version: Of this package, for the line that opens a session.
        clock: Seconds, for the pace of flushing.
        now: Seconds since the epoch, for the time of every line.

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
        version: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._blobs = blobs
        self._redact = redact
        self._stored_output = stored_output
        self._clock = clock
        self._now = now
        self.at_seconds = self.opened_at = round(now(), 3)
        """When the last line was written, and when this was opened, in seconds since the epoch."""
        self._session: dict[str, Json] | None = {"session": "opened", "version": version}
        self._size, self._checksum = contents.size, contents.checksum
        self._problem: OSError | None = None
        self._next_flush_seconds = clock()
        self._descriptor: int | None = _opened(path, self._size)
        try:
            if not self._size:
                fields = {"journal": "dspy_gepa", "format": FORMAT, "fingerprint": fingerprint}
                self._seal(fields)
                flush_folder(path.parent)
            self.flush()
        except OSError as error:
            os.close(self._descriptor)
            if isinstance(error, JournalError):
                raise
            raise file_error(path, "cannot be flushed to the disk", error) from error

    def __call__(self, event: Event, state: RunState) -> None:  # noqa: ARG002 - a listener's
        """Write an event down; see `append`."""
        self.append(event)

    def append(self, event: Event) -> None:
        """Write an event down, and flush it unless it is a rollout or remark soon after a flush.

        Raises:
            JournalError: there is no room or no right to write. The journal takes no more. It is as
                it was before this event, unless the event was written and only the flush failed.
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
            raise file_error(self._path, "cannot be flushed to the disk", error) from error
        ended_seconds = self._clock()
        pause_seconds = max(FLUSH_SECONDS, _LONGEST_SHARE * (ended_seconds - began_seconds))
        self._next_flush_seconds = ended_seconds + pause_seconds

    def close(self) -> None:
        """Flush and let go of the file. Nothing can be appended afterwards."""
        if self._descriptor is None:
            return
        try:
            if self._problem is None:
                if self._session is None:
                    self._write({"session": "closed"})
                self.flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, fields: dict[str, Json]) -> None:
        # What is only read again is left as it was: a session is opened by what it writes.
        if (opened := self._session) is not None:
            self._seal({**opened, "at": _milliseconds(self.opened_at)})
            self._session = None
        self.at_seconds = max(round(self._now(), 3), self.at_seconds)
        self._seal({**fields, "at": _milliseconds(self.at_seconds)})

    def _seal(self, fields: dict[str, Json]) -> None:
        if self._descriptor is None:
            raise JournalError(f"{self._path} is closed.")
        if self._problem is not None:
            raise file_error(
                self._path, "takes no more, because something is missing", self._problem
            )
        body = dumps(fields)
        if self._redact.concerns(body):
            fields = self._redact.hidden(fields)
            body = dumps(fields)
        if len(body) >= LARGE or BASE64_MARK in body:
            body = dumps(self._blobs.externalize(fields))
        unsealed = body[:-1].encode()
        checksum = zlib.crc32(unsealed, self._checksum)
        line = unsealed + (SEAL % checksum).encode() + b"\n"
        try:
            _write_all(self._descriptor, line)
        except OSError as error:
            self._problem = error
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise file_error(self._path, "takes no more", error) from error
        self._size += len(line)
        self._checksum = checksum


def _milliseconds(seconds: float) -> int:
    # A whole number has the same number of digits at any time, and so has a line.
    return round(seconds * 1000)


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
        raise file_error(path, "cannot be opened for writing", error) from error
    try:
        os.ftruncate(descriptor, size)
    except OSError as error:
        os.close(descriptor)
        raise file_error(path, "cannot be written", error) from error
    return descriptor


def _write_all(descriptor: int, line: bytes) -> None:
    """One write, unless the system takes only a part: then the next one says why."""
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

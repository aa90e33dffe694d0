"""Whole files, written so that whoever looks sees the old content or the new one, never a part."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dspy_gepa.errors import JournalError

__all__ = ["file_error", "flush_folder", "remove_unfinished", "write_whole"]

_UNFINISHED = ".dspy_gepa-unfinished"
"""Ends the names of files that are being written. There is one writer, so names are not random."""
_OTHER_FOLDER = "choose another log_dir"


def write_whole(path: Path, content: bytes, instead: str = _OTHER_FOLDER) -> None:
    """Put this content there at once; on the disk when this returns.

    Args:
        path: Where.
        content: What.
        instead: What a user may do where nothing can be written there.

    Raises:
        JournalError: there is no room or no right to; what stood there before still does.
    """
    unfinished = path.with_name(f".{path.name}{_UNFINISHED}")
    try:
        unfinished.unlink(missing_ok=True)
        # Exclusive: a link that somebody put there would lead out of the directory.
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise file_error(path, "cannot be written", error, instead) from error


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove what a writer that was killed left half written."""
    for path in sorted(folder.glob(f".*{_UNFINISHED}")):
        path.unlink(missing_ok=True)


def file_error(path: Path, what: str, error: OSError, instead: str = _OTHER_FOLDER) -> JournalError:
    """The error to raise where the system refuses something; says what may help."""
    return JournalError(
        f"{path} {what}: {error.strerror or error}. Check that the disk has room and that this "
        f"user may write there, or {instead}. What was written before stays readable."
    )

"""One writer at a time: a lock that the system gives back when its process dies."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from pathlib import Path

from dspy_gepa.errors import JournalError
from dspy_gepa.store.files import file_error

__all__ = ["Lock", "is_held"]

_held_here: dict[str, Lock] = {}
"""By path. Of two runs in one process the system's lock may stop neither."""
_guard = threading.Lock()
_LOOK_SECONDS = 0.001
"""How long whoever wants the lock leaves to those who look at it."""


class Lock:
    """Holds a lock file from its making to `close`.

    Raises:
        JournalError: another process, which is named, or another run of this process holds it; or
            the file cannot be made or locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path.resolve())
        with _guard:
            if self._name in _held_here:
                raise JournalError(
                    f"{path.parent} is in use by another run of this process. Wait for that one, "
                    "or give this one another log_dir."
                )
            self.descriptor = _locked(path)
            _held_here[self._name] = self

    def close(self) -> None:
        """Give the lock back. The file stays, because removing it could take away another's."""
        with _guard:
            if _held_here.get(self._name) is self:
                del _held_here[self._name]
                os.close(self.descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds this lock, here or in another process.

    Looking keeps nobody from taking it, where the system lets locks be shared, which all but
    Windows do.
    """
    try:
        descriptor = os.open(path, _LOOKING)
    except OSError:
        return False
    try:
        return _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise file_error(path, "cannot be opened for writing", error) from error
    try:
        _lock(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node() or 'this host'}".encode())
    except (BlockingIOError, PermissionError) as error:
        holder = os.read(descriptor, 200).decode("utf-8", "replace") or "another process"
        os.close(descriptor)
        raise JournalError(
            f"{path.parent} is in use by {holder}. One run writes to a directory at a time: wait "
            "for that one or end it, or give this one another log_dir."
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise file_error(path, "cannot be locked", error) from error
    return descriptor


if sys.platform == "win32":
    import msvcrt

    _LOOKING = os.O_RDWR
    _LOCKED_BYTE = 1 << 30
    """Far behind the text, which stays readable for others where a lock forbids reading."""

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

    def _is_locked(descriptor: int) -> bool:
        try:
            _lock(descriptor)
        except OSError:
            return True
        return False

else:
    import fcntl

    _LOOKING = os.O_RDONLY

    def _lock(descriptor: int) -> None:
        # Of the two kinds of lock the one that nothing but closing this descriptor gives back. The
        # other is lost when the process has read the file, for instance to copy the directory.
        while not _is_taken(descriptor):
            # Somebody looks at it, which takes a moment and is over by itself.
            time.sleep(_LOOK_SECONDS)

    def _is_taken(descriptor: int) -> bool:
        """Whether the lock is ours now; not yet while others look at it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_locked(descriptor):
                raise
            return False
        return True

    def _is_locked(descriptor: int) -> bool:
        """Whether somebody writes. Those who look share a lock, and those who write share none."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False

    def _disinherit() -> None:
        """Let go of the locks in a forked process: they are its parent's, and end with that one.

        A fork that Python is not told of, in a library, keeps them until it ends too.
        """
        for lock in _held_here.values():
            os.close(lock.descriptor)
        _held_here.clear()
        _guard.release()

    os.register_at_fork(
        before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_disinherit
    )

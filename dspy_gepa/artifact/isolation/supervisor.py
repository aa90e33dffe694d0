"""Watches one evaluation's process: its time, what it says, and that nothing of it stays behind."""

from __future__ import annotations

import codecs
import ctypes
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from dspy_gepa.artifact.isolation.limits import ProcessLimits, Report, limit_memory
from dspy_gepa.artifact.isolation.wire import packed_report
from dspy_gepa.artifact.output import TextEnds, logging_to

__all__ = ["become_parent_of_orphans", "supervise"]

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
"""Linux: a process is sent a signal when its parent ends; orphaned descendants become children of
the process that asks for it."""
_LOOK_SECONDS = 0.005
"""How often a process is looked at where the system cannot tell when it ends."""
_COUNT_SECONDS = 0.05
"""How often processes are counted, where there is a limit."""
_CHUNK = 1 << 16
_MOST_CHUNKS = 1 << 10
"""Chunks that are read after the end; more come only from what could not be ended."""
_LISTING = Path("/proc/thread-self/children")
"""Where Linux lists the children of the one thread that a supervisor has."""
_IS_LINUX = sys.platform.startswith("linux") and _LISTING.exists()
_PRCTL = ctypes.CDLL(None).prctl if _IS_LINUX else None
_STREAMS = ("answer", "logged", "printed", "errors")
# As they are before any artifact runs, which may put others in their place.
_exit, _write, _excepthook = os._exit, os.write, sys.excepthook


def become_parent_of_orphans() -> None:
    """Makes this process the parent of all its orphaned descendants, where the system can."""
    if _PRCTL is not None:
        _PRCTL(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def supervise(
    answering: socket.socket,
    request: bytes,
    carry_out: Callable[[bytes], bytes],
    limits: ProcessLimits,
) -> bytes:
    """Carry out a request in a process of its own; returns what became of it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pipes = {name: os.pipe() for name in _STREAMS}
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        with _never_returning():
            answering.close()
            writing = {name: pair[1] for name, pair in pipes.items()}
            for reading, _ in pipes.values():
                os.close(reading)
            _carry_out(request, carry_out, limits, writing)
    for _, writing_end in pipes.values():
        os.close(writing_end)
    watch = _Watch(pid, {name: pair[0] for name, pair in pipes.items()}, answering)
    end = watch.until_end(limits, begun)
    _kill_all(pid)
    watch.read_rest()
    answer = watch.answer
    report = Report(
        answer=answer.decode("utf-8", "replace") if not end else "",
        end=end or ("" if answer else "its process ended without an answer"),
        **{name: kept.text for name, kept in watch.kept.items()},
    )
    watch.close()
    return packed_report(report)


@contextmanager
def _never_returning() -> Iterator[None]:
    """What runs inside is all that this process does, however that goes."""
    try:
        yield
    except SystemExit:
        pass
    except KeyboardInterrupt:
        pass
    finally:
        try:
            if (error := sys.exc_info()[1]) is not None:
                _excepthook(type(error), error, error.__traceback__)
            sys.stderr.flush()
        finally:
            _exit(1)


def _carry_out(
    request: bytes,
    carry_out: Callable[[bytes], bytes],
    limits: ProcessLimits,
    writing: dict[str, int],
) -> NoReturn:
    """What the evaluation's own process does."""
    os.setsid()
    if _PRCTL is not None:
        _PRCTL(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    if limits.captures:
        os.dup2(writing["printed"], 1)
        os.dup2(writing["errors"], 2)
    # Whatever stood in their place, which in a notebook belongs to threads that are not here.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open
    printed = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stdout = printed
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    logging_to(writing["logged"])
    grant = limit_memory(limits.memory_mb) if limits.memory_mb is not None else lambda: None
    answer = carry_out(request)
    grant()
    with suppress(OSError, ValueError):  # it may be closed
        printed.flush()
    while answer:
        answer = answer[_write(writing["answer"], answer) :]
    _exit(0)


class _Watch:
    """Reads what a process says until it ends, its time is up, or nobody asks for it any more."""

    def __init__(self, pid: int, reading: dict[str, int], asking: socket.socket) -> None:
        self._pid = pid
        self._names = {descriptor: name for name, descriptor in reading.items()}
        self._answer: list[bytes] = []
        self.kept = {name: TextEnds() for name in _STREAMS if name != "answer"}
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in self.kept}
        self._selector = selectors.DefaultSelector()
        for descriptor in self._names:
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._asking = asking.fileno()
        self._selector.register(self._asking, selectors.EVENT_READ)
        self._ended = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        if self._ended >= 0:
            self._selector.register(self._ended, selectors.EVENT_READ)

    @property
    def answer(self) -> bytes:
        """What it answered so far."""
        return b"".join(self._answer)

    def until_end(self, limits: ProcessLimits, begun: float) -> str:
        """Why it came to no end of its own, or to a bad one; empty if it ended as it should.

        Its time counts from `begun`, by the clock that does not go back.
        """
        timeout_seconds, most = limits.timeout_seconds, limits.max_processes
        most = most if _IS_LINUX else None
        deadline = float("inf") if timeout_seconds is None else begun + timeout_seconds
        while True:
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                return f"it took longer than {timeout_seconds:g} seconds"
            if most is not None:
                left_seconds = min(left_seconds, _COUNT_SECONDS)
            patience = left_seconds if self._ended >= 0 else min(left_seconds, _LOOK_SECONDS)
            ready = self._selector.select(None if patience == float("inf") else patience)
            for key, _ in ready:
                if key.fd == self._asking:
                    _kill_all(self._pid)
                    os._exit(0)  # who asked has gone away
                if key.fd != self._ended:
                    self._read(key.fd)
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return _end(status)
            if most is not None and _has_more_than(most):
                return f"it had more than {most} processes at once"

    def read_rest(self) -> None:
        """Read what is left after the process ended; nothing is waited for."""
        for descriptor in self._names:
            for _ in range(_MOST_CHUNKS):
                if not self._read(descriptor):
                    break

    def close(self) -> None:
        """Give back what watching took."""
        self._selector.close()
        for descriptor in (*self._names, *([self._ended] if self._ended >= 0 else [])):
            os.close(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Whether something was there."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        name = self._names[descriptor]
        if not chunk:
            with suppress(KeyError):
                self._selector.unregister(descriptor)
        elif name == "answer":
            self._answer.append(chunk)
        else:
            self.kept[name].add(self._decoders[name].decode(chunk))
        return bool(chunk)


def _end(status: int) -> str:
    """How a process ended, in words; empty if as it should."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.strsignal(number) or "unknown"
        return f"its process was ended by signal {number} ({name})"
    code = os.waitstatus_to_exitcode(status)
    return f"its process ended itself with status {code}" if code else ""


def _kill_all(pid: int) -> None:
    """End the process, its group, and whatever else came from it, also what left the group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    while True:
        for child in _children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            # Each that ends gives its own children to this process, if the system can do that.
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """The processes that are children of this one, as far as the system tells."""
    try:
        listed = _LISTING.read_text("ascii")
    except OSError:
        return []
    return [int(number) for number in listed.split()]


def _has_more_than(most: int) -> bool:
    """Whether so many processes that came from this one are alive."""
    return len(_descendants(most)) > most and sum(map(_is_alive, _descendants(2 * most))) > most


def _descendants(most: int) -> list[int]:
    """The processes that came from this one; a few more than so many are enough."""
    process_ids = _children()
    for pid in process_ids:
        if len(process_ids) > most:
            break
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                process_ids += map(int, listing.read_text("ascii").split())
    return process_ids


def _is_alive(pid: int) -> bool:
    """Whether it has not ended yet, and only nobody has asked how."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    return False

"""The process from which those of evaluations are forked, and how an evaluation is asked of it.

It is forked once, before the run has threads. So it has the evaluator and the examples as they are,
closures and functions of a notebook too, and nothing has to be sent but texts and numbers.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress

from dspy_gepa.artifact.isolation.limits import ProcessLimits, Report
from dspy_gepa.artifact.isolation.supervisor import become_parent_of_orphans, supervise
from dspy_gepa.artifact.isolation.wire import report_of

__all__ = ["ForkServer", "can_fork"]

_LENGTH = struct.Struct(">Q")
_NO_ROOM = b"-"
"""Stands in the place of a report where there is no room for one more process."""
_ENDED = Report(end="the process that watched it was ended")


def can_fork() -> bool:
    """Whether this system has what is needed: Windows has not."""
    return hasattr(os, "fork") and hasattr(socket, "send_fds")


class ForkServer:
    """Begins processes, each of which carries out one request.

    Args:
        carry_out: From a request to an answer, both JSON.
        limits: What each process may take.
    """

    def __init__(self, carry_out: Callable[[bytes], bytes], limits: ProcessLimits) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python 3.12 and later warn of a fork beside threads. It is made as early as can be.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            try:
                ours.close()
                _serve(theirs, carry_out, limits)
            finally:
                os._exit(1)  # whatever happened: this is no second run
        theirs.close()
        self._control = ours
        self._idle: list[socket.socket] = []
        """To supervisors that wait for another request: to begin one costs as much as what it
        watches."""
        self._is_closed = False
        self._lock = threading.Lock()

    def ask(self, request: bytes) -> Report:
        """What became of a process that was given this request. Several threads may ask at once.

        Raises:
            OSError: there is no server any more, or no process could be begun.
            JournalCorrupt: what came is no report.
        """
        supervisor, is_ready = self._supervisor(), False
        try:
            _send(supervisor, request)
            sent = _received(supervisor)
            is_ready = sent != _NO_ROOM
        except OSError:
            # Whoever watches a process is out of its way, but not out of its reach.
            return _ENDED
        finally:
            with self._lock:
                if is_ready := is_ready and not self._is_closed:
                    self._idle.append(supervisor)
            if not is_ready:
                _end(supervisor)
        if sent == _NO_ROOM:
            raise OSError("no process could be begun")
        return report_of(sent)

    def _supervisor(self) -> socket.socket:
        """The way to one that is idle; a new one where there is none."""
        with self._lock:
            while self._idle:
                waiting = self._idle.pop()
                if not select.select([waiting], [], [], 0)[0]:
                    return waiting
                _end(waiting)  # it was ended while nobody asked it for anything
            ours, theirs = socket.socketpair()
            with theirs, ExitStack() as if_not_sent:
                if_not_sent.callback(ours.close)
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
                if_not_sent.pop_all()
            return ours

    def close(self) -> None:
        """End the server. Processes under way end when who asked for them is answered or gone."""
        with self._lock:
            self._is_closed = True
            for supervisor in self._idle:
                _end(supervisor)
            _end(self._control)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _serve(
    control: socket.socket, carry_out: Callable[[bytes], bytes], limits: ProcessLimits
) -> None:
    """Begin a supervisor for each socket that is sent, until nobody is there any more to ask."""
    # Ctrl-C is for the run, which goes on until what is under way is finished.
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are not waited for
    # What is there stays as it is, so that forked processes share it and need not copy it.
    gc.collect()
    gc.freeze()
    while True:
        sign, descriptors, _flags, _address = socket.recv_fds(control, 1, 1)
        if not sign:
            os._exit(0)
        answering = socket.socket(fileno=descriptors[0])
        try:
            pid = os.fork()
        except OSError:
            pid = -1
            _send(answering, _NO_ROOM)
        if pid == 0:
            try:
                control.close()
                # What ends the group of its parent ends no other evaluation, and not the server.
                os.setsid()
                become_parent_of_orphans()
                while True:  # until who asks is gone
                    report = supervise(answering, _received(answering), carry_out, limits)
                    _send(answering, report)
            except OSError:
                pass
            finally:
                os._exit(0)
        answering.close()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        # Other processes of the user's may have inherited the socket.
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(message)) + message)


def _received(asking: socket.socket) -> bytes:
    """A message, whole.

    Raises:
        OSError: whoever was to send it is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(asking, _LENGTH.size))
    return _exactly(asking, length)


def _exactly(asking: socket.socket, length: int) -> bytes:
    chunks = []
    while length:
        chunk = asking.recv(min(length, 1 << 20))
        if not chunk:
            raise ConnectionResetError("nobody is there any more")
        chunks.append(chunk)
        length -= len(chunk)
    return b"".join(chunks)

"""Runs a command with limits, and without network where the system allows that.

It is run as a script of its own, by `suite.py`, with the limits as JSON and the command after them.
It keeps accidents in, not attackers.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
"""Linux: what a process gets anew. Whatever a first process of its own begins ends with it."""
_SET_PDEATHSIG = 1
"""Linux: a process is sent a signal when its parent ends."""


def cut_off() -> None:
    """Leave the network, and let processes that are begun from now on end together.

    Where the system does not allow that, nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None).unshare(_NEW_USER | _NEW_PROCESSES | _NEW_NETWORK) != 0:
        return
    with suppress(OSError):
        # Who it is stays the same inside.
        Path("/proc/self/setgroups").write_text("deny", "ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", "ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", "ascii")


def main() -> NoReturn:
    """Run the command; the status is its own."""
    limits, command = json.loads(sys.argv[1]), sys.argv[2:]
    cut_off()
    pid = os.fork()
    if pid == 0:
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for name, most in limits.items():
            resource.setrlimit(getattr(resource, name), (most, most))
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()

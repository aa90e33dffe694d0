"""What a process for one evaluation may take, and what is told of it when it is over."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessLimits", "Report", "is_linux", "limit_memory"]

_SPARE = 64 * 2**20
"""Bytes beyond the limit with which a process that has reached it can still say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """What a process may take."""

    timeout_seconds: float | None = None
    memory_mb: int | None = None
    """Beside what is there when it begins; each process that it begins may take as much."""
    max_processes: int | None = None
    """At once, itself among them."""
    captures: bool = False
    """Whether what it prints is kept, and not printed where the run's own output goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of an evaluation's process."""

    answer: str = ""
    """JSON; empty if it gave none."""
    end: str = ""
    """Why it gave none, in words; empty if it gave one."""
    logged: str = ""
    printed: str = ""
    errors: str = ""


def limit_memory(memory_mb: int) -> Callable[[], None]:
    """Lets this process take so much more memory than it has; returns what grants it a little more.

    What counts is address space, of which a process with idle threads has a lot: so the limit is
    set above what there is.
    """
    import resource  # noqa: PLC0415 - there is none on Windows

    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit + _SPARE))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (limit + _SPARE, limit + _SPARE))


def is_linux() -> bool:
    """Whether this system keeps a limit of memory, and tells which processes there are."""
    return sys.platform.startswith("linux")

"""Runs the tests of a package in a process of its own, with limits, and says which of them fail.

The process has its own session, a wall clock, limits of CPU time, memory and file size, no network
where the system allows that, and an environment with next to nothing in it. It keeps accidents in,
not attackers. It needs a POSIX system.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

__all__ = ["SuiteRun", "Timing", "run_suite"]

_LAST_LINES = 14
"""Of what is said of a failing test."""
_LAST_CHARACTERS = 2000


@dataclass(frozen=True)
class Timing:
    """How much time and room a suite may take."""

    timeout_seconds: float = 600.0
    cpu_seconds: int = 20
    memory_mb: int = 2048
    file_mb: int = 32

    @property
    def limits(self) -> dict[str, int]:
        """By the names of the module `resource`."""
        return {
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory_mb * 2**20,
            "RLIMIT_FSIZE": self.file_mb * 2**20,
        }


@dataclass(frozen=True)
class SuiteRun:
    """What came of the tests of a package."""

    failing: Mapping[str, str] = field(default_factory=dict)
    """Test to the last lines of what was said of it."""
    passed: frozenset[str] = frozenset()
    problem: str = ""
    """Why there is no result; empty where there is one."""

    def without(self, names: frozenset[str]) -> SuiteRun:
        """The same, but for tests that fail anyway."""
        failing = {name: said for name, said in self.failing.items() if name not in names}
        return SuiteRun(failing, self.passed, self.problem)


def run_suite(root: Path, package: str, timing: Timing | None = None) -> SuiteRun:
    """What comes of the tests of the package that lies in this folder."""
    timing = timing or Timing()
    with tempfile.TemporaryDirectory() as folder:
        results, printed = Path(folder, "results.xml"), Path(folder, "printed")
        settings = ["-q", "--tb=short", "--no-header", "-p", "no:cacheprovider", "--rootdir", "."]
        pytest = [sys.executable, "-m", "pytest", *settings, f"--junitxml={results}", package]
        confined = str(Path(__file__).with_name("confined.py"))
        command = [sys.executable, "-I", "-S", confined, json.dumps(timing.limits), *pytest]
        with printed.open("wb") as output:
            end = _ended(command, root, output.fileno(), timing.timeout_seconds)
        if end or not results.exists():
            said = printed.read_text("utf-8", "replace")[-_LAST_CHARACTERS:].strip()
            return SuiteRun(problem=f"{end or 'The tests gave no result.'}\n{said}".strip())
        return _read(results.read_text("utf-8"))


def _ended(command: list[str], root: Path, output: int, timeout_seconds: float) -> str:
    """Runs a command to its end; returns what was wrong with that end, or nothing."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    process = subprocess.Popen(  # noqa: S603 - the command is made above
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        return f"The tests took longer than {timeout_seconds:g} seconds and were stopped."
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # Pytest ends with 0 or 1 where it came to a verdict, and with 2 where a file cannot be read.
    return "" if process.returncode in (0, 1, 2) else f"The tests ended by {process.returncode}."


def _read(results: str) -> SuiteRun:
    failing: dict[str, str] = {}
    passed = set()
    for case in ET.fromstring(results).iter("testcase"):  # noqa: S314 - pytest has written it
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        said = [each for each in case if each.tag in ("failure", "error")]
        if said:
            lines = (said[0].text or said[0].get("message") or "").rstrip().splitlines()
            failing[name] = "\n".join(lines[-_LAST_LINES:])
        elif case.find("skipped") is None:
            passed.add(name)
    return SuiteRun(failing, frozenset(passed))

"""What an agent does in its copy of a package, and the account of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from coding_agent.applying import Apply, EditRefused
from coding_agent.changes import function_at, lines_in
from coding_agent.packages import Bug, broken_copy, fails_anyway, is_test
from coding_agent.searching import Search
from coding_agent.suite import SuiteRun, Timing, run_suite

__all__ = ["WORKSPACE", "Workspace", "run_as_given", "workspace_of"]

WORKSPACE: ContextVar[Workspace] = ContextVar("WORKSPACE")
"""That of the rollout that runs now."""
_MOST_LINES = 120
"""That are read at once."""
_FAILURES_IN_FULL = 2


@dataclass
class Workspace:
    """A copy of a package with a bug in it."""

    root: Path
    bug: Bug
    search: Search
    apply: Apply
    timing: Timing
    files_read: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why edits were refused."""
    test_runs: int = 0
    _before: dict[str, str] = field(default_factory=dict)
    """File to what stood there before it was edited."""

    def search_code(self, query: str) -> str:
        """What the search finds."""
        return self.search.search(self.root, query)

    def read_file(self, path: str, first_line: int = 1, last_line: int = 0) -> str:
        """Lines of a file with their numbers, a limited number at once."""
        try:
            file = self._file(path)
        except EditRefused as problem:
            return str(problem)
        name = str(file.relative_to(self.root))
        if name not in self.files_read:
            self.files_read.append(name)
        lines = lines_in(file.read_text("utf-8", "replace"))
        first = min(max(first_line, 1), max(len(lines), 1))
        wanted = last_line if last_line >= first else len(lines)
        last = min(wanted, len(lines), first + _MOST_LINES - 1)
        shown = [f"{number}| {lines[number - 1]}" for number in range(first, last + 1)]
        if last < min(wanted, len(lines)):
            shown.append(f"... {name} has {len(lines)} lines; {_MOST_LINES} are shown at once.")
        return "\n".join(shown)

    def edit_file(self, path: str, instruction: str, update: str) -> str:
        """Whether the edit was made; if not, why."""
        try:
            name = self._edited(path, instruction, update)
        except EditRefused as problem:
            self.refused.append(str(problem))
            return f"The edit was refused. {problem}"
        return f"The edit of {name} was made."

    def run_tests(self) -> str:
        """Which tests fail, and what is said of the first of them."""
        self.test_runs += 1
        run = self._judged(self.root) if self._before else run_as_given(self.bug, self.timing)
        return _in_words(run)

    def undo(self) -> None:
        """Put back what stood in all files before they were edited."""
        for name, text in self._before.items():
            (self.root / name).write_text(text, "utf-8")
        self._before.clear()

    def account(self) -> dict[str, Any]:
        """What happened, and which tests fail in a fresh copy that has the edits."""
        edits = {
            name: (self.root / name).read_text("utf-8", "replace")
            for name, before in self._before.items()
            if (self.root / name).read_text("utf-8", "replace") != before
        }
        changed = [
            {"file": name, "line": line, "function": function_at(self._before[name], line)}
            for name, text in edits.items()
            for line in _changed_lines(self._before[name], text)
        ]
        verdict = self._verdict(edits)
        return {
            "files_read": list(self.files_read),
            "files_edited": list(edits),
            "refused": list(self.refused),
            "changed_lines": changed,
            "test_runs": self.test_runs,
            "failing": dict(verdict.failing),
            "problem": verdict.problem,
        }

    def _verdict(self, edits: dict[str, str]) -> SuiteRun:
        if not edits:
            return SuiteRun(dict.fromkeys(self.bug.failing, "Nothing was changed."))
        with broken_copy(self.bug) as fresh:
            for name, text in edits.items():
                (fresh / name).write_text(text, "utf-8")
            run = self._judged(fresh)
        not_run = set(self.bug.failing) - run.passed - set(run.failing)
        missing = dict.fromkeys(sorted(not_run), "It was not run.")
        return SuiteRun({**run.failing, **missing}, run.passed, run.problem)

    def _judged(self, root: Path) -> SuiteRun:
        return _run(root, self.bug, self.timing)

    def _edited(self, path: str, instruction: str, update: str) -> str:
        file = self._file(path)
        name = str(file.relative_to(self.root))
        if is_test(name):
            raise EditRefused(f"{name} belongs to the tests, which must stay as they are.")
        before = file.read_text("utf-8")
        after = self.apply.apply(before, instruction, update)
        if after == before:
            raise EditRefused("The update changes nothing in the file.")
        try:
            compile(after, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as problem:
            raise EditRefused(f"With the edit, {name} is no Python any more: {problem}.") from None
        self._before.setdefault(name, before)
        file.write_text(after, "utf-8")
        return name

    def _file(self, path: str) -> Path:
        """A file of the workspace.

        Raises:
            EditRefused: there is no such file here.
        """
        file = (self.root / path.strip()).resolve()
        if not file.is_relative_to(self.root):
            raise EditRefused(f"{path} lies outside of the package.")
        if not file.is_file():
            raise EditRefused(
                f"There is no file {path}. Paths begin with the package, as in "
                f"{self.bug.package}/__init__.py."
            )
        return file


@lru_cache
def run_as_given(bug: Bug, timing: Timing) -> SuiteRun:
    """What comes of the tests with the bug and no edits: for all rollouts the same."""
    with broken_copy(bug) as root:
        return _run(root, bug, timing)


def _run(root: Path, bug: Bug, timing: Timing) -> SuiteRun:
    """What comes of the tests, but for those that fail without the bug, too."""
    run = run_suite(root, bug.package, timing)
    if not set(run.failing) - set(bug.failing):
        return run
    return run.without(fails_anyway(bug.package, bug.version))


@contextmanager
def workspace_of(bug: Bug, search: Search, apply: Apply, timing: Timing) -> Iterator[Workspace]:
    """A workspace that the tools reach, for as long as the block lasts."""
    with broken_copy(bug) as root:
        workspace = Workspace(root, bug, search, apply, timing)
        token = WORKSPACE.set(workspace)
        try:
            yield workspace
        finally:
            WORKSPACE.reset(token)


def _changed_lines(before: str, after: str) -> list[int]:
    """The lines that are gone or changed; where lines were added, the one before them."""
    matcher = difflib.SequenceMatcher(None, lines_in(before), lines_in(after), autojunk=False)
    changed: list[int] = []
    for tag, first, last, _, _ in matcher.get_opcodes():
        if tag == "insert":
            changed.append(max(first, 1))
        elif tag != "equal":
            changed += range(first + 1, last + 1)
    return changed


def _in_words(run: SuiteRun) -> str:
    if run.problem:
        return run.problem
    if not run.failing:
        return f"All {len(run.passed)} tests pass."
    parts = [f"{len(run.failing)} tests fail, {len(run.passed)} pass."]
    for at, (name, said) in enumerate(run.failing.items()):
        parts.append(f"{name}\n{said}\n" if at < _FAILURES_IN_FULL else name)
    return "\n".join(parts)

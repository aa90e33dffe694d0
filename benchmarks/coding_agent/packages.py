"""The packages that faults are put into, and the list of faults, which holds no foreign code."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dspy

from coding_agent.changes import Change, changes_in
from coding_agent.suite import run_suite

__all__ = [
    "SPLITS",
    "TASKS",
    "Bug",
    "PackageMissing",
    "broken_copy",
    "bugs_in",
    "chosen",
    "copied",
    "example",
    "fails_anyway",
    "folder_of",
    "is_test",
]

TASKS = Path(__file__).with_name("tasks.json")
SPLITS = ("train", "validation", "test")


class PackageMissing(ImportError):
    """A package that faults are put into is not installed, or in another version."""


@dataclass(frozen=True)
class Bug:
    """One change in a package, known by its position."""

    package: str
    version: str
    """Empty where any will do."""
    split: str
    file: str
    """With the name of the package: `toolz/itertoolz.py`."""
    function: str
    line: int
    column: int
    kind: str
    failing: tuple[str, ...]
    """The tests that notice it."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Bug:
        """The bug that these fields tell of."""
        return cls(**{**fields, "failing": tuple(fields["failing"])})

    @property
    def name(self) -> str:
        """Short, for tables."""
        return f"{self.file}:{self.line}:{self.column} {self.kind}"

    def change(self) -> Change:
        """The change in the installed package.

        Raises:
            PackageMissing: the package is not there, or its source is another one.
        """
        path = folder_of(self.package, self.version).parent / self.file
        wanted = (self.line, self.column, self.kind)
        for each in changes_in(path.read_text("utf-8")):
            if (each.line, each.column, each.kind) == wanted:
                return each
        raise PackageMissing(f"{path} has no place for {self.name}: it is another version.")


def folder_of(package: str, wanted_version: str = "") -> Path:
    """The folder of an installed package.

    Raises:
        PackageMissing: it is not installed, or in another version; says what to do.
    """
    name = f"{package}=={wanted_version}" if wanted_version else package
    remedy = f"Install it: pip install {name} pytest (the extra `coding` of dspy_gepa has both)."
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise PackageMissing(f"The package {package} is not installed. {remedy}")
    if wanted_version:
        try:
            installed = version(package)
        except PackageNotFoundError:
            installed = "unknown"
        if installed != wanted_version:
            problem = f"{package} is installed in version {installed}, and the faults are those of"
            raise PackageMissing(f"{problem} {wanted_version}. {remedy}")
    return Path(spec.origin).parent


def is_test(file: str) -> bool:
    """Whether a file belongs to the tests, by its name or its folder's."""
    path = Path(file)
    is_named_so = path.name.startswith("test_") or path.name == "conftest.py"
    return is_named_so or any(part in ("test", "tests") for part in path.parts[:-1])


@contextmanager
def copied(package: str, wanted_version: str = "") -> Iterator[Path]:
    """A folder that holds a fresh copy of the package, for as long as the block lasts."""
    source = folder_of(package, wanted_version)
    with tempfile.TemporaryDirectory(prefix="workspace-") as folder:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(source, Path(folder, package), ignore=ignored)
        yield Path(folder).resolve()


@contextmanager
def broken_copy(bug: Bug) -> Iterator[Path]:
    """Likewise with the bug in it."""
    change = bug.change()
    with copied(bug.package, bug.version) as root:
        path = root / bug.file
        path.write_text(change.made(path.read_text("utf-8")), "utf-8")
        yield root


@lru_cache
def fails_anyway(package: str, wanted_version: str = "") -> frozenset[str]:
    """The tests that fail in the package as it is."""
    with copied(package, wanted_version) as root:
        return frozenset(run_suite(root, package).failing)


def bugs_in(path: Path = TASKS) -> list[Bug]:
    """The bugs of a list."""
    content = json.loads(path.read_text("utf-8"))
    return [
        Bug.of({"package": each["package"], "version": each["version"], **fields})
        for each in content["packages"]
        for fields in each["changes"]
    ]


def example(bug: Bug) -> dspy.Example:
    """The bug as an example: the issue is what the agent is told, `fault` what the metric knows."""
    change = bug.change()
    tests = "\n".join(f"- {name}" for name in bug.failing)
    issue = (
        f"Since the last change of the package `{bug.package}`, these of its tests fail:\n{tests}\n"
        "Find the fault in the package and mend it. The tests are right and must stay as they are."
    )
    fault = {"end_line": change.end_line, "right": change.right, "wrong": change.wrong}
    fields: dict[str, Any] = {"issue": issue, "bug": asdict(bug), "fault": fault}
    return dspy.Example(**fields).with_inputs("issue", "bug")


def chosen(bugs: Sequence[Bug], package: str, split: str, most: int) -> list[Bug]:
    """The first bugs of a package's split."""
    return [each for each in bugs if (each.package, each.split) == (package, split)][:most]

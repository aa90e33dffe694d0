"""Finds changes that a package's own tests notice, and writes the list of them.

Places are tried in an order that follows from the seed, at most one a function. A change is kept if
it makes 1 to 6 tests fail, twice the same ones, and no test that fails without it. A function, with
all that was found in it, is in one split; a package that is not trained on has a test split alone.
The list holds names, positions and kinds, and no code.

    python benchmarks/coding_agent/make_tasks.py --train toolz==1.2.0 --test pyflakes==4.0.3
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from coding_agent.changes import changes_in
from coding_agent.packages import SPLITS, TASKS, Bug, broken_copy, fails_anyway, folder_of, is_test
from coding_agent.suite import SuiteRun, run_suite

_MOST_FAILURES = 6


def places(package: str, version: str, seed: int) -> list[Bug]:
    """Every change that can be made in a package outside of its tests, in the order of trying."""
    root = folder_of(package, version).parent
    found = [
        Bug(package, version, "", file, each.function, each.line, each.column, each.kind, ())
        for path in sorted((root / package).rglob("*.py"))
        if not is_test(file := str(path.relative_to(root)))
        for each in changes_in(path.read_text("utf-8"))
    ]
    Random(f"{seed} {package}").shuffle(found)
    return found


def noticed(bug: Bug) -> tuple[str, ...]:
    """The tests that fail by the change alone; none where it will not do."""
    runs = []
    for _ in range(2):
        with broken_copy(bug) as root:
            run = run_suite(root, bug.package)
        if not _will_do(run, bug):
            return ()
        runs.append(tuple(sorted(run.failing)))
    return runs[0] if runs[0] == runs[1] else ()


def _will_do(run: SuiteRun, bug: Bug) -> bool:
    """Whether so few tests fail, none of which does anyway."""
    names = set(run.failing)
    is_few = 1 <= len(names) <= _MOST_FAILURES
    return not run.problem and is_few and not names & fails_anyway(bug.package, bug.version)


def kept(package: str, version: str, seed: int, most: int) -> Iterator[Bug]:
    """The first changes that will do, one a function, with what notices them."""
    functions: set[tuple[str, str]] = set()
    for tried, bug in enumerate(places(package, version, seed), 1):
        if len(functions) == most:
            return
        place = (bug.file, bug.function)
        if place not in functions and (failing := noticed(bug)):
            functions.add(place)
            print(f"{len(functions)} of {tried} tried: {bug.name}, {len(failing)} fail", flush=True)
            yield Bug.of({**asdict(bug), "failing": failing})


def split(bugs: Sequence[Bug], sizes: Sequence[int]) -> list[Bug]:
    """The bugs with their splits, so many in each, in the order that they were found in."""
    names = [name for name, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
    return [Bug.of({**asdict(bug), "split": name}) for bug, name in zip(bugs, names, strict=False)]


def listed(named: str, seed: int, sizes: Sequence[int]) -> dict[str, Any]:
    """What the list says of a package, given as `name==version`."""
    package, _, version = named.partition("==")
    bugs = split(list(kept(package, version, seed, sum(sizes))), sizes)
    changes = [asdict(each) for each in bugs]
    for each in changes:
        del each["package"], each["version"]
    return {"package": package, "version": version, "changes": changes}


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", nargs="+", default=[], help="packages, as name==version")
    parser.add_argument("--test", nargs="+", default=[], help="packages that are tested on only")
    parser.add_argument("--sizes", nargs=3, type=int, default=(12, 10, 12), help="of the splits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=TASKS)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Write the list."""
    arguments = arguments_of(given)
    *_, test = arguments.sizes
    packages = [listed(named, arguments.seed, arguments.sizes) for named in arguments.train]
    packages += [listed(named, arguments.seed, (0, 0, test)) for named in arguments.test]
    content = {"seed": arguments.seed, "packages": packages}
    arguments.output.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

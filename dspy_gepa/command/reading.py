"""Commands that read run directories: show, diff, runs, compare, export."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dspy_gepa.command.exporting import exported
from dspy_gepa.command.printing import print_answer
from dspy_gepa.errors import JournalError, SettingsError
from dspy_gepa.story.diff import unified
from dspy_gepa.story.stored import story_in
from dspy_gepa.story.story import MemberStory, Story
from dspy_gepa.views.comparing import Comparing, compare
from dspy_gepa.views.tables import run_values
from dspy_gepa.views.terminal import compared_lines, member_lines, run_lines, run_row, table

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Make the commands known."""
    show = _command(commands, "show", _show, "what a run did, or one of its members")
    show.add_argument("dir", type=Path, metavar="DIR", help="the run directory")
    show.add_argument("member", type=int, nargs="?", metavar="MEMBER", help="a member's number")
    diff = _command(commands, "diff", _diff, "what changed from one member to another")
    diff.add_argument("dir", type=Path, metavar="DIR")
    diff.add_argument("before", type=int, metavar="A", help="a member's number; 0 is the seed")
    diff.add_argument("after", type=int, metavar="B")
    runs = _command(commands, "runs", _runs, "one line for each run directory in a folder")
    runs.add_argument("dir", type=Path, metavar="DIR", nargs="?", default=Path())
    comparison = _command(commands, "compare", _compare, "what two runs returned, by example")
    comparison.add_argument("old", type=Path, metavar="OLD")
    comparison.add_argument("new", type=Path, metavar="NEW")
    comparison.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="exit with 1 where NEW scores less than OLD on the examples that both were run on",
    )
    export = _command(commands, "export", _export, "a member as a program file")
    export.add_argument("dir", type=Path, metavar="DIR")
    export.add_argument("member", type=int, metavar="MEMBER")
    export.add_argument("file", type=Path, metavar="FILE", help="for instance program.json")


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], about: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.add_argument("--json", action="store_true", help="print JSON, for other programs")
    parser.set_defaults(run=run)
    return parser


def _show(given: argparse.Namespace) -> int:
    story = story_in(given.dir)
    if given.member is None:
        print_answer(given, lambda: run_lines(story), lambda: asdict(story))
        return 0
    member = _member(story, given.member)
    print_answer(given, lambda: member_lines(story, member), lambda: asdict(member))
    return 0


def _diff(given: argparse.Namespace) -> int:
    story = story_in(given.dir)
    before, after = _member(story, given.before), _member(story, given.after)
    texts = {
        name: (before.texts.get(name, ""), after.texts.get(name, ""))
        for name in dict.fromkeys([*before.texts, *after.texts])
    }
    changed = {name: both for name, both in texts.items() if both[0] != both[1]}
    found = compared_lines(before, after, story.minimized)

    def lines() -> Iterator[str]:
        for name, both in changed.items():
            yield name
            yield from unified(*both)
            yield ""
        if not changed:
            yield "The texts are equal."
        yield found

    print_answer(
        given,
        lines,
        lambda: {
            "changes": [
                {"component": name, "before": both[0], "after": both[1]}
                for name, both in changed.items()
            ],
            "seen": found,
        },
    )
    return 0


def _runs(given: argparse.Namespace) -> int:
    if not given.dir.is_dir():
        raise JournalError(f"{given.dir} is no folder.")
    folders = sorted(path.parent for path in given.dir.rglob("manifest.json"))
    found = {str(folder): _story_or_why_not(folder) for folder in folders}
    rows = [[name, *run_row(story)] for name, story in found.items()]
    head = ["run", "began", "status", "returned", "seen", "as it was", "cost"]
    print_answer(
        given,
        lambda: table(head, rows) if rows else [f"There is no run in {given.dir}."],
        lambda: [{"run": name, **run_values(story)} for name, story in found.items()],
    )
    return 0


def _story_or_why_not(folder: Path) -> Story | str:
    try:
        return story_in(folder)
    except JournalError as error:
        return f"cannot be read: {error}"


def _compare(given: argparse.Namespace) -> int:
    old, new = story_in(given.old), story_in(given.new)
    for folder, story in ((given.old, old), (given.new, new)):
        if story.returned is None:
            raise SettingsError(
                f"{folder} returned nothing, because no member was validated, so there is nothing "
                "to compare."
            )
    found = compare(old, new)
    if found.examples == 0:
        raise SettingsError(
            f"{given.old} and {given.new} share no validation example that both returned members "
            "were run on, so they cannot be compared."
        )
    values = {**asdict(found), "regression": found.is_regression}
    print_answer(given, lambda: _compared(found, given), lambda: values)
    return 1 if given.fail_on_regression and found.is_regression else 0


def _compared(found: Comparing, given: argparse.Namespace) -> Iterator[str]:
    yield f"{found.examples} examples that what {given.old} and {given.new} returned were run on:"
    yield f"{len(found.better)} better, {len(found.worse)} worse, {len(found.same)} same"
    yield f"mean score {found.before:.3f} before, {found.after:.3f} now"
    if found.worse:
        positions = ", ".join(str(each) for each in found.worse)
        yield f"worse on the validation examples at {positions} of {given.new}"
    yield "a regression" if found.is_regression else "no regression"


def _export(given: argparse.Namespace) -> int:
    story = story_in(given.dir)
    member = _member(story, given.member)
    path = exported(given.dir, story, member, given.file)
    print_answer(
        given,
        lambda: [f'{path}: member {member.number}, loads with program.load("{path}")'],
        lambda: {"file": str(path), "member": member.number},
    )
    return 0


def _member(story: Story, number: int) -> MemberStory:
    if not 0 <= number < len(story.members):
        raise SettingsError(
            f"There is no member {number}: the run has {len(story.members)}, numbered from 0."
        )
    return story.members[number]

"""A member as a program file, made from the one that the run kept, without running any code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ujson

from dspy_gepa.errors import JournalError, SettingsError
from dspy_gepa.store.files import write_whole
from dspy_gepa.story.story import MemberStory, Story

__all__ = ["exported"]

_KEPT = "best_program.json"


def exported(folder: Path, story: Story, member: MemberStory, target: Path) -> Path:
    """Write the program with the member's texts, to be loaded with `program.load`.

    Raises:
        SettingsError: the member has other texts than instructions, which only code can set.
        JournalError: there is no program that could be changed, or no room for the new one.
    """
    state = _kept(folder)
    stored = [each for each in story.members if all(_holds(state, *item) for item in _items(each))]
    if not stored:
        raise SettingsError(
            f"{folder / _KEPT} does not hold all texts of the run as instructions, for instance "
            f"tools, fields, code or demonstrations. With the program at hand: "
            f"load_run({str(folder)!r}).program(student, member={member.number}).save(...)"
        )
    for name, text in member.texts.items():
        _predictor(state, name)["signature"]["instructions"] = text
    written = ujson.dumps(state, indent=2, escape_forward_slashes=False).encode()
    write_whole(target, written, "name another file")
    return target


def _items(member: MemberStory) -> list[tuple[str, str]]:
    return list(member.texts.items())


def _kept(folder: Path) -> Any:
    path = folder / _KEPT
    try:
        return ujson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise JournalError(
            f"{path} cannot be read, and a program is made from it: {error}"
        ) from error


def _predictor(state: Any, name: str) -> Any:
    """The part of a program's state that has the instruction of this component."""
    # A program that is a single predictor has no names in its state.
    return state if name == "self" and "signature" in state else state[name]


def _holds(state: Any, name: str, text: str) -> bool:
    try:
        return bool(_predictor(state, name)["signature"]["instructions"] == text)
    except (KeyError, TypeError):
        return False

"""How an edit is put into a file: a protocol, a merge of our own, and Morph Fast Apply.

An update has one of two forms. Blocks of search and replacement:

    <<<<<<< SEARCH
    lines that stand in the file exactly once
    =======
    lines to put in their place
    >>>>>>> REPLACE

Or changed lines between marks: a line with `... existing code ...` stands for all that stays. Each
stretch begins and ends with a line that is in the file already, but at the file's ends: where it
begins has to be sure, and it ends at the first place after that where its last lines stand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

import dspy

__all__ = ["Apply", "EditRefused", "MergeApply", "MorphApply", "block"]

MARK = "... existing code ..."
_BLOCK = re.compile(
    r"^<{5,} *SEARCH *\n(.*?)^={5,} *\n(.*?)^>{5,} *REPLACE *$", re.DOTALL | re.MULTILINE
)


class EditRefused(ValueError):
    """An edit that cannot be made for sure; says why, and what to do."""


class Apply(Protocol):
    """Puts an edit into a file."""

    def apply(self, original: str, instruction: str, update: str) -> str:
        """The whole file with the edit.

        Raises:
            EditRefused: it cannot be made for sure.
        """
        ...


def block(old: str, new: str) -> str:
    """An update that puts a text in place of another one."""
    halves = [f"{each.rstrip()}\n" if each.strip() else "" for each in (old, new)]
    return f"<<<<<<< SEARCH\n{halves[0]}=======\n{halves[1]}>>>>>>> REPLACE"


@dataclass(frozen=True)
class MergeApply:
    """Both forms of update, without a model; nothing is guessed."""

    def apply(self, original: str, instruction: str, update: str) -> str:
        """The whole file with the edit."""
        del instruction
        update = update.replace("\r\n", "\n")
        if blocks := _BLOCK.findall(update):
            for old, new in blocks:
                original = _replaced(original, old, new)
            return original
        if MARK in update:
            return _merged(original, update)
        if not original.strip():
            return update
        raise EditRefused(
            "The update has neither a block of <<<<<<< SEARCH, ======= and >>>>>>> REPLACE nor a "
            f"line with `{MARK}`, so it does not say what stays. Use one of these forms."
        )


def _replaced(original: str, old: str, new: str) -> str:
    """With one block carried out: whole lines where they are found, else a part of a line."""
    if not old.strip():
        raise EditRefused("A block searches for nothing. Put the lines to be replaced there.")
    # As whole lines first: a line may be a part of another one.
    lines = f"\n{original}"
    if (count := lines.count(f"\n{old}")) == 1:
        return lines.replace(f"\n{old}", f"\n{new}", 1)[1:]
    if count == 0:
        old, new = old.rstrip("\n"), new.rstrip("\n")
        count = original.count(old)
    if count == 1:
        return original.replace(old, new, 1)
    if count == 0:
        stripped = [each.strip() for each in original.splitlines()]
        is_indented_otherwise = old.strip().splitlines()[0].strip() in stripped
        hint = " Its first line is there with other spaces around it." * is_indented_otherwise
        raise EditRefused(
            f"The text to search for does not occur in the file.{hint} Copy it from read_file to "
            "the character, without line numbers."
        )
    raise EditRefused(
        f"The text to search for occurs {count} times in the file. Add lines before or after it, "
        "in both halves, until it occurs once."
    )


def _merged(original: str, update: str) -> str:
    """With the stretches between the marks in the places of what they begin and end with."""
    lines = original.splitlines()
    stretches = _stretches(update.strip("\n").splitlines())
    merged: list[str] = []
    done = 0
    for at, stretch in enumerate(stretches):
        if not stretch:
            continue
        is_first, is_last = at == 0, at == len(stretches) - 1
        begin, end = _place(lines, done, stretch, is_first=is_first, is_last=is_last)
        merged += [*lines[done:begin], *stretch]
        done = end
    merged += lines[done:]
    return "\n".join(merged) + ("\n" if original.endswith("\n") or not original else "")


def _stretches(update: Sequence[str]) -> list[list[str]]:
    """What stands between the marks; the first and last are empty where marks are at the ends."""
    stretches: list[list[str]] = [[]]
    for line in update:
        if MARK in line:
            stretches.append([])
        else:
            stretches[-1].append(line)
    return [_trimmed(each) for each in stretches]


def _trimmed(lines: list[str]) -> list[str]:
    """Without empty lines at the ends, which many lines of a file equal."""
    kept = [at for at, line in enumerate(lines) if line.strip()]
    return lines[kept[0] : kept[-1] + 1] if kept else []


def _place(
    lines: Sequence[str], done: int, stretch: Sequence[str], *, is_first: bool, is_last: bool
) -> tuple[int, int]:
    """From which line to before which one a stretch stands for."""
    if is_first and is_last:
        return 0, len(lines)
    begin, known = (0, _same_at(lines, 0, stretch)) if is_first else _begin(lines, done, stretch)
    if is_last:
        return begin, len(lines)
    return begin, _end(lines, begin + known, stretch[known:])


def _same_at(lines: Sequence[str], at: int, stretch: Sequence[str]) -> int:
    """How many lines of a stretch stand there."""
    pairs = zip(lines[at:], stretch, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].rstrip() == pair[1].rstrip(), pairs))


def _begin(lines: Sequence[str], done: int, stretch: Sequence[str]) -> tuple[int, int]:
    """Where most of a stretch stands, from its first line on, and how much of it."""
    found = [(_same_at(lines, at, stretch), at) for at in range(done, len(lines))]
    most = max((same for same, _ in found), default=0)
    places = [at for same, at in found if same == most]
    if most == 0:
        raise EditRefused(
            f"A stretch between marks begins with {stretch[0].strip()!r}, which is not in the file "
            "after what comes before. Begin and end each stretch with unchanged lines."
        )
    if len(places) > 1:
        raise EditRefused(
            f"A stretch between marks begins with {stretch[0].strip()!r}, which is in "
            f"{len(places)} places of the file. Take in unchanged lines before it until there is "
            "one such place."
        )
    return places[0], most


def _end(lines: Sequence[str], done: int, rest: Sequence[str]) -> int:
    """Before which line a stretch ends whose beginning is known up to a line."""
    if not rest:
        return done
    backwards = list(reversed(rest))
    ends = range(done + 1, len(lines) + 1)
    found = [(_same_at(list(reversed(lines[done:end])), 0, backwards), -end) for end in ends]
    same, end = max(found, default=(0, 0))
    if same == 0:
        raise EditRefused(
            f"A stretch between marks ends with {rest[-1].strip()!r}, which is not in the file "
            "after where it begins. Begin and end each stretch with unchanged lines."
        )
    return -end


@dataclass(frozen=True)
class MorphApply:
    """A hosted model that merges; what it gives back has to be Python where the file was.

    Its tokens are counted like those of all models that DSPy asks.
    """

    lm: dspy.BaseLM

    @classmethod
    def at(cls, api_base: str, api_key: str, model: str = "morph-v3-fast") -> MorphApply:
        """The service at this address."""
        settings = {"api_base": api_base, "api_key": api_key, "temperature": 0.0, "cache": False}
        return cls(dspy.LM(f"openai/{model}", **settings))

    def apply(self, original: str, instruction: str, update: str) -> str:
        """The whole file with the edit."""
        asked = (
            f"<instruction>{instruction}</instruction>\n<code>{original}</code>\n"
            f"<update>{update}</update>"
        )
        reply = self.lm(asked)[0]
        merged = reply if isinstance(reply, str) else str(reply.get("text") or "")
        if not merged.strip():
            raise EditRefused("The service that merges edits gave back nothing.")
        if _is_python(original) and not _is_python(merged):
            raise EditRefused(
                "What the service made of the edit is no Python. Send the changed lines with more "
                f"unchanged ones around them, and `# {MARK}` for the rest."
            )
        return merged if merged.endswith("\n") or not original.endswith("\n") else f"{merged}\n"


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True

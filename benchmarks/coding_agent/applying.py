"""How an edit is put into a file: a protocol, a merge of our own, and Morph Fast Apply.

An update has one of two forms. Blocks of search and replacement:

    <<<<<<< SEARCH
    lines that stand in the file exactly once
    =======
    lines to put in their place
    >>>>>>> REPLACE

Or changed lines between marks: a line with `... existing code ...` stands for all that stays. Each
stretch begins and ends with a line that is in the file already, but at the file's ends: where it
begins has to be sure, and it ends at the first place after that where its last lines stand. At an
end of the file that has no mark, lines may be changed and added; that more go is not sure.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

import dspy

from coding_agent.changes import lines_in

__all__ = ["Apply", "EditRefused", "MergeApply", "MorphApply", "block"]

MARK = "... existing code ..."
_BEGINS = re.compile(r"<{5,} *SEARCH *")
_DIVIDES = re.compile(r"={5,} *")
_ENDS = re.compile(r">{5,} *REPLACE *")
_UNPAIRED = (
    "A block does not go from <<<<<<< SEARCH over ======= to >>>>>>> REPLACE. Give each block all "
    "three lines, each once."
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
        """The whole file with the edit; its kind of line ends stays."""
        del instruction
        has_windows_ends = original.count("\r\n") == original.count("\n") > 0
        before = original.replace("\r\n", "\n") if has_windows_ends else original
        after = _with_update(before, update.replace("\r\n", "\n"))
        if after.count(MARK) > before.count(MARK):
            raise EditRefused(
                f"With the edit, `{MARK}` would stand in the file. Put it on lines of its own "
                "between changed lines, and not into a block."
            )
        return after.replace("\n", "\r\n") if has_windows_ends else after


def _with_update(original: str, update: str) -> str:
    """The file with an update of either form."""
    if blocks := _blocks(update):
        # The last line may have no end; that is found again below.
        text = original if original.endswith("\n") else f"{original}\n"
        for each in blocks:
            text = _replaced(text, *_halves(each, text))
        return text if original.endswith("\n") else text.removesuffix("\n")
    if any(map(_is_mark, update.split("\n"))):
        return _merged(original, update)
    if not original.strip():
        return update
    raise EditRefused(
        "The update has neither a block of <<<<<<< SEARCH, ======= and >>>>>>> REPLACE nor a "
        f"line with `{MARK}`, so it does not say what stays. Use one of these forms."
    )


def _blocks(update: str) -> list[list[str]]:
    """The lines of each block, the one that divides its halves among them."""
    blocks: list[list[str]] = []
    outside: list[str] = []
    is_open = False
    for line in update.split("\n"):
        begins, ends = _BEGINS.fullmatch(line), _ENDS.fullmatch(line)
        if (begins and is_open) or (ends and not is_open):
            raise EditRefused(_UNPAIRED)
        if begins:
            blocks.append([])
        elif not ends:
            (blocks[-1] if is_open else outside).append(line)
        is_open = bool(begins) or (is_open and not ends)
    if is_open:
        raise EditRefused(_UNPAIRED)
    if blocks and any(map(_is_mark, outside)):
        raise EditRefused(f"The update has blocks and lines with `{MARK}`. Use one form.")
    return blocks


def _halves(block: Sequence[str], original: str) -> tuple[str, str]:
    """What a block searches for, and what it puts there; whole lines."""
    lines = [f"{line}\n" for line in block]
    dividing = [at for at, line in enumerate(block) if _DIVIDES.fullmatch(line)]
    halves = [("".join(lines[:at]), "".join(lines[at + 1 :])) for at in dividing]
    if len(halves) > 1:
        # Headings may be underlined so: what is searched for has to be in the file.
        halves = [(old, new) for old, new in halves if old.rstrip("\n") in original]
    if len(halves) != 1:
        raise EditRefused(
            "It is not clear which line of ======= divides the halves of a block. Give each block "
            "one, and search for lines of the file that do not look like it."
        )
    return halves[0]


def _replaced(original: str, old: str, new: str) -> str:
    """With one block carried out: whole lines where they are found, else a part of a line."""
    if not old.strip():
        raise EditRefused("A block searches for nothing. Put the lines to be replaced there.")
    # As whole lines first: a line may be a part of another one.
    places = _places(original, f"^{re.escape(old)}")
    if not places:
        old, new = old.rstrip("\n"), new.rstrip("\n")
        # A part of a name is another name.
        begin, end = (
            r"(?<!\w)" * bool(re.match(r"\w", old)),
            r"(?!\w)" * bool(re.search(r"\w\Z", old)),
        )
        places = _places(original, f"{begin}{re.escape(old)}{end}")
    if len(places) == 1:
        at = places[0]
        _refuse_lost_indentation(original[:at].rpartition("\n")[2], new)
        return original[:at] + new + original[at + len(old) :]
    if not places:
        stripped = [each.strip() for each in original.split("\n")]
        is_indented_otherwise = old.strip().split("\n")[0].strip() in stripped
        hint = " Its first line is there with other spaces around it." * is_indented_otherwise
        hint = " It is there as a part of a longer name." if old in original else hint
        raise EditRefused(
            f"The text to search for does not occur in the file.{hint} Copy it from read_file to "
            "the character, without line numbers."
        )
    raise EditRefused(
        f"The text to search for occurs {len(places)} times in the file. Add lines before or after "
        "it, in both halves, until it occurs once."
    )


def _places(text: str, pattern: str) -> list[int]:
    """Where all matches begin, also those that overlap."""
    return [each.start() for each in re.finditer(f"(?={pattern})", text, re.MULTILINE)]


def _refuse_lost_indentation(before: str, new: str) -> None:
    """Refuses lines that would stand further left than the one that they come after.

    Args:
        before: What stays of the line that they begin in.
        new: The lines.
    """
    later = [line for line in new.split("\n")[1:] if line.strip()]
    if not before.strip() and not all(line.startswith(before) for line in later):
        raise EditRefused(
            "The text to search for leaves out the spaces that its first line begins with, so it "
            "is not sure where several new lines belong. Copy both halves with these spaces."
        )


def _is_mark(line: str) -> bool:
    """Whether a line stands for all that stays; behind code, the mark does not."""
    before, mark, _ = line.partition(MARK)
    return bool(mark) and not re.search(r"\w", before)


def _merged(original: str, update: str) -> str:
    """With the stretches between the marks in the places of what they begin and end with."""
    lines = lines_in(original)
    stretches = _stretches(update.strip("\n").split("\n"))
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
        if _is_mark(line):
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
    begin, known = (0, _same_at(lines, 0, stretch)) if is_first else _begin(lines, done, stretch)
    if is_last:
        _refuse_forgotten_mark(lines[begin + known :][::-1], stretch[known:][::-1], "after")
        return begin, len(lines)
    end = _end(lines, begin + known, stretch[known:])
    if is_first:
        _refuse_forgotten_mark(lines[:end], stretch, "before")
    return begin, end


def _refuse_forgotten_mark(replaced: Sequence[str], put: Sequence[str], side: str) -> None:
    """Refuses where it is not sure that lines at an end of the file are to go.

    Args:
        replaced: The lines there, from the end of the file on.
        put: What would stand there, from the same end on.
        side: Of the changed lines, on which there is no mark.
    """
    old, new = ([line.rstrip() for line in lines if line.strip()] for lines in (replaced, put))
    if not old or old[:1] == new[:1]:
        return
    lost, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    if any(line in old for line in new[:1]) or lost.total() > added.total():
        raise EditRefused(
            f"There is no line with `{MARK}` {side} the changed lines, so that {lost.total()} "
            "of the file's lines would go. Add it if they stay; use a block if they are to go."
        )


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

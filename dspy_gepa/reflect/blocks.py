"""Finds the pieces of a reply that stand between two marks or two code fences."""

from __future__ import annotations

import re
from typing import NamedTuple

from dspy_gepa.reflect.templates import OPENING_MARK

__all__ = ["Block", "Blocks", "fenced", "marked", "marked_otherwise"]


class Block(NamedTuple):
    """A piece of a reply."""

    start: int
    """Where its opening mark begins."""
    end: int
    """Where its closing mark ends."""
    text: str
    """What stands between them, without the line breaks that belong to the marks."""
    kind: str = ""
    """The word after an opening fence, in lower case."""


class Blocks(NamedTuple):
    """The outermost pieces of a reply, in order."""

    whole: tuple[Block, ...] = ()
    is_open: bool = False
    """Whether the last one never closes, as in a reply that was cut off."""
    end_of_unopened: int | None = None
    """Where a closing mark begins that has no opening mark before it."""


_NAME = re.escape(OPENING_MARK.strip("<>")).replace("_", r"\\?[_ -]")
_MARK = re.compile(rf"< ?(/?) ?{_NAME}s? ?>", re.IGNORECASE)
_OTHER_MARK = re.compile(
    r"<(/?)(?:(?:improved|updated|revised|final|better)[_ -])?instructions?>",
    re.IGNORECASE,
)
_LINE_BREAK_AFTER = re.compile(r"[ \t]*(\r?\n)")
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$", re.MULTILINE)


def marked(reply: str) -> Blocks:
    """What stands between our marks.

    A text written as mark, newline, text, newline, mark is found byte for byte, if it does not
    contain a mark itself. Pairs of marks inside it stay in it too.
    """
    return _marked(reply, _MARK)


def marked_otherwise(reply: str) -> Blocks:
    """What stands between marks that some models use in place of ours."""
    return _marked(reply, _OTHER_MARK)


def fenced(reply: str) -> Blocks:
    """What stands between code fences. A fence with a word after it, inside another, is nested."""
    whole: list[Block] = []
    opened: list[re.Match[str]] = []
    for fence in _FENCE.finditer(reply):
        kind = fence[2].strip()
        if kind or not opened:
            opened.append(fence)
        elif fence[1].startswith(opened[-1][1]):
            first = opened.pop()
            if not opened:
                text = reply[first.end() + 1 : fence.start()]
                whole.append(
                    Block(
                        start=first.start(),
                        end=fence.end(),
                        text=text.removesuffix("\n").removesuffix("\r"),
                        kind=first[2].strip().lower(),
                    )
                )
    return Blocks(tuple(whole), is_open=bool(opened))


def _marked(reply: str, mark: re.Pattern[str]) -> Blocks:
    found = _meant(reply, list(mark.finditer(reply)))
    whole: list[Block] = []
    opened: list[re.Match[str]] = []
    for one in found:
        if not one[1]:
            opened.append(one)
        elif opened:
            first = opened.pop()
            # A mark that was written twice before the text leaves one opened for ever.
            if not opened or (one is found[-1] and not whole):
                whole.append(_between(reply, first, one))
                opened = []
        elif not whole:
            return Blocks(end_of_unopened=one.start())
    if len(opened) > 1 and not whole and not reply[opened[-1].end() :].strip():
        # The opening mark written again in place of the closing one.
        return Blocks((_between(reply, opened[0], opened[-1]),))
    return Blocks(tuple(whole), is_open=bool(opened))


def _meant(reply: str, found: list[re.Match[str]]) -> list[re.Match[str]]:
    """The marks that are used: where some stand at the edge of a line, others are mentioned."""
    edges = [
        one
        for one in found
        if not reply[reply.rfind("\n", 0, one.start()) + 1 : one.start()].strip(" \t*`>")
        or (one[1] and not reply[one.end() :].split("\n", 1)[0].strip(" \t\r*`"))
    ]
    at_edges = {one[1] for one in edges}
    return [one for one in found if one in edges or one[1] not in at_edges]


def _between(reply: str, first: re.Match[str], last: re.Match[str]) -> Block:
    text = reply[first.end() : last.start()]
    line_break = _LINE_BREAK_AFTER.match(text)
    if line_break is None:
        text = text.strip()
    else:
        text = re.sub(line_break[1] + r"[ \t]*\Z", "", text[line_break.end() :])
    return Block(first.start(), last.end(), text)

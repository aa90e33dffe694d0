"""Finds the pieces of a reply that stand between two marks or two code fences."""

from __future__ import annotations

import re
from typing import NamedTuple

from dspy_gepa.reflect.talk import is_remark
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
    is_new: bool = False
    """Whether a mark in place of ours says that the text is new."""


class Blocks(NamedTuple):
    """The outermost pieces of a reply, in order."""

    whole: tuple[Block, ...] = ()
    end_of_unopened: int | None = None
    """Where a closing mark begins that has no opening mark before it."""
    end_of_opening: int | None = None
    """Where the last opening mark ends, if it never closes."""

    @property
    def is_open(self) -> bool:
        """Whether the last one never closes, as in a reply that was cut off."""
        return self.end_of_opening is not None


_NAME = re.escape(OPENING_MARK.strip("<>")).replace("_", r"\\?[_ -]?")
# Bold or code markup may go around a mark, attributes may stand in it, and models that write XML
# in square brackets write it so.
_MARK = re.compile(
    rf"(?P<markup>\*\*|`)?(?:\\?< ?(?P<closes>/?) ?{_NAME}s?(?: [^<>\n]{{0,80}})?/?\\?>"
    rf"|\[(?P<closes_too>/?){_NAME}\])(?(markup)(?P=markup))",
    re.IGNORECASE,
)
_NEW_NAMES = (
    r"(?:improved|updated|revised|final|better|new)[_ -](?:instructions?|prompt)"
    r"|(?:neue|verbesserte)[_ ]anweisung|(?:nueva[_ ]instrucci[oó]n|instrucci[oó]n[_ ]mejorada)"
    r"|nouvelle[_ ]instruction|nova[_ ]instru[cç][aã]o|новая[_ ]инструкция"
    r"|新的?(?:指令|提示词?|指示)"
)
_OLD_NAMES = r"(?:system[_ -])?(?:instructions?|prompt)"
"""Names that the text of a program may use too."""
_OTHER_MARK = re.compile(
    rf"(?P<markup>)<(?P<closes>/?)(?:(?P<new>{_NEW_NAMES})|{_OLD_NAMES})(?P<closes_too>)>",
    re.IGNORECASE,
)
_NO_WORDS = " \t\r*`>\ufeff\u200b\u200e\u200f"
"""What may stand on a line beside a mark that is used."""
_LINE_BREAK_AFTER = re.compile(r"[ \t\ufeff\u200b]*(\r?\n)")
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
    return _found(whole, opened)


def _marked(reply: str, mark: re.Pattern[str]) -> Blocks:
    found = _meant(reply, list(mark.finditer(reply)))
    whole: list[Block] = []
    opened: list[re.Match[str]] = []
    for one in found:
        if not _closes(one):
            opened.append(one)
        elif opened:
            first = opened.pop()
            # A mark that was written twice before the text leaves one opened for ever.
            if not opened or (one is found[-1] and not whole):
                whole.append(_between(reply, first, one))
                opened = []
        elif not whole:
            return Blocks(end_of_unopened=one.start())
    if opened and not whole:
        # The opening mark written again in place of the closing one, or a mark of another name.
        others = [*opened[1:], *(one for one in _OTHER_MARK.finditer(reply) if _closes(one))]
        last = others[-1] if others else None
        if last and last.start() >= opened[0].end() and not reply[last.end() :].strip(_NO_WORDS):
            return Blocks((_between(reply, opened[0], last),))
    return _found(whole, opened)


def _found(whole: list[Block], opened: list[re.Match[str]]) -> Blocks:
    return Blocks(tuple(whole), end_of_opening=opened[-1].end() if opened else None)


def _meant(reply: str, found: list[re.Match[str]]) -> list[re.Match[str]]:
    """The marks that are used: where some stand at the edge of a line, others are mentioned.

    So is a closing mark to which a sentence leads up, where the opening mark and another closing
    one stand on lines of their own, and more than remarks between the two closing ones.
    """
    edges = [
        one
        for one in found
        if not _line_to(reply, one.start()).strip(_NO_WORDS)
        or (_closes(one) and not _line_from(reply, one.end()).strip(_NO_WORDS))
    ]
    at_edges = {_closes(one) for one in edges}
    used = [one for one in found if one in edges or _closes(one) not in at_edges]
    kept: list[re.Match[str]] = []
    is_opened_alone = False
    for one, closing in zip(used, _alone_after(reply, used), strict=True):
        if not _closes(one):
            is_opened_alone = _is_alone(reply, one)
        elif (
            is_opened_alone
            and closing
            and _is_led_up_to(reply, one)
            and not is_remark(reply[one.end() : closing.start()])
        ):
            continue
        kept.append(one)
    return kept


def _alone_after(reply: str, marks: list[re.Match[str]]) -> list[re.Match[str] | None]:
    """For each mark, the closing one on a line of its own that follows before an opening one."""
    following: list[re.Match[str] | None] = []
    closing = None
    for one in reversed(marks):
        following.append(closing)
        if not _closes(one):
            closing = None
        elif _is_alone(reply, one):
            closing = one
    return following[::-1]


def _is_alone(reply: str, mark: re.Match[str]) -> bool:
    return not (_line_to(reply, mark.start()) + _line_from(reply, mark.end())).strip(_NO_WORDS)


def _is_led_up_to(reply: str, mark: re.Match[str]) -> bool:
    """Whether a sentence stands before the mark on its line that does not end before it."""
    before = _line_to(reply, mark.start())
    words = before.rstrip(" \t")
    return bool(words.strip(_NO_WORDS)) and words != before and words[-1] not in ".!?\u3002"


def _line_to(reply: str, place: int) -> str:
    return reply[reply.rfind("\n", 0, place) + 1 : place]


def _line_from(reply: str, place: int) -> str:
    end = reply.find("\n", place)
    return reply[place:] if end < 0 else reply[place:end]


def _closes(mark: re.Match[str]) -> bool:
    return bool(mark["closes"] or mark["closes_too"])


def _between(reply: str, first: re.Match[str], last: re.Match[str]) -> Block:
    text = reply[first.end() : last.start()]
    line_break = _LINE_BREAK_AFTER.match(text)
    if line_break is None:
        text = text.strip()
    else:
        text = re.sub(line_break[1] + r"[ \t\ufeff\u200b]*\Z", "", text[line_break.end() :])
    is_new = bool(first.groupdict().get("new"))
    return Block(first.start(), last.end(), text, is_new=is_new)

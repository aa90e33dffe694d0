"""The reflection LM's reply becomes a text, or a reason why it has none.

The forms are tried from the surest to the least sure: our marks, a code fence, a JSON field, plain
text. In doubt there is no text: to ask again costs one call, a wrong text a minibatch of rollouts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

from dspy_gepa.reflect.blocks import Block, fenced, marked, marked_otherwise
from dspy_gepa.reflect.examples import EXAMPLE_HEADING
from dspy_gepa.reflect.exchange import Reply
from dspy_gepa.reflect.forms import (
    Broken,
    in_assignment,
    in_fields,
    in_json,
    in_yaml,
    is_whole_answer,
    unwrapped,
)
from dspy_gepa.reflect.prompt import ATTEMPT_HEADING
from dspy_gepa.reflect.talk import (
    is_announcement,
    is_refusal,
    is_request,
    is_talk,
    without_announcements,
    without_quotes,
    without_talk,
)
from dspy_gepa.reflect.templates import (
    CLOSING_MARK,
    NONE_YET,
    OPENING_MARK,
    OWN_PASSAGES,
    OWN_WORDS,
)
from dspy_gepa.reflect.thinking import (
    around_later_thinking,
    end_of_thinking,
    without_thinking,
    without_turn_ends,
)
from dspy_gepa.reflect.values import LEFT_OUT

__all__ = ["Unreadable", "read_text"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply without a text that could be used."""

    reason: str
    """A clause, for people and for the LM to read."""
    is_refused: bool = False
    """Whether there is a text, which breaks a rule."""


_CUT_OFF = Unreadable(
    f"it was cut off before the closing mark {CLOSING_MARK}, so the answer has to be shorter"
)
_CUT_OFF_FENCE = Unreadable("it was cut off inside a code block, so the answer has to be shorter")
_CUT_OFF_TEXT = Unreadable("it was cut off, so the answer has to be shorter")
_CUT_OFF_THINKING = Unreadable("it was cut off while it was still reasoning, so think more briefly")
_UNMARKED = f"the new instruction does not stand between {OPENING_MARK} and {CLOSING_MARK}"
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u200e\u200f"
"""Byte order marks and signs without width, which stray into the beginning of replies."""
_PROSE = frozenset({"", "text", "txt", "plaintext", "plain", "markdown", "md", "instruction"})
"""Words after a fence that do not name a language in which an example would be written."""
_FILLER = re.compile(
    r"(?:(?:insert|write|put|place|add) )?(?:(?:the|your|a) )?(?:complete |full |whole )?"
    r"(?:(?:new|improved|updated|revised) )?(?:instructions?|text)(?: (?:goes|stands|comes))?"
    r"(?: here)?|(?:the )?lines to be added",
    re.IGNORECASE,
)
"""What stands for an instruction in a form that was repeated and not filled in, ours included."""
_CURRENT_MARK = re.compile(r"^[ \t]*</?current_instruction>[ \t]*(?:\n|\Z)", re.MULTILINE)
"""What stands around the current text in our prompt: a line with nothing else on it."""
_CDATA = re.compile(r"\s*<!\[CDATA\[(.*)\]\]>\s*", re.DOTALL)
_LONGEST_FILLER = 100


def read_text(reply: Reply | str, *, current: str = "") -> str | Unreadable:
    """The text that the reply gives for a component.

    A text written as opening mark, newline, text, newline, closing mark comes back byte for byte,
    unless it contains a mark itself or is no instruction: no letter or digit in it, lone
    surrogates, a refusal, an announcement, or a piece of our own prompt. One code fence around all
    of it, which models add out of habit, is taken away, except where the current text has one.

    Args:
        reply: The whole reply; of a text it is not known whether it was cut off.
        current: The text that is to be improved. Words of our prompt that it has are no leak, and
            words with which it begins neither a refusal nor talk.
    """
    said = Reply(reply) if isinstance(reply, str) else reply
    answer = _after_thinking(said.text)
    if isinstance(answer, Unreadable):
        return answer
    if not marked(answer).whole and marked(unescaped := html.unescape(answer)).whole:
        answer = unescaped
    if not _bare(answer):
        return _CUT_OFF_TEXT if said.is_truncated else Unreadable("it is empty")
    try:
        spoken = _without_thinking_around_marks(answer)
        found = _in_marks(spoken, current, is_complete=said.is_truncated is False)
        if found is None:
            found = _in_other_marks(spoken, current)
        if found is None:
            found = _in_other_form(answer, current, is_truncated=bool(said.is_truncated))
    except Broken as broken:
        return Unreadable(str(broken))
    if isinstance(found, Unreadable):
        return found
    return _checked(_without_current_marks(found, current), current)


def _without_current_marks(text: str, current: str) -> str:
    """The text without the marks in which our prompt shows the current one, if that has none."""
    return text if _CURRENT_MARK.search(current) else _CURRENT_MARK.sub("", text)


def _after_thinking(reply: str) -> str | Unreadable:
    """The reply after the reasoning with which it begins."""
    answer = without_thinking(reply)
    if answer is None:
        return _CUT_OFF_THINKING
    ends = end_of_thinking(answer)
    if ends is None:
        return answer
    if any(block.start < ends.start() < block.end for block in marked(answer).whole):
        return answer
    thought, rest = answer[: ends.start()], answer[ends.end() :]
    # A mark before the tag was a thought about the answer only if the answer follows.
    return answer if marked(thought).is_open and not marked(rest).whole else rest


def _without_thinking_around_marks(answer: str) -> str:
    """The reply without later reasoning, except where that is between marks, or never ends."""
    found = marked(answer)
    blocks = found.whole or marked_otherwise(answer).whole
    kept = [(block.start, block.end) for block in blocks]
    if found.end_of_opening is not None:
        kept.append((found.end_of_opening, len(answer)))
    pieces = around_later_thinking(answer, kept)
    return answer if pieces is None else "".join(pieces)


def _in_other_form(answer: str, current: str, *, is_truncated: bool) -> str | Unreadable:
    """The text of a reply without marks."""
    pieces = around_later_thinking(without_turn_ends(answer))
    if pieces is None:
        return _CUT_OFF_THINKING
    before = [piece for piece in pieces if piece.strip()][:-1]
    if not all(_is_introduced(piece) or is_talk(piece, current=current) for piece in before):
        return Unreadable(f"{_UNMARKED}, and it is unclear whether the reasoning is a part of it")
    plain = unwrapped(_bare("".join(pieces)))
    text = without_announcements(plain)
    readers: tuple[Callable[[], str | Unreadable | None], ...] = (
        lambda: in_json(text),
        lambda: in_fields(text, is_truncated=is_truncated),
        lambda: _in_fence(plain, current),
    )
    for read in readers:
        found = read()
        if found is not None:
            return found
    # What has no end of its own may go on after the last word that came.
    return _CUT_OFF_TEXT if is_truncated else _in_plain_text(plain, current)


def _bare(answer: str) -> str:
    """The answer without invisible characters and white space around it."""
    return answer.strip(_INVISIBLE).strip().strip(_INVISIBLE)


def _in_marks(answer: str, current: str, *, is_complete: bool) -> str | Unreadable | None:
    """What stands between our marks; None where there are none."""
    found = marked(answer)
    if found.is_open:
        if not is_complete or found.whole:
            return _CUT_OFF
        # The model has stopped by itself, and forgot the mark.
        rest = _without_fence(answer[found.end_of_opening :].strip(), current)
        return _CUT_OFF_FENCE if fenced(rest).is_open else _in_plain_text(rest, current)
    if found.whole:
        # A model that drafts puts the final text last, and some show the form once more after it.
        used = [block for block in found.whole if not _is_filler(block.text)]
        return _without_fence((used or found.whole)[-1].text, current)
    if found.end_of_unopened is not None:
        return _in_plain_text(answer[: found.end_of_unopened], current)
    return None


def _in_other_marks(answer: str, current: str) -> str | None:
    """What stands between marks in place of ours; None where there are none, or they are its own.

    Raises:
        Broken: they may be a part of the text.
    """
    other = marked_otherwise(answer).whole
    if not other or not _is_introduced(answer[: other[0].start]):
        return None
    block = other[-1] if len({one.text for one in other}) == 1 else other[0]
    if block.is_new or is_whole_answer(without_turn_ends(answer[block.end :])):
        return _without_fence(block.text, current)
    return None


def _without_fence(text: str, current: str) -> str:
    """The text without a fence around all of it, where the current text has none."""
    if quoted := _CDATA.fullmatch(text):
        text = quoted[1].strip()
    block = _fence_around(text)
    if block is None or block.kind not in _PROSE or _fence_around(current.strip()):
        return text
    return block.text


def _fence_around(text: str) -> Block | None:
    """The one fence that begins and ends with the text; None where there is none."""
    found = fenced(text.strip())
    if found.is_open or len(found.whole) != 1:
        return None
    (block,) = found.whole
    return block if (block.start, block.end) == (0, len(text.strip())) else None


def _in_fence(answer: str, current: str) -> str | Unreadable | None:
    """What stands in the code fence around the text; None where fences are a part of the text.

    Raises:
        Broken: the fence holds JSON that is broken, or may be an example.
    """
    found = fenced(answer)
    if found.is_open:
        return _CUT_OFF_FENCE
    if not found.whole:
        return None
    before = answer[: found.whole[0].start]
    introduced = _is_introduced(before) or is_talk(before, current=current)
    block = found.whole[-1]
    if len({one.text for one in found.whole}) == 1:
        is_meant = introduced
    else:
        # Only the last block surely ends where its fence does: an earlier one may have been cut
        # short by a fence inside it.
        is_meant = _is_announced(answer[found.whole[-2].end : block.start])
    if is_meant:
        return _fence_content(block, answer[block.end :])
    if not introduced and all(one.kind not in _PROSE for one in found.whole):
        return None
    return Unreadable(f"{_UNMARKED}, and it is unclear which code block is meant")


def _fence_content(block: Block, after: str) -> str | Unreadable:
    if block.kind == "diff":
        return Unreadable("it shows the changes and not the whole new instruction")
    text = without_announcements(block.text)
    found = in_json(text, after=after)
    return without_quotes(_named_in(text)) if found is None else found


def _in_plain_text(answer: str, current: str) -> str | Unreadable:
    """The reply itself, if it seems to be an instruction and nothing else."""
    text = without_talk(_bare(answer))
    if is_talk(text, current=current):
        return Unreadable(f"it talks about the instruction, and {_UNMARKED}")
    return without_quotes(_named_in(text))


def _named_in(text: str) -> str:
    """What an assignment or a block of YAML gives, where the text is one; else the text."""
    for read in (in_assignment, in_yaml):
        found = read(text)
        if found is not None:
            return found
    return text


def _is_introduced(before: str) -> bool:
    """Whether what stands before a block is nothing, or ends by announcing it."""
    return not any(map(str.isalnum, before)) or _is_announced(before)


def _is_announced(before: str) -> bool:
    """Whether what stands before a block ends by announcing it."""
    lines = [line for line in before.split("\n") if any(map(str.isalnum, line))]
    return bool(lines) and is_announcement(lines[-1])


def _checked(text: str, current: str) -> str | Unreadable:
    """The text, unless no program should be given it."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return Unreadable("the new instruction has characters that are no valid Unicode text")
    if _is_filler(text) or is_announcement(text):
        return Unreadable("the new instruction is empty")
    if is_refusal(text, current=current):
        return Unreadable("it refuses to write a new instruction")
    if is_request(text, current=current):
        return Unreadable("it asks for a new instruction, and has to be one, for who does the task")
    marks = {
        mark
        for pattern in (LEFT_OUT, EXAMPLE_HEADING, ATTEMPT_HEADING)
        for mark in pattern.findall(text)
        if mark not in current
    }
    said, known = _folded(text), _folded(current)
    leaks = any(own in said and own not in known for own in map(_folded, (*OWN_WORDS, NONE_YET)))
    if marks or leaks or OWN_PASSAGES.copied(text, current):
        return Unreadable("the new instruction repeats words of this request")
    return text


def _is_filler(text: str) -> bool:
    """Whether the text only stands for a text, as in the form of the answer that we show."""
    if len(text) > _LONGEST_FILLER:
        return not any(map(str.isalnum, text))
    bare = re.sub(r"^[\W_]+|[\W_]+$", "", text)
    return not bare or _FILLER.fullmatch(bare) is not None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())

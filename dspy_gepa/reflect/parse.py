"""The reflection LM's reply becomes a text, or a reason why it has none.

The forms are tried from the surest to the least sure: our marks, a code fence, a JSON field, plain
text. In doubt there is no text: to ask again costs one call, a wrong text a minibatch of rollouts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from dspy_gepa.reflect.blocks import Block, fenced, marked, marked_otherwise
from dspy_gepa.reflect.prompt import LEFT_OUT
from dspy_gepa.reflect.talk import (
    is_announcement,
    is_refusal,
    is_talk,
    without_announcements,
    without_quotes,
    without_talk,
)
from dspy_gepa.reflect.templates import CLOSING_MARK, FILLER, OPENING_MARK, OWN_WORDS

__all__ = ["Unreadable", "read_text"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply without a text that could be used."""

    reason: str
    """A clause, for people and for the LM to read."""


_CUT_OFF = Unreadable(
    f"it was cut off before the closing mark {CLOSING_MARK}, so the answer has to be shorter"
)
_CUT_OFF_FENCE = Unreadable("it was cut off inside a code block, so the answer has to be shorter")
_CUT_OFF_THINKING = Unreadable("it was cut off while it was still reasoning, so think more briefly")
_UNMARKED = f"the new instruction does not stand between {OPENING_MARK} and {CLOSING_MARK}"

_THINKING = r"<(think|thinking|thought|reasoning|scratchpad)>"
_BEGINS_THINKING = re.compile(rf"\s*{_THINKING}", re.IGNORECASE)
_THINKING_LINE = re.compile(rf"^[ \t]*{_THINKING}", re.IGNORECASE | re.MULTILINE)
_ENDS_THINKING = re.compile(
    r"^[ \t]*</think(?:ing)?>|</think(?:ing)?>[ \t]*$", re.IGNORECASE | re.MULTILINE
)
_PROSE = frozenset({"", "text", "txt", "plaintext", "plain", "markdown", "md", "instruction"})
"""Words after a fence that do not name a language in which an example would be written."""
_JSON_BEGINS = re.compile(r'\{\s*"[^"\n]{1,60}"\s*:')
_JSON_FIELD = re.compile(
    r"((?:new|improved|updated|revised|rewritten|final|better|optimi[sz]ed)_?)?"
    r"(?:instructions?|prompt|text)"
)
_TASK_ANSWER = re.compile(r"\[\[ ## \w+ ## \]\]")
_FILLERS = frozenset(
    {
        "",
        FILLER.strip("()"),
        "new instruction",
        "new instruction here",
        "your new instruction",
        "your new instruction here",
    }
)
_LONGEST_FILLER = 100


def read_text(reply: str, *, current: str = "") -> str | Unreadable:
    """The text that the reply gives for a component.

    A text written as opening mark, newline, text, newline, closing mark comes back byte for byte,
    unless it contains a mark itself or is no instruction: no letter or digit in it, lone
    surrogates, a refusal, an announcement, or a piece of our own prompt.

    Args:
        reply: The whole reply.
        current: The text that is to be improved. Words of our prompt that it has are no leak.
    """
    answer = _after_thinking(reply)
    if isinstance(answer, str) and not answer.strip():
        return Unreadable("it is empty")
    found = answer if isinstance(answer, Unreadable) else _in_some_form(answer)
    return found if isinstance(found, Unreadable) else _checked(found, current)


def _in_some_form(answer: str) -> str | Unreadable:
    found = _in_marks(answer)
    if found is not None:
        return found
    plain = _without_later_thinking(answer)
    if isinstance(plain, Unreadable):
        return plain
    for read in (_in_json, _in_fence):
        found = read(plain)
        if found is not None:
            return found
    return _in_plain_text(plain)


def _after_thinking(reply: str) -> str | Unreadable:
    """The reply after the reasoning with which it begins."""
    while begins := _BEGINS_THINKING.match(reply):
        ends = _end_of_thinking(reply, begins)
        if ends is None:
            return _CUT_OFF_THINKING
        reply = reply[ends:]
    # Some servers prefill the opening tag, so that only the closing one comes back.
    ends_thinking = _ENDS_THINKING.search(reply)
    if ends_thinking is None or _THINKING_LINE.search(reply, 0, ends_thinking.start()):
        return reply
    if any(block.start < ends_thinking.start() < block.end for block in marked(reply).whole):
        return reply
    thought, rest = reply[: ends_thinking.start()], reply[ends_thinking.end() :]
    # A mark before the tag was a thought about the answer only if the answer follows.
    return reply if marked(thought).is_open and not marked(rest).whole else rest


def _without_later_thinking(answer: str) -> str | Unreadable:
    """A reply without marks, without the reasoning that follows after some other text."""
    while begins := _THINKING_LINE.search(answer):
        ends = _end_of_thinking(answer, begins)
        if ends is None:
            return _CUT_OFF_THINKING
        answer = answer[: begins.start()] + answer[ends:]
    return answer


def _end_of_thinking(reply: str, begins: re.Match[str]) -> int | None:
    """Where the reasoning ends that begins here; None where the reply ends before."""
    ends = re.compile(f"</{begins[1]}>", re.IGNORECASE).search(reply, begins.end())
    return None if ends is None else ends.end()


def _in_marks(answer: str) -> str | Unreadable | None:
    """What stands between our marks, or others in their place; None where there are no marks."""
    found = marked(answer)
    if found.is_open:
        return _CUT_OFF
    if found.whole:
        # A model that drafts puts the final text last, and some show the form once more after it.
        used = [block for block in found.whole if not _is_filler(block.text)]
        return (used or found.whole)[-1].text
    if found.end_of_unopened is not None:
        return _in_plain_text(answer[: found.end_of_unopened])
    other = marked_otherwise(answer)
    if other.whole and _is_introduced(answer[: other.whole[0].start]):
        return other.whole[0].text
    return None


def _in_fence(answer: str) -> str | Unreadable | None:
    """What stands in the code fence around the text; None where fences are a part of the text."""
    found = fenced(answer)
    if found.is_open:
        return _CUT_OFF_FENCE
    if not found.whole:
        return None
    before = answer[: found.whole[0].start]
    if len({block.text for block in found.whole}) == 1:
        block = found.whole[-1]
        if _is_introduced(before) or is_talk(before):
            return _fence_content(block)
    else:
        # Only the last block surely ends where its fence does: an earlier one may have been cut
        # short by a fence inside it.
        block, previous = found.whole[-1], found.whole[-2]
        between = answer[previous.end : block.start]
        if between.strip() and _is_introduced(between):
            return _fence_content(block)
    introduced = _is_introduced(before) or is_talk(before)
    if not introduced and all(one.kind not in _PROSE for one in found.whole):
        return None
    return Unreadable(f"{_UNMARKED}, and it is unclear which code block is meant")


def _fence_content(block: Block) -> str | Unreadable:
    found = _in_json(block.text)
    return without_quotes(without_announcements(block.text)) if found is None else found


def _in_json(answer: str) -> str | Unreadable | None:
    """What the field for the instruction holds; None where the reply is not a JSON object."""
    text = without_announcements(answer)
    if not text.startswith("{"):
        return None
    try:
        # Not strict: models write line breaks into strings as they are.
        fields, _ = json.JSONDecoder(strict=False).raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        malformed = Unreadable("it is JSON that was cut off or is malformed")
        return malformed if _JSON_BEGINS.match(text) else None
    named: dict[bool, object] = {}
    for name, value in fields.items():
        words = re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
        if field := _JSON_FIELD.fullmatch(words):
            named.setdefault(bool(field[1]), value)
    value = named.get(True, named.get(False))
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = "\n".join(value)
    if isinstance(value, str):
        return value.strip()
    return Unreadable("it is JSON without the new instruction, as if it answered one of the inputs")


def _in_plain_text(answer: str) -> str | Unreadable:
    """The reply itself, if it seems to be an instruction and nothing else."""
    text = without_talk(answer)
    if is_talk(text):
        return Unreadable(f"it talks about the instruction, and {_UNMARKED}")
    if _TASK_ANSWER.match(text):
        return Unreadable("it answers one of the inputs and gives no instruction")
    return without_quotes(text)


def _is_introduced(before: str) -> bool:
    """Whether what stands before a block is nothing, or ends by announcing it."""
    lines = [line for line in before.split("\n") if any(map(str.isalnum, line))]
    return not lines or is_announcement(lines[-1])


def _checked(text: str, current: str) -> str | Unreadable:
    """The text, unless no program should be given it."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return Unreadable("the new instruction has characters that are no valid Unicode text")
    if _is_filler(text) or is_announcement(text):
        return Unreadable("the new instruction is empty")
    if is_refusal(text):
        return Unreadable("it refuses to write a new instruction")
    marks = set(LEFT_OUT.findall(text)) - set(LEFT_OUT.findall(current))
    known = _folded(current)
    if marks or any(own in _folded(text) and own not in known for own in map(_folded, OWN_WORDS)):
        return Unreadable("the new instruction repeats words of this request")
    return text


def _is_filler(text: str) -> bool:
    """Whether the text only stands for a text, as in the form of the answer that we show."""
    if len(text) > _LONGEST_FILLER:
        return not any(map(str.isalnum, text))
    bare = re.sub(r"^[\W_]+|[\W_]+$", "", text)
    return bare.casefold() in _FILLERS


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())

"""The reflection LM's reply becomes texts, or reasons why it gives none.

What stands between our marks is meant; else the one piece that the reply sets apart and that goes
on from the current text, or any one piece if nobody asked for our marks or asks again. To ask costs
one short call, a wrong text a minibatch of rollouts. No word of any language counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from dspy_gepa.reflect.edits import Edit, edited, read_edits
from dspy_gepa.reflect.form import Form, is_own_placeholder
from dspy_gepa.reflect.inheritance import goes_on, omission
from dspy_gepa.reflect.pieces import (
    Element,
    elements,
    is_placeholder,
    pieces_of,
    trimmed,
    unfenced,
)

__all__ = ["Reading", "Unmarked", "read_reply", "unusable"]

_REASONING = re.compile(
    r"\s*(?:<\|channel\|>analysis|<\|START_THINKING"
    r"|[<\[◁](?:\w+:)?(?:think|thinking|thought|thoughts|reasoning))\W",
    re.IGNORECASE,
)
"""How reasoning begins that the server left in: the tags of open models."""
_END_OF_REASONING = re.compile(
    r"<\|channel\|>final<\|message\|>|<\|END_THINKING\|>(?:<\|START_RESPONSE\|>)?"
    r"|[<\[◁]/(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning)[>\]▷]",
    re.IGNORECASE,
)
_TURN_END = re.compile(r"(?:<\|[\w ]+\|>|</s>|<end_of_turn>)\s*\Z")
_QUOTES = " \"'`\u201c\u201d\u2018\u2019\\/"
_CUT_OFF = "it was cut off, so it has to be shorter"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """Component to its new text, for those that are given one that can be used."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Component to why what is given for it cannot be used; "" for the reply as a whole."""
    is_unchanged: bool = False
    """Whether it says that no text is to be changed."""
    diagnosis: str = ""
    lesson: str = ""


Unmarked: TypeAlias = Callable[[str, Mapping[str, str]], Mapping[str, str]]
"""From a reply without our marks, and the current texts: the texts that it gives."""


def read_reply(
    reply: str,
    current: Mapping[str, str],
    form: Form | None = None,
    *,
    is_truncated: bool = False,
    in_any_form: bool = False,
    unmarked: Unmarked | None = None,
) -> Reading:
    """What the reply gives for these components.

    A text between marks that stand alone on their lines comes back as it is, without blank lines
    around it and with line ends as newlines. A fence around all of it is dropped.

    Args:
        reply: All that came.
        current: Component to its current text, to which edits apply.
        form: The form that was asked for.
        is_truncated: Whether the server says that it was cut off.
        in_any_form: Whether a text without our marks need not go on from the current one: nobody
            asked for them, or nobody asks again.
        unmarked: Reads replies without our marks, where a text may be anything, such as numbers or
            JSON. None if texts are instructions, which are words.
    """
    form, is_prose = form or Form(), unmarked is None
    current = {name: _with_newlines(text) for name, text in current.items()}
    answer = _without_reasoning(_with_newlines(reply), form)
    if answer is None:
        return Reading(problems={"": "it was cut off while it was still reasoning"})
    blocks = _blocks(answer, form)
    if not blocks and is_prose:
        inside = (_blocks(text, form) for _, text in pieces_of(answer))
        blocks = next(filter(None, inside), [])
    words = {block.name: trimmed(block.text) for block in blocks if block.is_closed}
    diagnosis, lesson = words.get("diagnosis", ""), words.get("lesson", "")
    no_change_blocks = [
        one for one in blocks if one.name == "new_text" and form.is_no_change(one.text)
    ]
    given = [
        one for one in blocks if one.name in ("new_text", "edit") and one not in no_change_blocks
    ]
    texts, problems = _from_blocks(given, current, form, is_prose=is_prose)
    if texts and "no_change" in words:
        texts, problems[""] = {}, f"it has {form.no_change} and new texts as well"
    elif texts and not all(block.is_opened for block in blocks):
        where = "a closing mark stands where nothing is open"
        texts, problems[""] = {}, f"{where}, so it is unclear what ends where"
    if texts or problems or "no_change" in words or no_change_blocks:
        return Reading(texts, problems, not (texts or problems), diagnosis, lesson)
    if not blocks:
        read = unmarked or partial(_set_apart, in_any_form=in_any_form)
        texts = dict(read(answer, current))
        problems = _faults(texts, current, is_prose=is_prose)
        if is_truncated:
            at_the_end = (name for name, text in texts.items() if answer.rstrip().endswith(text))
            problems |= dict.fromkeys(at_the_end, _CUT_OFF)
        texts = {name: text for name, text in texts.items() if name not in problems}
    if not (texts or problems):
        but = ", but what a form has in place of one, such as a line in brackets" * bool(given)
        why = f"no new text stands between {form.pair('new_text')}{but}"
        problems = {"": _CUT_OFF if is_truncated else why if answer.strip() else "it is empty"}
    return Reading(texts, problems, diagnosis=diagnosis, lesson=lesson)


def unusable(text: str, *, is_prose: bool = True) -> str:
    """Why a text can be no instruction, or none of any kind if `is_prose` is false; else empty."""
    if is_prose and not any(map(str.isalpha, text)):
        return "there is no word in it"
    if not text.strip():
        return "there is nothing in it"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "it has characters that are no valid Unicode text"
    return ""


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_reasoning(reply: str, form: Form) -> str | None:
    """The reply after the reasoning with which it begins; None if that never ends.

    Some servers leave in only the tag that ends it. In a block such a tag is a word of its text.
    """
    reply = _TURN_END.sub("", reply)
    blocks = [block for block in _blocks(reply, form) if block.is_closed]
    ends = [
        end.end()
        for end in _END_OF_REASONING.finditer(reply)
        if not any(one.start < end.start() < one.end for one in blocks)
    ]
    return reply[ends[-1] :] if ends else None if _REASONING.match(reply) else reply


def _blocks(answer: str, form: Form) -> list[Element]:
    """The outermost blocks of our form in order, by the plain names of their marks.

    The mark of no change needs no other.
    """
    found = [
        one._replace(name=form.tag(one.name.lower()))
        for one in elements(answer, "|".join(form.names))
    ]
    return [one._replace(is_closed=True) if one.name == "no_change" else one for one in found]


def _from_blocks(
    blocks: Sequence[Element], current: Mapping[str, str], form: Form, *, is_prose: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The texts that blocks give, and why others cannot be used."""
    wholes: dict[str, str] = {}
    edits: dict[str, list[Edit]] = {}
    problems: dict[str, str] = {}
    for block in blocks:
        name = _component(block.attributes, current)
        if name is None:
            there_are = ", ".join(current)
            problems[""] = f"a block names no component; there are {there_are}"
        elif not block.is_closed:
            problems[name] = f"the mark <{block.name}> is not closed"
        elif block.name == "edit":
            edits.setdefault(name, []).extend(read_edits(block.text))
        else:
            text = _bare(block.text, current[name], form)
            # Where the current text is a line in brackets, or no prose, a new one may be, too.
            is_form = is_prose and is_placeholder(text) and not is_placeholder(current[name])
            if is_form or is_own_placeholder(text):
                continue
            if wholes.setdefault(name, text) != text:
                problems[name] = "there are several new texts for it, which differ"
    texts = dict(wholes)
    for name, own in edits.items():
        texts[name], problem = edited(current[name], own)
        if wholes.get(name, texts[name]) != texts[name]:
            problem = "there are edits and a whole text for it, which differ"
        problems |= {name: problem} if problem else {}
    problems |= _faults(texts, current, is_prose=is_prose)
    return {name: text for name, text in texts.items() if name not in problems}, problems


def _set_apart(answer: str, current: Mapping[str, str], *, in_any_form: bool) -> dict[str, str]:
    """The texts of a reply without our marks: each by its component's name, or the only one.

    Of several for one component the last is meant if it alone goes on from the current text:
    reasons come before what they are for, and of two drafts nobody can tell. The current text is
    quoted where another one stands beside it.
    """
    quoted = set(map(str.strip, current.values()))
    pieces = [
        (name, text)
        for name, text in pieces_of(answer)
        if not is_placeholder(text) and name not in ("diagnosis", "lesson")
    ]
    pieces = [(name, text) for name, text in pieces if text not in quoted] or pieces
    texts = {name: text for name, text in pieces if name in current}
    must_go_on = not in_any_form
    if len(current) == 1 and pieces and not texts:
        ((component, old),) = current.items()
        *others, last = (text for _, text in pieces)
        must_go_on |= bool(others)
        if not any(goes_on(old, text) for text in others):
            texts = {component: last}
    if must_go_on and not all(goes_on(current[name], text) for name, text in texts.items()):
        return {}
    return texts


def _faults(
    texts: Mapping[str, str], current: Mapping[str, str], *, is_prose: bool
) -> dict[str, str]:
    """Why some of the texts cannot be used, by their component."""
    reasons = {
        name: unusable(text, is_prose=is_prose) or omission(current[name], text, is_prose=is_prose)
        for name, text in texts.items()
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _bare(block: str, current: str, form: Form) -> str:
    """The text of a block without what encloses all of it: a fence, CDATA, the same marks again."""
    text = trimmed(block)
    if quoted := re.fullmatch(r"<!\[CDATA\[(.*)\]\]>", text, re.DOTALL):
        text = trimmed(quoted[1])
    inner = _blocks(text, form)
    if len(inner) == 1 and (inner[0].start, inner[0].end) == (0, len(text)):
        return trimmed(inner[0].text) if inner[0].name == "new_text" else ""
    return unfenced(text, current)


def _component(attributes: str, current: Mapping[str, str]) -> str | None:
    """The component that a mark names; the only one where it names none."""
    name = attributes.partition("=")[2].strip(_QUOTES)
    if not name and len(current) == 1:
        return next(iter(current))
    return name if name in current else None

"""Records and a template become the text that the reflection LM is sent.

The same records give the same text in every process, and it never exceeds its limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from dspy_gepa.errors import SettingsError
from dspy_gepa.reflect.records import Call, Record
from dspy_gepa.reflect.templates import DEFAULT_TEMPLATE, Template

__all__ = ["DEFAULT_LIMITS", "LEFT_OUT", "Limits", "TooLong", "render", "shortened", "text_of"]

LEFT_OUT = re.compile(r"\[\.\.\. [\d,]+ (?:characters|calls|examples) [a-z ]+ \.\.\.\]")
"""Matches every mark that stands for something that this module did not show."""

_EXAMPLES_NEED = 400
"""Characters below which an example says nothing."""
_VALUE_LIMITS = (8_000, 4_000, 2_000, 1_000, 500, 250)
"""Characters of one value, tried in turn until every failing record fits."""
_WORTH_REFERRING_TO = 200
"""Characters from which on a repeated beginning is referred to and not shown again."""
_LONGEST_ATTEMPT = 1_500
"""Characters of a rejected text that are shown."""
_DEEPEST = 10
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the reflection LM is shown of what happened.

    Raises:
        SettingsError: a limit under which no prompt could be useful.
    """

    prompt_characters: int = 48_000
    """Of the whole prompt. Our choice: about 12,000 tokens of English, which leaves a context of
    16,000 tokens room for the answer."""
    calls_per_record: int = 8
    """Calls of the component shown per rollout. Our choice: enough for most tool loops."""

    def __post_init__(self) -> None:
        if self.prompt_characters < 4_000:
            raise SettingsError(
                f"prompt_characters is {self.prompt_characters}; it must be at least 4,000, as "
                "our request and a few examples take that."
            )
        if self.calls_per_record < 1:
            raise SettingsError(
                f"calls_per_record is {self.calls_per_record}; it must be at least 1."
            )


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class TooLong:
    """There is no room for examples beside the current instruction, which is never cut."""

    reason: str


def text_of(value: object) -> str:
    """The value in words, the same in every process: text as it is, containers as JSON.

    Lone surrogates are written out, because they could not be sent.
    """
    if isinstance(value, str):
        text = value
    elif isinstance(value, (Mapping, list, tuple, AbstractSet)):
        text = json.dumps(_plain(value, _DEEPEST), ensure_ascii=False)
    else:
        text = _ADDRESS.sub("", str(value))
    return text.encode("utf-8", "backslashreplace").decode()


def shortened(text: str, limit: int) -> str:
    """The text, or its beginning and end around a mark that says how much is left out.

    Never longer than `limit` characters; empty where not even the mark fits.
    """
    if len(text) <= limit:
        return text
    room = limit - len(_left_out(len(text), "characters"))
    if room < 0:
        return ""
    # The task tends to stand at the beginning, which gets more, and the outcome at the end.
    tail = room // 3
    mark = _left_out(len(text) - room, "characters")
    return text[: room - tail] + mark + text[len(text) - tail :]


def render(
    records: Sequence[Record],
    *,
    instruction: str,
    description: str = "",
    attempts: Sequence[tuple[str, str]] = (),
    template: Template = DEFAULT_TEMPLATE,
    limit: int = DEFAULT_LIMITS.prompt_characters,
) -> str | TooLong:
    """The prompt, of at most `limit` characters.

    The instruction is never cut. A record is shown only where every one before it is shown, so a
    passing one only where every failing one is. Values are cut before a failing record is left
    out.

    Args:
        records: Failing ones first, as `records_of` gives them.
        instruction: The component's current text.
        description: What the component is for, and its fields; takes a third of the room at most.
        attempts: Texts that were tried in its place, and why each was rejected; takes a fifth of
            the room at most.
        template: The words around it all.
        limit: Characters of the whole prompt.
    """
    current = text_of(instruction) if instruction.strip() else "(there is none yet)"

    def filled(description: str, examples: str, attempts: str = "") -> str:
        return template.filled(
            description=description, instruction=current, examples=examples, attempts=attempts
        )

    free = limit - len(filled("", ""))
    if free < 2 * _EXAMPLES_NEED:
        return TooLong(
            f"the current instruction has {len(current):,} characters, which leaves no room for "
            f"examples in a prompt of at most {limit:,} characters"
        )
    known = shortened(text_of(description.strip()) or "(not described)", free // 3)
    tried = _attempts(attempts, free // 5)
    room = limit - len(filled(known, "", tried))
    return filled(known, _examples(records, room), tried)


def _attempts(attempts: Sequence[tuple[str, str]], room: int) -> str:
    """What was tried before, in words, with an empty line around it; empty where nothing was."""
    if not attempts:
        return ""
    heading = "\n# Texts that were tried in its place and rejected\n\nDo better than these.\n\n"
    share = max(0, room - len(heading)) // len(attempts)
    blocks = []
    for text, reason in attempts:
        title = f"## Rejected: {_cut(reason, share // 3)}\n\n"
        blocks.append(title + _cut(text, min(_LONGEST_ATTEMPT, max(0, share - len(title)))))
    return heading + "\n\n".join(blocks) + "\n\n"


def _examples(records: Sequence[Record], room: int) -> str:
    """The first of the records, as many as fit, each with as much detail as leaves room for all."""
    failing = sum(not record.passed for record in records)
    wanted = max(failing, min(1, len(records)))
    blocks: list[str] = []
    for value_limit in (room, *_VALUE_LIMITS):
        blocks = [
            _block(number, record, value_limit) for number, record in enumerate(records, start=1)
        ]
        if _fitting(blocks, room) >= wanted:
            return _joined(blocks, _fitting(blocks, room))
    share = max(_EXAMPLES_NEED, room // wanted - 60)
    cut = [shortened(block, share) for block in blocks]
    return _joined(cut, _fitting(cut, room))


def _fitting(blocks: Sequence[str], room: int) -> int:
    """How many of the blocks fit, from the first on."""
    counts = range(len(blocks), 0, -1)
    return next((count for count in counts if len(_joined(blocks, count)) <= room), 0)


def _joined(blocks: Sequence[str], count: int) -> str:
    left_out = len(blocks) - count
    marks = [_left_out(left_out, "examples")] if left_out else []
    return "\n\n".join([*blocks[:count], *marks])


def _block(number: int, record: Record, value_limit: int) -> str:
    """One record in words."""
    verdict = "right" if record.passed else "to be improved"
    parts = [f"## Example {number}: score {record.score:g}, {verdict}"]
    if not record.calls:
        parts.append("The program failed before it reached this step.")
    before: Mapping[str, str] = {}
    shown = 0
    for call in record.calls:
        if call.number > shown + 1:
            parts.append(_left_out(call.number - shown - 1, "calls"))
        shown = call.number
        if record.calls_made > 1:
            parts.append(f"### Call {call.number} of {record.calls_made}")
        inputs = {name: text_of(value) for name, value in call.inputs.items()}
        parts.append("Input:\n" + _fields(inputs, value_limit, before))
        parts.append(_outcome(call, value_limit))
        before = inputs
    if shown < record.calls_made:
        parts.append(_left_out(record.calls_made - shown, "calls"))
    if record.failure:
        parts.append(f"The program gave no answer: {_cut(record.failure, value_limit)}")
    parts.append(f"Feedback:\n{_cut(record.feedback, value_limit) or '(none)'}")
    return "\n\n".join(parts)


def _outcome(call: Call, value_limit: int) -> str:
    """What the call wrote, or why nothing of it can be used."""
    if not call.failure:
        outputs = {name: text_of(value) for name, value in call.outputs.items()}
        return "Output:\n" + _fields(outputs, value_limit)
    failure = f"Output: not usable. {_cut(call.failure, value_limit)}"
    reply = _cut(call.reply, value_limit)
    return f"{failure}\n\nWhat was written instead:\n{reply}" if reply else failure


def _fields(
    texts: Mapping[str, str], value_limit: int, before: Mapping[str, str] | None = None
) -> str:
    """One field per paragraph, a value of several lines beginning on a line of its own."""
    lines = []
    for name, text in texts.items():
        new = shortened(_since(text, (before or {}).get(name, "")), value_limit)
        lines.append(f"{name}:{chr(10) if chr(10) in new else ' '}{new or '(empty)'}")
    return "\n".join(lines) or "(nothing)"


def _since(text: str, before: str) -> str:
    """The text without what it repeats of the call before: in a tool loop inputs only grow."""
    if len(before) < _WORTH_REFERRING_TO or not text.startswith(before):
        return text
    return f"[... {len(before):,} characters as in the call before ...]{text[len(before) :]}"


def _cut(text: str, limit: int) -> str:
    return shortened(text_of(text.strip()), limit)


def _left_out(count: int, what: str) -> str:
    return f"[... {count:,} {what} left out ...]"


def _plain(value: object, depth: int) -> object:
    """The value in JSON's terms, in an order that does not depend on the process."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if not isinstance(value, (Mapping, list, tuple, AbstractSet)):
        return text_of(value)
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((_plain(item, depth - 1) for item in value), key=repr)
    return [_plain(item, depth - 1) for item in value]

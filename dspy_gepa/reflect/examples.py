"""Records in words: what the component was given, what it wrote, what was said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import NamedTuple

from dspy_gepa.core.rollout import Step
from dspy_gepa.reflect.records import EvidenceRecord
from dspy_gepa.values.words import LEFT_OUT, Marks, left_out, shortened, text_of

__all__ = ["Block", "block_of", "has_words", "worded"]

_WORTH_REFERRING_TO = 200
"""Characters from which on what is repeated is referred to and not shown again."""
_LONGEST_ASIDE = 160
"""Characters of a value of another component. Our choice: a line tells what went through the
program, and the component's own calls need the room."""
_MOST_TURNS = 12
"""Steps of a rollout that are listed. Our choice: a pipeline has fewer, and of a longer loop the
beginning and the end tell most."""


class Block(NamedTuple):
    """An example in words."""

    text: str
    remark: str
    """What was said about it; empty if the text has it."""

    def shortened(self, limit: int) -> Block:
        """Both together of at most so many characters."""
        remark = shortened(self.remark, limit // 2)
        return Block(shortened(self.text, limit - len(remark)), remark)


def worded(records: Sequence[EvidenceRecord], marks: Marks) -> tuple[EvidenceRecord, ...]:
    """The records with every value in words, the media in them numbered.

    What the component itself was given and what was said about it come first, in all records: they
    have a number also where there are too many media for all that went through the program.
    """
    own = [_in_its_words(record, marks) for record in records]
    return tuple(_among_others(record, marks) for record in own)


def has_words(record: EvidenceRecord) -> bool:
    """Whether anything but the score says how good it was."""
    return bool(record.feedback.strip() or record.failure or record.attachments) or any(
        call.failure for _, call in record.calls
    )


def _in_its_words(record: EvidenceRecord, marks: Marks) -> EvidenceRecord:
    """The record with its own calls, and what was said about them, in words."""
    calls = tuple((number, _step_in_words(call, marks)) for number, call in record.calls)
    attached = _words(record.attachments, marks)
    feedback, attachments = _in_place(text_of(record.feedback.strip()), attached, marks.titles)
    return replace(
        record,
        calls=calls,
        failure=text_of(record.failure.strip()),
        feedback=feedback,
        attachments=attachments,
    )


def _among_others(record: EvidenceRecord, marks: Marks) -> EvidenceRecord:
    """The record with the steps around its own calls in words."""
    return replace(
        record,
        inputs=_words(record.inputs, marks),
        turns=tuple(
            _step_in_words(turn, marks) if isinstance(turn, Step) else turn for turn in record.turns
        ),
        outputs=_words(record.outputs, marks),
    )


def _step_in_words(step: Step, marks: Marks) -> Step:
    return replace(
        step,
        inputs=_words(step.inputs, marks),
        outputs=_words(step.outputs, marks),
        failure=text_of(step.failure.strip()),
        reply=text_of(step.reply.strip()),
    )


def _words(fields: Mapping[str, object], marks: Marks) -> dict[str, str]:
    return {text_of(name): text_of(value, marks) for name, value in fields.items()}


def _in_place(
    feedback: str, attachments: Mapping[str, str], titles: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """The feedback with media where it was taken out of it, and what is attached beside that.

    There it was named as the first image of its rollout, say, and its title numbers it among all;
    one that is not sent is left out there too, as its name would look like the title of another.
    """
    beside = dict(attachments)
    for name, attachment in attachments.items():
        place = f"(attachment: {name})"
        is_unsent = LEFT_OUT.fullmatch(attachment) is not None and place in feedback
        # Twice in the text it would be one title too many: see `Marks.are_unmistakable_in`.
        if is_unsent or (attachment in titles and feedback.count(place) == 1):
            feedback = feedback.replace(place, attachment)
            del beside[name]
    return feedback, beside


def block_of(
    number: int, record: EvidenceRecord, value_limit: int, *, sets_feedback_apart: bool = False
) -> Block:
    """One record, each value of at most so many characters.

    Args:
        number: Its place among the examples, from 1.
        record: With its values in words.
        value_limit: Characters of one value.
        sets_feedback_apart: Whether feedback on what is to be improved is left to a remark.
    """
    verdict = "right" if record.passed else "better" if record.is_contrast else "to be improved"
    # One that failed has no score among lower ones than a failure counts as otherwise.
    score = f"score {record.score:g}" if isfinite(record.score) else "no score"
    parts = [f"## Example {number}: {score}, {verdict}"]
    if not record.calls:
        parts.append("The program failed before it reached this step.")
    is_joint = len({call.component for _, call in record.calls}) > 1
    if is_joint and record.inputs:
        parts.append("The program was given:\n" + _fields(_texts(record.inputs), value_limit))
    parts += _calls(record, value_limit)
    parts += _surroundings(replace(record, inputs={}) if is_joint else record, value_limit)
    if record.failure:
        parts.append(f"The program gave no answer: {shortened(record.failure, value_limit)}")
    if record.objectives:
        measured = (
            f"{text_of(name)} = {value:.4g}" for name, value in sorted(record.objectives.items())
        )
        parts.append(f"Measured beside the score: {shortened('; '.join(measured), value_limit)}")
    feedback = shortened(record.feedback, value_limit)
    remark = feedback if sets_feedback_apart and not record.passed else ""
    if not remark:
        parts.append(f"Feedback:\n{feedback or '(none)'}")
    parts += [
        f"Feedback on {text_of(name)}:\n{shortened(text_of(said.strip()), value_limit)}"
        for name, said in record.remarks.items()
    ]
    if record.attachments:
        parts.append("With the feedback:\n" + _fields(_texts(record.attachments), value_limit))
    return Block("\n\n".join(parts), remark)


def _calls(record: EvidenceRecord, value_limit: int) -> list[str]:
    """Every kept call of the components that are asked about, with marks for calls left out."""
    parts: list[str] = []
    before: Mapping[str, str] = {}
    shown = 0
    # Of several steps it need not have been this one.
    is_wrong = not (record.passed or record.is_contrast or record.turns or record.calls_made > 1)
    names = len({call.component for _, call in record.calls}) > 1
    above: dict[str, str] = dict.fromkeys(_texts(record.inputs).values(), "the program's input")
    for number, call in record.calls:
        if number > shown + 1:
            parts.append(left_out(number - shown - 1, "calls"))
        shown = number
        if record.calls_made > 1:
            named = f": {text_of(call.component)}" if names else ""
            parts.append(f"### Call {number} of {record.calls_made}{named}")
        inputs = _texts(call.inputs)
        shown_inputs = _referring(inputs, above) if names else inputs
        parts.append("Input:\n" + _fields(shown_inputs, value_limit, before))
        parts.append(_outcome(call, value_limit, is_wrong=is_wrong))
        before = {} if names else inputs
        for way, values in (("input", inputs), ("output", _texts(call.outputs))):
            for name, value in values.items():
                above.setdefault(value, f"the {way} {name} of call {number}")
    if shown < record.calls_made:
        parts.append(left_out(record.calls_made - shown, "calls"))
    return parts


def _referring(texts: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """The fields, a long value that stands above already as a pointer to it."""
    return {
        name: f"[as above: {above[text]}]"
        if len(text) >= _WORTH_REFERRING_TO and text in above
        else text
        for name, text in texts.items()
    }


def _outcome(call: Step, value_limit: int, *, is_wrong: bool) -> str:
    """What the call wrote, or why nothing of it can be used."""
    if not call.failure:
        return f"{'Wrong output' if is_wrong else 'Output'}:\n" + _fields(
            _texts(call.outputs), value_limit
        )
    failure = f"Output: not usable. {shortened(call.failure, value_limit)}"
    reply = shortened(call.reply, value_limit)
    return f"{failure}\n\nWhat was written instead:\n{reply}" if reply else failure


def _surroundings(record: EvidenceRecord, value_limit: int) -> list[str]:
    """What the program was given and answered, and its other steps in order; often nothing."""
    limit = min(_LONGEST_ASIDE, value_limit // 2)
    lines = []
    if record.inputs:
        lines.append(f"The program was given {_aside(record.inputs, limit)}")
    turns = list(enumerate(record.turns, start=1))
    ends = _MOST_TURNS // 2
    left = turns[ends:-ends] if len(turns) > _MOST_TURNS else []
    shown = turns[:ends] + turns[-ends:] if left else turns
    steps = [_line(place, turn, limit) for place, turn in shown]
    lines += [*steps[:ends], left_out(len(left), "steps"), *steps[ends:]] if left else steps
    if record.outputs:
        lines.append(f"The program answered {_aside(record.outputs, limit)}")
    return ["Around this step:\n" + "\n".join(lines)] if lines else []


def _line(place: int, turn: Step | int, limit: int) -> str:
    if isinstance(turn, int):
        # Without its name: a tool or a field is shown the calls of the step that it belongs to.
        return f"{place}. this step, call {turn}"
    failure = turn.failure or turn.reply
    outcome = f"failed: {_flat(failure, limit)}" if failure else _aside(turn.outputs, limit)
    return f"{place}. {turn.component}: {_aside(turn.inputs, limit)} -> {outcome}"


def _aside(fields: Mapping[str, object], limit: int) -> str:
    """Fields in one line."""
    texts = _texts(fields)
    return "; ".join(f"{name} = {_flat(text, limit)}" for name, text in texts.items()) or "nothing"


def _flat(text: str, limit: int) -> str:
    return shortened(" ".join(text.split()), limit)


def _texts(fields: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}


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
    """The text without what it repeats of the call before: in a tool loop inputs only grow.

    What grows may stand between other things: brackets end a history in JSON, and a question may
    follow after it. So both ends are compared.
    """
    first = _in_common(text, before)
    rest, rest_before = text[first:], before[first:]
    last = _in_common(rest[::-1], rest_before[::-1])
    head = _repeated(first) if first >= _WORTH_REFERRING_TO else text[:first]
    tail = _repeated(last) if last >= _WORTH_REFERRING_TO else rest[len(rest) - last :]
    return head + rest[: len(rest) - last] + tail


def _repeated(characters: int) -> str:
    return f"[... {characters:,} characters as in the call before ...]"


def _in_common(one: str, other: str) -> int:
    """With how many of the same characters both texts begin."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least

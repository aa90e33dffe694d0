"""Records and a template become the prompt that the reflection LM is sent.

The same records give the same prompt in every process, and it never exceeds its limits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dspy_gepa.reflect.examples import Block, block_of, has_words, worded
from dspy_gepa.reflect.exchange import Prompt
from dspy_gepa.reflect.records import EvidenceRecord
from dspy_gepa.reflect.templates import DIAGNOSIS, NONE_YET, REMARKS, Template
from dspy_gepa.reflect.tokens import estimated_tokens
from dspy_gepa.values.words import (
    Marks,
    left_out,
    no_media,
    sendable,
    shortened,
    text_of,
)

__all__ = [
    "DEFAULT_LIMITS",
    "LEAST_CHARACTERS",
    "EvidenceLimits",
    "PromptContext",
    "Room",
    "TooLong",
    "headed",
    "references_in",
    "render",
    "section",
    "split_shared",
]

LEAST_CHARACTERS = 4_000
"""Of a prompt with our request and a few examples."""
_EXAMPLES_NEED = 400
"""Characters below which an example says nothing."""
_LEAST_ROOM = 2 * _EXAMPLES_NEED
_VALUE_LIMITS = (8_000, 5_600, 4_000, 2_800, 2_000, 1_400, 1_000, 700, 500, 350, 250)
"""Characters of one value, tried in turn until every failing record fits. Our choice: so close
together that most of the room is used."""
_LESSONS = "What came of earlier changes"
_ONLY_NUMBERS = (
    "Nobody said in words what was wrong. Compare the outputs of low scores with those of high "
    "ones, and with what the task asks for.\n\n"
)
_REMARKS = f"\n{REMARKS}\n\n"


@dataclass(frozen=True, slots=True)
class EvidenceLimits:
    """How much the reflection LM is shown of what happened."""

    prompt_characters: int = 48_000
    """Of the whole prompt. Our choice: about 12,000 tokens of English, which leaves a context of
    16,000 tokens room for the answer."""
    calls_per_record: int = 8
    """Calls of the component shown per rollout. Our choice: enough for most tool loops."""
    prompt_tokens: int | None = None
    """Of the whole prompt, media included; None if only characters count."""
    media: int = 8
    """Images and the like per prompt, those of failing examples first. Our choice: more dilute
    the request, and some servers take no more than ten."""
    tokens_per_medium: int = 1_600
    """What is set aside for each of them. Our choice: what the common vision models count at most
    for an image of ordinary size."""


DEFAULT_LIMITS = EvidenceLimits()


class Room:
    """What is learned of a model's room: the longest prompt that it may be sent."""

    def __init__(self) -> None:
        self.characters = 0
        """0 if no prompt was too long."""

    def narrow(self, characters: int) -> None:
        """No prompt may have more than so many characters; 0 says nothing."""
        if characters:
            most = max(LEAST_CHARACTERS, characters)
            self.characters = min(self.characters or most, most)

    def within(self, limits: EvidenceLimits) -> EvidenceLimits:
        """The limits, as narrow as the room."""
        most = min(limits.prompt_characters, self.characters or limits.prompt_characters)
        return replace(limits, prompt_characters=most)


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What is said about one component, beside the examples."""

    instruction: str
    """Its current text; never cut."""
    description: str = ""
    """What it is for, and its fields; takes a third of the room at most. Empty where its name and
    the examples say all."""
    lessons: Sequence[str] = ()
    """What came of earlier changes, a sentence each, the oldest first; a tenth of the room at
    most, in which the newest stay."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Title to a text to draw on; all together take a quarter of the room at most."""
    guidance: str = ""
    """The user's words on how to improve it; never cut."""
    limits: Sequence[str] = ()
    """What the new text has to keep to, a sentence each; never cut."""
    form: str = ""
    """The form of the answer; never cut."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """There is nothing to show, or no room for it beside what is never cut."""

    reason: str


def render(
    records: Sequence[EvidenceRecord],
    context: PromptContext,
    *,
    template: Template = DIAGNOSIS,
    limits: EvidenceLimits = DEFAULT_LIMITS,
    count_tokens: Callable[[str], int] = estimated_tokens,
    media_kind: Callable[[object], str] = no_media,
) -> Prompt | TooLong:
    """The prompt, within its limits of characters and tokens.

    A record is shown only if every one before it is shown, so a passing one only if every
    failing one is. Values are cut before a failing record is left out, and what is cut or left out
    has a mark. The media sent are those whose titles still stand in the text.

    Args:
        records: Failing ones first, as `records_of` gives them.
        context: What else is said about the component.
        template: The words around it all.
        limits: What the prompt must not exceed.
        count_tokens: Tokens of a text.
        media_kind: "image", "audio", "file" or "attachment"; "" for what is no medium.
    """
    page = _Page(context, template)
    in_words, media = _numbered(records, page, limits, media_kind)
    free = limits.prompt_characters - len(page.text())
    fixed_tokens = 0 if limits.prompt_tokens is None else count_tokens(page.text())
    while free >= _LEAST_ROOM:
        text = page.with_examples(in_words, free)
        shown = tuple(titled for titled in media if titled[0] in text)
        if limits.prompt_tokens is None:
            return Prompt(text, shown)
        room = limits.prompt_tokens - len(shown) * limits.tokens_per_medium
        tokens = count_tokens(text)
        if tokens <= room:
            return Prompt(text, shown)
        if free == _LEAST_ROOM:
            break
        share = max(0, room - fixed_tokens) / max(1, tokens - fixed_tokens)
        used = len(text) - len(page.text())
        # Never by less than a tenth, so that the search ends with any way of counting.
        free = max(_LEAST_ROOM, min(int(free * 0.9), int(used * share * 0.98)))
    return _too_long(page, limits)


@dataclass(frozen=True, slots=True)
class _Page:
    """A prompt without its examples."""

    context: PromptContext
    template: Template

    def text(self, **parts: str) -> str:
        """The prompt with these parts; without them, what is never cut."""
        context = self.context
        current = sendable(context.instruction) if context.instruction.strip() else NONE_YET
        limits = "\n".join(f"- {sendable(limit)}" for limit in context.limits)
        return self.template.filled(
            instruction=current,
            guidance=section("Words of the program's author", sendable(context.guidance.strip())),
            limits=section("Limits that the new instruction has to keep to", limits),
            form=context.form,
            **parts,
        )

    def with_examples(self, records: Sequence[EvidenceRecord], free: int) -> str:
        """The prompt with so many characters beside what is never cut."""
        context = self.context
        known = section("What is known about it", text_of(context.description.strip()))
        around = {
            "description": shortened(known, free // 3),
            "lessons": _lessons(context.lessons, free // 10),
            "references": references_in(context.references, free // 4),
        }
        room = free - (len(self.text(**around)) - len(self.text()))
        intro = "" if any(map(has_words, records)) or room < 4 * _EXAMPLES_NEED else _ONLY_NUMBERS
        apart = self.template.sets_feedback_apart
        examples, feedback = _examples(records, room - len(intro), sets_feedback_apart=apart)
        return self.text(**around, examples=intro + examples, feedback=feedback)


def _numbered(
    records: Sequence[EvidenceRecord],
    page: _Page,
    limits: EvidenceLimits,
    media_kind: Callable[[object], str],
) -> tuple[tuple[EvidenceRecord, ...], tuple[tuple[str, object], ...]]:
    """The records in words, and the media in them, with titles that no words of anybody are."""
    most = limits.media
    if limits.prompt_tokens is not None and limits.tokens_per_medium:
        # Half of the tokens stay for words.
        most = min(most, limits.prompt_tokens // 2 // limits.tokens_per_medium)
    for tries in itertools.count():
        marks = Marks(media_kind, most=most, prefix="attached " * tries)
        in_words = worded(records, marks)
        # Every text of the prompt stands in this, each title as often as it was written by anybody.
        if not marks.media or marks.are_unmistakable_in(repr((in_words, page))):
            return in_words, marks.media
    raise AssertionError  # pragma: no cover - texts end, prefixes do not


def _too_long(page: _Page, limits: EvidenceLimits) -> TooLong:
    """Why nothing fits, with the sizes."""
    context = page.context
    size = len(sendable(context.instruction))
    beside = len(context.guidance) + sum(map(len, context.limits))
    tokens = f" and {limits.prompt_tokens:,} tokens" if limits.prompt_tokens else ""
    more = f" and {beside:,} more of guidance and limits stand beside it," if beside else ""
    return TooLong(
        f"the current instruction has {size:,} characters,{more} which leaves no room for "
        f"examples in a prompt of at most {limits.prompt_characters:,} characters{tokens}"
    )


def section(heading: str, body: str) -> str:
    """A part with its heading and an empty line around it; empty without a body."""
    return f"\n# {heading}\n\n{body}\n" if body else ""


def _lessons(lessons: Sequence[str], room: int) -> str:
    """What came of earlier changes, the oldest left out where not all of them fit."""
    lines = [f"- {sendable(lesson)}" for lesson in lessons]
    while lines and len(section(_LESSONS, "\n".join(lines))) > room:
        lines.pop(0)
    return section(_LESSONS, "\n".join(lines))


def references_in(references: Mapping[str, str], room: int) -> str:
    """The named texts; empty if there are none."""
    title = "Texts to draw on"
    if not references:
        return ""
    share = max(0, room - len(section(title, "x"))) // len(references) - len("\n\n")
    blocks = [
        shortened(f"## {sendable(name)}\n\n{text_of(text.strip())}", max(0, share))
        for name, text in references.items()
    ]
    return section(title, "\n\n".join(filter(None, blocks)))


def _examples(
    records: Sequence[EvidenceRecord], room: int, *, sets_feedback_apart: bool
) -> tuple[str, str]:
    """The first of the records, as many as fit, each with as much detail as leaves room for all.

    And what was said about them, where that stands apart.
    """
    failing = sum(not (record.passed or record.is_contrast) for record in records)
    # One that went well stays too, if there is any.
    wanted = min(len(records), failing + 1)
    blocks: list[Block] = []
    for value_limit in (room, *_VALUE_LIMITS):
        blocks = [
            block_of(number, record, value_limit, sets_feedback_apart=sets_feedback_apart)
            for number, record in enumerate(records, start=1)
        ]
        if _fitting(blocks, room) >= wanted:
            return _joined(blocks, _fitting(blocks, room))
    least = room - 60 - len(_REMARKS)
    share = max(min(_EXAMPLES_NEED, least), least // wanted - 60)
    cut = [block.shortened(share) for block in blocks]
    return _joined(cut, _fitting(cut, room))


def _fitting(blocks: Sequence[Block], room: int) -> int:
    """How many of the blocks fit, from the first on."""
    counts = range(len(blocks), 0, -1)
    fits = (count for count in counts if sum(map(len, _joined(blocks, count))) <= room)
    return next(fits, 0)


def _joined(blocks: Sequence[Block], count: int) -> tuple[str, str]:
    """So many of the blocks, and what was said about them in the same order."""
    missing = len(blocks) - count
    marks = [left_out(missing, "examples")] if missing else []
    remarks = "\n".join(f"- {block.remark}" for block in blocks[:count] if block.remark)
    examples = "\n\n".join([*(block.text for block in blocks[:count]), *marks])
    return examples, f"{_REMARKS}{remarks}\n" if remarks else ""


def headed(texts: Mapping[str, str]) -> str:
    """Several texts, each under its name."""
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in texts.items())


def split_shared(descriptions: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The lines with which all of several descriptions begin, and what each says beyond them."""
    lines = {name: description.split("\n") for name, description in descriptions.items()}
    together = zip(*lines.values(), strict=False)
    alike = itertools.takewhile(lambda row: len(set(row)) == 1, together)
    shared = [row[0] for row in alike] if len(lines) > 1 else []
    own = {name: "\n".join(each[len(shared) :]) for name, each in lines.items()}
    return "\n".join(shared), own

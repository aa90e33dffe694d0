"""What the reflection LM is shown of an artifact: its text, what was said of it, what was tried."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import Evidence, Lesson, ReflectionRequest
from dspy_gepa.reflect.exchange import Prompt
from dspy_gepa.reflect.page import Asked
from dspy_gepa.reflect.prompt import TooLong, references_in, section
from dspy_gepa.reflect.templates import NONE_YET, Template
from dspy_gepa.reflect.tokens import estimated_tokens
from dspy_gepa.values.words import Marks, no_media, sendable, shortened, text_of

__all__ = ["FIRST", "IMPROVEMENT", "UNCHANGED_IF", "ArtifactPage"]

IMPROVEMENT = Template(
    """\
You improve a text that is evaluated by a program. It is used exactly as you write it, and a \
higher score is better.
{{guidance}}{{description}}
# The text as it is

{{instruction}}
{{references}}
# What came of it

{{examples}}
{{lessons}}{{limits}}
# Your task

1. Work out what the evaluation rewards and what holds the present text back: from what it said, \
line by line, and from how scores changed with earlier attempts. What failed is mended first.
2. Decide on one change that should gain most. Where several attempts of one kind gained nothing, \
take another way altogether. Nothing that was tried and did worse is tried again as it was.
3. Write the whole text, ready to be used, with all of the present one that works. Nothing of this \
page, of your reasons or of the evaluation's words stands in it.

{{form}}
"""
)
"""How we ask for a better artifact, with a diagnosis before it."""
FIRST = Template(
    """\
You write a text that will be evaluated by a program. It is used exactly as you write it, and a \
higher score is better.
{{guidance}}{{description}}
# The text as it is

{{instruction}}
{{references}}{{examples}}{{lessons}}{{limits}}
# Your task

Write a first text that does what is wanted, as simple as it can be and ready to be used. Nothing \
of this page stands in it.

{{form}}
"""
)
"""How we ask for the first artifact, where there is none to start from."""
UNCHANGED_IF = "nothing that you can think of would be better than the present text"

_SHOWN_FIRST = 3
"""Examples that are shown before there is a text."""
_LEAST = 400
"""Characters below which a part says nothing."""
_WHOLE = 1_200
"""Characters up to which a rejected text is shown whole; of a longer one, what it changed."""
_TRIED_SHARE, _REFERENCES_SHARE = 0.35, 0.25


@dataclass(frozen=True, slots=True)
class ArtifactPage:
    """Writes the prompt about an artifact, within its limits."""

    examples: Sequence[object]
    """An example's id is its position; None for the one problem of a single task."""
    learned: int | None = None
    """How many of them, from the first on, may be shown to whoever writes the first text."""
    count_tokens: Callable[[str], int] = estimated_tokens
    media_kind: Callable[[object], str] = no_media

    def __call__(self, asked: Asked) -> Prompt | TooLong:
        """The prompt, or why there is no room for it."""
        limits, room = asked.limits, asked.limits.prompt_characters
        while True:
            prompt = self._written(asked, room)
            if isinstance(prompt, TooLong) or limits.prompt_tokens is None:
                return prompt
            tokens = self.count_tokens(prompt.text) + limits.tokens_per_medium * len(prompt.media)
            if tokens <= limits.prompt_tokens:
                return prompt
            room = min(int(room * 0.9), int(len(prompt.text) * limits.prompt_tokens / tokens))

    def _written(self, asked: Asked, room: int) -> Prompt | TooLong:
        for tries in itertools.count():
            most, prefix = asked.limits.media, "attached " * tries
            marks = Marks(self.media_kind, most=most, prefix=prefix)
            text = self._text(asked, marks, room)
            if isinstance(text, TooLong):
                return text
            shown = tuple(titled for titled in marks.media if titled[0] in text)
            content = repr((asked.context, asked.request.evidence))
            if not any(title in content for title, _ in shown):
                return Prompt(text, shown)
        raise AssertionError  # pragma: no cover - texts end, prefixes do not

    def _text(self, asked: Asked, marks: Marks, room: int) -> str | TooLong:
        is_first = not asked.request.evidence
        context, fill = asked.context, (FIRST if is_first else asked.template).filled
        current = sendable(context.instruction) if context.instruction.strip() else NONE_YET
        limits = "\n".join(f"- {sendable(limit)}" for limit in context.limits)
        fixed = {
            "instruction": current,
            "guidance": section("What is wanted", sendable(context.guidance.strip())),
            "limits": section("What a new text has to keep to", limits),
            "form": context.form,
        }
        free = room - len(fill(**fixed, examples=""))
        if free < 2 * _LEAST:
            return TooLong(
                f"the current text has {len(current):,} characters, which leaves no room for what "
                f"came of it in a prompt of at most {room:,}"
            )
        references = references_in(context.references, int(free * _REFERENCES_SHARE))
        tried = _tried(asked.request, asked.components, int(free * _TRIED_SHARE))
        described = section("What is known about it", sendable(context.description.strip()))
        described = shortened(described, free // 4)
        free -= len(references) + len(tried) + len(described)
        return fill(
            **fixed,
            examples=self._first_examples(marks, free)
            if is_first
            else self._results(asked, marks, free),
            references=references,
            lessons=tried,
            description=described,
        )

    def _first_examples(self, marks: Marks, room: int) -> str:
        """What the first text will be evaluated on, where that is more than one task."""
        shown = [one for one in self.examples[: self.learned] if one is not None][:_SHOWN_FIRST]
        share = room // max(1, len(shown)) - 40
        examples_in_words = [shortened(text_of(example, marks), share) for example in shown]
        return section("Some of what it will be evaluated on", "\n\n".join(examples_in_words))

    def _results(self, asked: Asked, marks: Marks, room: int) -> str:
        """What came of the evaluations: the worst first, and after them what went better."""
        shown = sorted(asked.request.evidence, key=lambda each: each.rollout.score)
        parts = [self._result(each, asked.feedback, marks) for each in shown]
        contrasts = asked.request.contrasts
        parts += [self._result(each, {}, marks, is_contrast=True) for each in contrasts]
        share = room // max(1, len(parts)) - 2
        spare = sum(max(0, share - len(part)) for part in parts)
        longer = sum(len(part) > share for part in parts)
        share += spare // longer if longer else 0
        return "\n\n".join(shortened(part, share) for part in parts)

    def _result(
        self,
        evidence: Evidence,
        feedback: Mapping[str, Mapping[int, str]],
        marks: Marks,
        *,
        is_contrast: bool = False,
    ) -> str:
        rollout, example = evidence.rollout, self.examples[evidence.example]
        lines = [_outcome(rollout)]
        if example is not None:
            lines[0] = f"## On the example below: {lines[0]}"
            lines.append(f"Example:\n{text_of(example, marks)}")
        if is_contrast:
            lines[0] += " (better than others)"
        lines += _said(rollout, marks)
        about = [
            f"About {name}:\n{text_of(remark[evidence.example])}"
            for name, remark in feedback.items()
            if evidence.example in remark
        ]
        return "\n\n".join([*lines, *about])


def _tried(request: ReflectionRequest, components: Sequence[str], room: int) -> str:
    """What came of earlier attempts, the newest in most detail; those that fit."""
    title = "What was tried before"
    free, lines = room - len(title) - 8, list[str]()
    for lesson in reversed(request.lessons):
        text = _attempt(request, components, lesson)
        if len(text) + 2 > free and not lines:
            text = shortened(text, max(0, free - 2))
        if not text or len(text) + 2 > free:
            break
        lines.append(text)
        free -= len(text) + 2
    return section(title, "\n\n".join(reversed(lines)))


def _attempt(request: ReflectionRequest, components: Sequence[str], lesson: Lesson) -> str:
    words = f": {lesson.words}" if lesson.words else ""
    if lesson.candidate is None:
        # On the way to the present text.
        reached = [_outcome(each.rollout) for each in lesson.evidence[:1]]
        return ", ".join([f"Change {lesson.ticket}, on the way to this text", *reached]) + words
    lines = [f"Change {lesson.ticket} of this text, not part of it{words}"]
    for name in components:
        old, new = request.candidate[name], lesson.candidate[name]
        if old != new:
            lines.append(_changed(name if len(components) > 1 else "", old, new))
    lines += [
        f"What came of it: {_outcome(each.rollout)}\n" + "\n".join(_said(each.rollout, Marks()))
        for each in lesson.evidence[:1]
    ]
    return "\n".join(lines)


def _outcome(rollout: Rollout) -> str:
    """The score in words."""
    outcome = "failed, so that there is no score" if rollout.failure else f"score {rollout.score:g}"
    if rollout.objectives:
        named = (f"{text_of(name)} {value:.6g}" for name, value in rollout.objectives.items())
        outcome += f" ({', '.join(named)})"
    return outcome


def _said(rollout: Rollout, marks: Marks) -> list[str]:
    """Everything that an evaluation said beside its score."""
    lines = [f"Failure: {text_of(rollout.failure.strip())}"] if rollout.failure else []
    if rollout.feedback.strip():
        lines.append(text_of(rollout.feedback.strip()))
    for name, value in rollout.attachments.items():
        lines.append(f"{text_of(name)}: {text_of(value, marks)}")
    return lines


def _changed(name: str, old: str, new: str) -> str:
    """A rejected text, or what it changed where it is long."""
    whose = f" of {name}" if name else ""
    if len(new) <= _WHOLE:
        return f"The text{whose}:\n{sendable(new)}"
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    return f"What it changed{whose}:\n" + sendable("\n".join(list(lines)[2:]))

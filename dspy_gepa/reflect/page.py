"""Who writes a prompt in place of our own, which is about programs, and from what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dspy_gepa.core.work import Lesson, ReflectionRequest
from dspy_gepa.reflect.exchange import Prompt
from dspy_gepa.reflect.prompt import EvidenceLimits, PromptContext, TooLong
from dspy_gepa.reflect.templates import Template

__all__ = ["NO_FAULT", "Asked", "Page", "lesson_in_words"]

NO_FAULT = (
    "no instruction is at fault, or none can help because the program, the data or the remarks are "
    "at fault"
)
"""When nothing is to be changed of a program."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prompt is made from."""

    request: ReflectionRequest
    components: tuple[str, ...]
    """Which of them are asked about."""
    context: PromptContext
    feedback: Mapping[str, Mapping[int, str]]
    """By component and example, what was said about that component alone."""
    template: Template
    limits: EvidenceLimits


Page: TypeAlias = "Callable[[Asked], Prompt | TooLong]"
"""Writes a prompt, or says why there is no room for it."""


def lesson_in_words(lesson: Lesson) -> str:
    """What an earlier change tried, and what came of it."""
    words = f'"{lesson.words}". ' if lesson.words else ""
    outcome = "Kept" if lesson.is_kept else "Dropped"
    measured = (
        f": of {lesson.examples} examples {lesson.gained} came out better, {lesson.lost} worse"
        if lesson.examples
        else ""
    )
    return f"Change {lesson.ticket} of {', '.join(lesson.components)}: {words}{outcome}{measured}."

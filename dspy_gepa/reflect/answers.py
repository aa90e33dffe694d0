"""Several questions that are asked at once, and their answers as one."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from dspy_gepa.core.work import (
    Exchange,
    Fault,
    ReflectionAnswer,
    ReflectionRequest,
    faults_in_words,
)
from dspy_gepa.reflect.exchange import Reply

__all__ = ["NO_TEXT_IN_REPLY", "added", "final", "joined", "recorded", "same", "side_by_side"]

_Result = TypeVar("_Result")

NO_TEXT_IN_REPLY = "the reply could not be used"
"""Stands in a problem where the reflection LM is at fault, and neither a rule nor the evidence."""


def joined(request: ReflectionRequest, answers: Sequence[ReflectionAnswer]) -> ReflectionAnswer:
    """All that several answers say, as one."""

    def words(name: str) -> str:
        return "\n\n".join(filter(None, (getattr(answer, name) for answer in answers)))

    return ReflectionAnswer(
        request.ticket,
        {name: text for answer in answers for name, text in answer.texts.items()},
        "; ".join(answer.problem for answer in answers if answer.problem),
        metric_calls=sum(answer.metric_calls for answer in answers),
        lm_calls=sum(answer.lm_calls for answer in answers),
        diagnosis=words("diagnosis"),
        lesson=words("lesson"),
        is_unchanged=all(answer.is_unchanged for answer in answers),
        faults=tuple(fault for answer in answers for fault in answer.faults),
        repairs=tuple(repair for answer in answers for repair in answer.repairs),
        is_repair=bool(request.repairs),
        room=min(filter(None, (answer.room for answer in answers)), default=0),
        exchanges=tuple(exchange for answer in answers for exchange in answer.exchanges),
        # One of the questions at most is about several components.
        naming=sum(answer.naming for answer in answers),
    )


def recorded(
    answer: ReflectionAnswer,
    components: tuple[str, ...],
    prompt: str,
    reply: Reply,
) -> ReflectionAnswer:
    """The answer, with what was asked and replied, and why something of it cannot be used."""
    faults = [*answer.faults, *(fault for each in answer.repairs for fault in each.faults)]
    exchange = Exchange(
        components,
        prompt,
        reply.text,
        faults_in_words(faults),
        is_cut_off=bool(reply.is_truncated),
        seconds=reply.seconds,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
    )
    return replace(answer, exchanges=(exchange,))


def side_by_side(calls: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """What the calls return, in their order; they run at once, in the context of the caller."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(len(calls) or 1) as threads:
        running = [threads.submit(contextvars.copy_context().run, call) for call in calls]
        return [each.result() for each in running]


def added(current: str, lines: str) -> str:
    """The current text with more lines; as it is where they say nothing more."""
    if lines.strip() in current:
        return current
    # Some models repeat the text that they were to add to.
    repeats = lines.strip().startswith(current.strip())
    return lines if repeats else f"{current.rstrip()}\n\n{lines.strip()}"


def same(components: tuple[str, ...]) -> Fault:
    """That a reply repeats the text of the one component that it is about."""
    return Fault(components, "it repeats the current text")


def final(fault: Fault) -> Fault:
    """The fault in a reply of which nobody is asked any more."""
    is_refused = "refused" in fault.reason
    return fault if is_refused else replace(fault, reason=f"{NO_TEXT_IN_REPLY}: {fault.reason}")

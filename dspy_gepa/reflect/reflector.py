"""Carries out a reflection request: shows the LM the evidence and reads what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest
from dspy_gepa.reflect.parse import Unreadable, read_text
from dspy_gepa.reflect.prompt import DEFAULT_LIMITS, Limits, TooLong, render
from dspy_gepa.reflect.records import records_of
from dspy_gepa.reflect.templates import DEFAULT_TEMPLATE, Template, repair_note

__all__ = ["Reflector"]

# Small models often repeat the current text. To ask again costs one call, most of whose prompt a
# server has in its cache; to give up costs a proposal.
_UNCHANGED = (
    "it repeats the current instruction word for word, with which the examples went wrong, so the "
    "new one has to say what the feedback teaches"
)


class _Rewriting(NamedTuple):
    """What became of one component."""

    text: str = ""
    problem: str = ""
    """Why there is no text; empty where there is one."""
    lm_calls: int = 0


@dataclass(frozen=True, slots=True)
class Reflector:
    """Writes new texts for the components of a request, one component at a time."""

    ask: Callable[[str], str]
    """Sends a prompt to the reflection LM and returns its reply."""
    template: Template = DEFAULT_TEMPLATE
    limits: Limits = DEFAULT_LIMITS
    perfect_score: float | None = 1.0
    """The score of an example that is right; None where no score says so."""
    shows_unparsed: bool = True
    """Whether replies that could not be parsed are part of the evidence."""

    def __call__(
        self,
        request: ReflectionRequest,
        descriptions: Mapping[str, str],
        feedback: Mapping[str, Mapping[int, str]],
    ) -> ReflectionAnswer:
        """The texts that could be written, and for the other components why not.

        `lm_calls` counts every call of `ask`: one per component, and one more where the first
        reply could not be read or changed nothing. What `ask` raises is passed on.

        Args:
            request: What to rewrite, and the evidence.
            descriptions: Component to what it is for and its fields, in words.
            feedback: Component to example id to feedback on that component alone, where it
                replaces the feedback on the whole rollout.
        """
        done = {
            component: self._rewrite(
                request,
                component,
                description=descriptions.get(component, ""),
                feedback=feedback.get(component, {}),
            )
            for component in request.components
        }
        return ReflectionAnswer(
            ticket=request.ticket,
            texts={component: one.text for component, one in done.items() if not one.problem},
            problem="; ".join(
                f"{component}: {one.problem}" for component, one in done.items() if one.problem
            ),
            lm_calls=sum(one.lm_calls for one in done.values()),
        )

    def _rewrite(
        self,
        request: ReflectionRequest,
        component: str,
        *,
        description: str,
        feedback: Mapping[int, str],
    ) -> _Rewriting:
        current = request.candidate[component]
        records = records_of(
            request,
            component,
            feedback=feedback,
            perfect_score=self.perfect_score,
            calls_per_record=self.limits.calls_per_record,
            shows_unparsed=self.shows_unparsed,
        )
        if not records:
            return _Rewriting(problem="no rollout of the evidence called it")
        attempts = [
            (attempt.candidate[component], attempt.reason)
            for attempt in request.attempts
            if attempt.candidate[component] != current
        ]
        problem = note = ""
        for calls in (1, 2):
            prompt = render(
                records,
                instruction=current,
                description=description,
                attempts=attempts,
                template=self.template,
                limit=self.limits.prompt_characters - len(note),
            )
            if isinstance(prompt, TooLong):
                return _Rewriting(problem=problem or prompt.reason, lm_calls=calls - 1)
            found = read_text(self.ask(prompt + note), current=current)
            if isinstance(found, Unreadable):
                problem = f"the reply could not be used: {found.reason}"
                note = repair_note(found.reason)
                continue
            # White space around a text is no change, and must not make a new candidate.
            if found.strip() != current.strip():
                return _Rewriting(text=found, lm_calls=calls)
            if calls == 2:
                return _Rewriting(text=current, lm_calls=calls)
            note = repair_note(_UNCHANGED)
        return _Rewriting(problem=problem, lm_calls=2)

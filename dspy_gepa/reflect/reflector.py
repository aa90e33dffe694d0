"""Carries out a reflection request: shows the LM the evidence and reads what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest
from dspy_gepa.errors import WrongType
from dspy_gepa.reflect.exchange import Prompt, Reply
from dspy_gepa.reflect.parse import Unreadable, read_text
from dspy_gepa.reflect.prompt import DEFAULT_LIMITS, Brief, Limits, TooLong, render
from dspy_gepa.reflect.records import Record, records_of
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.reflect.templates import DEFAULT_TEMPLATE, Template, repair_note
from dspy_gepa.reflect.tokens import estimated_tokens
from dspy_gepa.reflect.values import no_media

__all__ = ["NO_TEXT_IN_REPLY", "Reflector"]

NO_TEXT_IN_REPLY = "the reply could not be used"
"""Stands in a problem where the reflection LM is at fault, and neither a rule nor the evidence."""

_SAME = Unreadable("it repeats the current text")


class _Rewriting(NamedTuple):
    """What became of one component."""

    text: str = ""
    problem: str = ""
    """Why there is no text; empty where there is one."""
    lm_calls: int = 0


@dataclass(frozen=True, slots=True)
class Reflector:
    """Writes new texts for the components of a request, one component at a time."""

    ask: Callable[[Prompt], Reply]
    """Sends a prompt to the reflection LM and returns its reply."""
    template: Template = DEFAULT_TEMPLATE
    adds: bool = False
    """Whether what the LM writes is added to the current text, and does not replace it."""
    limits: Limits = DEFAULT_LIMITS
    perfect_score: float | None = 1.0
    """The score of an example that is right; None where no score says so."""
    shows_unparsed: bool = True
    """Whether replies that could not be parsed are part of the evidence."""
    templates: Mapping[str, Template] = field(default_factory=dict)
    """Component to its own template, in place of the common one."""
    rules: Rules = field(default_factory=Rules)
    """What every new text has to keep to."""
    guidance: str = ""
    """The user's words on how to improve the texts."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Title to a text to draw on: a skill, a reference file."""
    count_tokens: Callable[[str], int] = estimated_tokens
    """As the reflection LM counts, where that is known."""
    media_kind: Callable[[object], str] = no_media
    """"image", "audio", "file" or "attachment" for values that are shown beside the text; "" for
    all others."""

    def __post_init__(self) -> None:
        for name, kind in (("template", Template), ("limits", Limits), ("rules", Rules)):
            if not isinstance(getattr(self, name), kind):
                raise WrongType(f"{name} is {getattr(self, name)!r:.200}; give a {kind.__name__}.")

    def __call__(
        self,
        request: ReflectionRequest,
        descriptions: Mapping[str, str],
        feedback: Mapping[str, Mapping[int, str]],
    ) -> ReflectionAnswer:
        """The texts that could be written, and for the other components why not.

        `lm_calls` counts every call of `ask`: one per component, and one more where the first
        reply could not be read or changed nothing. In the first case the second prompt says what
        was wrong. In the second it leaves the current text out, and what comes is added to that.
        Our choice, measured with a model of 1.5 billion parameters: one that repeats the text it
        sees repeats it again, whatever it is told. What `ask` raises is passed on.

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
        """The new text of one component, after one call or two, or why there is none."""
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
        template = self.templates.get(component, self.template)
        found: str | Unreadable = ""
        for calls in (1, 2):
            in_sight = found != _SAME
            adds = self.adds or not in_sight
            brief = self._brief(request, component, description, in_sight=in_sight, adds=adds)
            note = ""
            if isinstance(found, Unreadable) and in_sight:
                note = repair_note(found.reason, adds=adds)
            prompt = self._prompt(template, records, brief, note)
            if isinstance(prompt, TooLong):
                return _Rewriting(problem=_problem(found) or prompt.reason, lm_calls=calls - 1)
            found = self._answer(prompt, component, current, adds=adds)
            if isinstance(found, str):
                return _Rewriting(text=found, lm_calls=calls)
        if found == _SAME:
            return _Rewriting(text=current, lm_calls=2)
        return _Rewriting(problem=_problem(found), lm_calls=2)

    def _brief(
        self,
        request: ReflectionRequest,
        component: str,
        description: str,
        *,
        in_sight: bool,
        adds: bool,
    ) -> Brief:
        """What is said of the component, with its current text and what was tried or without."""
        current = request.candidate[component]
        tried = [(attempt.candidate[component], attempt.reason) for attempt in request.attempts]
        return Brief(
            instruction=current if in_sight else "",
            description=description,
            attempts=[one for one in tried if one[0] != current] if in_sight else [],
            references=self.references,
            guidance=self.guidance,
            limits=self.rules.told(component, current, adds=adds),
        )

    def _prompt(
        self, template: Template, records: Sequence[Record], brief: Brief, note: str
    ) -> Prompt | TooLong:
        return render(
            records,
            brief,
            template=template,
            limits=self.limits,
            count_tokens=self.count_tokens,
            media_kind=self.media_kind,
            note=note,
        )

    def _answer(
        self, prompt: Prompt, component: str, current: str, *, adds: bool
    ) -> str | Unreadable:
        """A new text that can be used, or why the reply holds none."""
        found = read_text(self.ask(prompt), current=current)
        if isinstance(found, Unreadable):
            return found
        if adds:
            found = _added(current, found)
        for title, _ in prompt.media:
            if title in found and title not in current:
                # Not the title itself: in a repair it would look like one.
                return Unreadable(f"it speaks of {title[1:-1]}, which nobody will see with it")
        judged = self.rules.judged(component, current, found)
        if judged.reason:
            return Unreadable(judged.reason, is_refused=True)
        return _SAME if judged.text == current else judged.text


def _added(current: str, lines: str) -> str:
    """The current text with more lines; as it is where they say nothing more."""
    if lines.strip() in current:
        return current
    # Some models repeat the text that they were to add to.
    repeats = lines.strip().startswith(current.strip())
    return lines if repeats else f"{current.rstrip()}\n\n{lines.strip()}"


def _problem(found: str | Unreadable) -> str:
    if isinstance(found, str):
        return ""
    what = "the new text was refused" if found.is_refused else NO_TEXT_IN_REPLY
    return f"{what}: {found.reason}"

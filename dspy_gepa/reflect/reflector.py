"""Carries out a reflection request: shows the LM the evidence and reads what it answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from dspy_gepa.core.work import Fault, ReflectionAnswer, ReflectionRequest, Repair
from dspy_gepa.reflect.answers import added, final, joined, recorded, same, side_by_side
from dspy_gepa.reflect.exchange import Prompt, PromptTooLong, Reply
from dspy_gepa.reflect.form import Form
from dspy_gepa.reflect.page import NO_FAULT, Asked, Page, lesson_in_words
from dspy_gepa.reflect.prompt import (
    DEFAULT_LIMITS,
    EvidenceLimits,
    PromptContext,
    Room,
    TooLong,
    headed,
    render,
    split_shared,
)
from dspy_gepa.reflect.records import records_of
from dspy_gepa.reflect.reply import Reading, Unmarked, read_reply
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.reflect.templates import ADDITION, DIAGNOSIS, REPAIR, Template
from dspy_gepa.reflect.tokens import estimated_tokens
from dspy_gepa.values.words import no_media, sendable, shortened

__all__ = ["Reflector"]

_CONTRASTS = 3
"""Rollouts that went well and are shown beside the minibatch. Our choice: as many as failures that
a small minibatch holds."""
_EDITS_FROM = 2_000
"""Characters of a text from which on edits are offered. Our choice: of one that is shorter the
whole is soon written, and every model can do that."""


@dataclass(frozen=True, slots=True)
class Reflector:
    """Writes new texts for the components of a request.

    If `is_joint`, one question is about all components but those with a template of their own, each
    of which is asked about alone, as all are otherwise. Questions are asked side by side.
    """

    ask: Callable[[Prompt], Reply]
    """Sends a prompt to the reflection LM and returns its reply."""
    template: Template = DIAGNOSIS
    is_joint: bool = True
    """Whether the template asks about all components at once, with a diagnosis first; otherwise
    about one."""
    counts_calls: bool = False
    """Whether calls are limited: if each component would be asked about alone, one is, in turn."""
    adds: bool = False
    """Whether what the LM writes is added to the current text, and does not replace it."""
    limits: EvidenceLimits = DEFAULT_LIMITS
    perfect_score: float | None = 1.0
    """The score of an example that is right; None if no score says so."""
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
    """The kind of a value that is shown beside the text, or "": see `models.media.media_kind`."""
    room: Room = field(default_factory=Room)
    """How much the reflection LM turned out to be able to read."""
    page: Page | None = None
    """Writes the prompt about what is no program; None for our own, about programs."""
    unmarked: Unmarked | None = None
    """Reads replies without our marks, where texts may be anything; None where they are words."""
    unchanged_if: str = NO_FAULT
    """When the reflection LM may answer that nothing is to be changed."""

    def __call__(
        self,
        request: ReflectionRequest,
        descriptions: Mapping[str, str],
        feedback: Mapping[str, Mapping[int, str]],
    ) -> ReflectionAnswer:
        """The texts that could be written, and for the other components why not.

        Of a reply that cannot be used as it is, the answer's `repairs` say what is wrong; the same
        request with these repairs asks about it once more. `lm_calls` counts every call of `ask`.
        What `ask` raises is passed on.

        Args:
            request: What to rewrite, and the evidence.
            descriptions: Component to what it is for and its fields, in words.
            feedback: Component to example id to feedback on that component alone, where it
                replaces the feedback on the whole rollout.
        """
        self.room.narrow(request.room)
        question = _Question(self, request, request.components, descriptions, feedback)
        calls: list[Callable[[], ReflectionAnswer]]
        if request.repairs:
            calls = [
                partial(question.about(repair.components).repaired, repair)
                for repair in request.repairs
            ]
        else:
            alone = self.templates if self.is_joint else request.components
            together = tuple(name for name in request.components if name not in alone)
            joint = question.about(together)
            groups = joint.parts if request.asks_apart and together else [together] * bool(together)
            groups += [(name,) for name in request.components if name in alone]
            calls = [question.about(group).asked for group in groups]
        return joined(request, side_by_side(calls))


@dataclass(frozen=True, slots=True)
class _Question:
    """What one prompt asks about."""

    how: Reflector
    request: ReflectionRequest
    components: tuple[str, ...]
    descriptions: Mapping[str, str]
    feedback: Mapping[str, Mapping[int, str]]
    is_in_sight: bool = True
    """Whether the current texts are shown."""

    def about(self, components: tuple[str, ...]) -> _Question:
        """The same about other components."""
        return replace(self, components=components)

    @property
    def current(self) -> dict[str, str]:
        return {name: self.request.candidate[name] for name in self.components}

    @property
    def template(self) -> Template:
        return self.how.templates.get(self.components[0], self.how.template)

    @property
    def is_diagnosis(self) -> bool:
        return self.how.is_joint and self.components[0] not in self.how.templates

    @property
    def parts(self) -> list[tuple[str, ...]]:
        """What is asked about apart: each component, or one of them, in turn, if calls count."""
        one = self.components[self.request.ticket % len(self.components)]
        return [(one,)] if self.how.counts_calls else [(name,) for name in self.components]

    def repaired(self, repair: Repair) -> ReflectionAnswer:
        """What is answered to the question about a reply that could not be used."""
        if repair.is_apart:
            return self.asked(is_last=True)
        if repair.faults == (same(self.components),):
            # A model that repeats the text that it sees repeats it again, whatever it is told
            # (measured with 1.5 billion parameters): it is asked for an addition, without it.
            how = replace(self.how, template=ADDITION, templates={}, is_joint=False, adds=True)
            return replace(self, how=how, descriptions={}, is_in_sight=False).asked(is_last=True)
        _, form = self._prompt()
        current = headed({name: sendable(text) for name, text in self.current.items()})
        prompt = REPAIR.format(
            problems="\n".join(f"- {self._named(fault)}" for fault in repair.faults),
            reply=shortened(sendable(repair.reply), self.how.limits.prompt_characters // 2),
            current=current,
            no_change=form.no_change,
            form=form.answer(self.components, adds=self.how.adds, edits=self._offers_edits),
        )
        reply = self.how.ask(Prompt(prompt))
        reading = self.read(reply, form, in_any_form=True)
        answer = self.answer(reply, reading, is_last=True, about=repair)
        answer = recorded(answer, self.components, prompt, reply)
        if not all(self._is_nameless(each, form) for each in (repair.reply, reply.text)):
            return answer
        calls = [partial(self.about(one).asked, is_last=True) for one in self.parts]
        apart = joined(self.request, side_by_side(calls))
        exchanges = (*answer.exchanges, *apart.exchanges)
        return replace(apart, lm_calls=apart.lm_calls + 1, naming=-1, exchanges=exchanges)

    def context(self, form: Form) -> PromptContext:
        """What is said of the components."""
        how, current, descriptions = self.how, self.current, self.descriptions
        limits: list[str] = []
        for name, text in current.items():
            requirements = how.rules.told(name, text, adds=how.adds)
            whose = f"{name}: " if len(current) > 1 else ""
            limits += [one if one in how.rules.constraints else whose + one for one in requirements]
        described = {name: descriptions[name] for name in current if descriptions.get(name)}
        if len(current) == 1:
            instruction, description = "".join(current.values()), "".join(described.values())
        else:
            instruction = headed(current)
            shared, described = split_shared(described)
            description = "\n\n".join(filter(None, [shared, headed(described)]))
        return PromptContext(
            instruction=instruction if self.is_in_sight else "",
            description=description,
            lessons=[lesson_in_words(lesson) for lesson in self.request.lessons],
            references=how.references,
            guidance=how.guidance,
            limits=list(dict.fromkeys(limits)),
            form=self._form_of_answer(form),
        )

    @property
    def _offers_edits(self) -> bool:
        return not self.how.adds and max(map(len, self.current.values())) >= _EDITS_FROM

    def _form_of_answer(self, form: Form) -> str:
        if not self.is_diagnosis:
            return form.answer(self.components, adds=self.how.adds, edits=self._offers_edits)
        return form.diagnosed(
            self.components, edits=self._offers_edits, unchanged_if=self.how.unchanged_if
        )

    def asked(self, *, is_last: bool = False) -> ReflectionAnswer:
        """What is answered to the evidence, in a prompt which the model is able to read.

        A text in any form is taken if nobody asks again, and if nobody asked for ours.
        """
        prompt, form = self._prompt()
        calls = 0
        while not isinstance(prompt, TooLong):
            calls += 1
            try:
                reply = self.how.ask(prompt)
            except PromptTooLong:
                # It is not known beforehand how much the model can read: half as much is asked, in
                # place of a repair, and in all that follows.
                self.how.room.narrow(len(prompt.text) // 2)
                prompt, form = self._prompt()
                if calls == 2:
                    raise
            else:
                in_any_form = is_last or not self.template.shows_form
                reading = self.read(reply, form, prompt.media, in_any_form=in_any_form)
                answer = self.answer(reply, reading, is_last=is_last or calls == 2)
                if answer.repairs and self.how.counts_calls and self._is_nameless(reply.text, form):
                    # One more call gives a text more surely than the name of one.
                    apart = [replace(answer.repairs[0], components=one) for one in self.parts]
                    answer = replace(answer, repairs=tuple(apart), naming=-1)
                answer = recorded(answer, self.components, prompt.text, reply)
                return replace(answer, lm_calls=calls, room=self.how.room.characters)
        return ReflectionAnswer(
            self.request.ticket, faults=(Fault(self.components, prompt.reason),), lm_calls=calls
        )

    def _is_nameless(self, reply: str, form: Form) -> bool:
        """Whether it does not say of which of several components its one text is.

        Some models write one text, whatever they are asked.
        """
        if len(self.components) == 1 or read_reply(reply, self.current, form).texts:
            return False
        alone = self.about(self.components[:1])
        return bool(read_reply(reply, alone.current, form, in_any_form=True).texts)

    def _prompt(self) -> tuple[Prompt | TooLong, Form]:
        """The prompt, and the form in it: its marks stand nowhere else in the prompt."""
        how, limits = self.how, self.how.room.within(self.how.limits)
        records = records_of(
            self.request,
            self.components,
            feedback=self.feedback,
            perfect_score=how.perfect_score,
            calls_per_record=limits.calls_per_record,
            shows_unparsed=how.shows_unparsed,
            contrasts=_CONTRASTS if self.is_diagnosis else 0,
        )
        for form in map(Form, itertools.count(1)):
            context = self.context(form)
            if not records and how.page is None:
                return TooLong("no rollout of the evidence called it"), form
            if how.page is not None:
                asked = (self.components, context, self.feedback, self.template, limits)
                prompt = how.page(Asked(self.request, *asked))
            else:
                prompt = render(
                    records,
                    context,
                    template=self.template,
                    limits=limits,
                    count_tokens=how.count_tokens,
                    media_kind=how.media_kind,
                )
            if isinstance(prompt, TooLong) or form.marks_in(prompt.text) <= form.marks_in(
                context.form
            ):
                return prompt, form
        raise AssertionError  # pragma: no cover - texts end, numbers do not

    def read(
        self,
        reply: Reply,
        form: Form,
        media: Sequence[tuple[str, object]] = (),
        *,
        in_any_form: bool = False,
    ) -> Reading:
        """The texts that can be used, and why others cannot."""
        reading = read_reply(
            reply.text,
            self.current,
            form,
            is_truncated=bool(reply.is_truncated),
            in_any_form=in_any_form,
            unmarked=self.how.unmarked,
        )
        texts: dict[str, str] = {}
        problems = dict(reading.problems)
        for name, text in reading.texts.items():
            old = self.current[name]
            new = added(old, text) if self.how.adds else text
            unseen = [title for title, _ in media if title in new and title not in old]
            judged = self.how.rules.judged(name, old, new)
            if unseen:
                # Not the title itself: in a repair it would look like one.
                problems[name] = f"it speaks of {unseen[0][1:-1]}, which nobody will see with it"
            elif judged.reason:
                problems[name] = f"the new text was refused: {judged.reason}"
            else:
                texts[name] = judged.text
        return replace(reading, texts=texts, problems=problems)

    def answer(
        self,
        reply: Reply,
        reading: Reading,
        *,
        is_last: bool = False,
        about: Repair | None = None,
    ) -> ReflectionAnswer:
        """The texts that can be used, and what there is to be repaired of a reply, if anything.

        After the last one, or the one about a repair, nobody is asked once more.
        """
        reflection = ReflectionAnswer(
            self.request.ticket,
            reading.texts,
            lm_calls=1,
            diagnosis=reading.diagnosis,
            lesson=reading.lesson,
            is_unchanged=reading.is_unchanged,
            is_repair=bool(self.request.repairs),
            naming=int(len(self.components) > 1 and bool(reading.texts)),
        )
        told_of = {name for fault in about.faults for name in fault.components} if about else ()
        asked = [name for name in self.components if name in told_of]
        answered = {*reading.texts, *reading.problems}
        missing = [name for name in asked or self.components if name not in answered]
        faults = [
            Fault((name,) if name else tuple(missing), why)
            for name, why in reading.problems.items()
        ]
        if is_last:
            return replace(reflection, faults=tuple(map(final, faults)))
        is_same = reading.texts and reading.texts == self.current
        if not faults and is_same and not self.is_diagnosis:
            faults, reflection = [same(self.components)], replace(reflection, texts={})
        repair = Repair(self.components, reply.text, tuple(faults))
        return replace(reflection, repairs=(repair,) if faults else ())

    def _named(self, fault: Fault) -> str:
        """Why something cannot be used, with whose it is where that is not clear."""
        is_of_one = len(self.components) > len(fault.components) == 1
        return f"{fault.components[0]}: {fault.reason}" if is_of_one else fault.reason

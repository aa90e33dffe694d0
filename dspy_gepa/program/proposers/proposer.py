"""A user's own `instruction_proposer`, called the way in which dspy.GEPA calls it.

It is shown DSPy's reflective dataset with a record for every call, and is trusted with nothing:
what it returns is checked here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any, TypeAlias

import dspy
from dspy.teleprompt.gepa import instruction_proposal
from dspy.teleprompt.gepa.instruction_proposal import MultiModalInstructionProposer
from dspy.utils.callback import BaseCallback

from dspy_gepa.core.rollout import Step
from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest
from dspy_gepa.errors import WrongType
from dspy_gepa.models.asking import language_model
from dspy_gepa.models.media import revived, spoken
from dspy_gepa.reflect.answers import side_by_side
from dspy_gepa.reflect.records import EvidenceRecord, records_of
from dspy_gepa.values.media import without_base64

__all__ = [
    "CallCounter",
    "CustomProposer",
    "ReflectiveDataset",
    "check_keywords",
    "checked_texts",
    "signature_of",
]

ReflectiveDataset: TypeAlias = "dict[str, list[dict[str, Any]]]"
"""Component to records, each with the keys "Inputs", "Generated Outputs" and "Feedback", and with
"Attachments" where the metric attached something."""

_BY_KEYWORD = ("candidate", "reflective_dataset", "components_to_update")
"""What dspy.GEPA passes to a proposer."""
_OUR_OWN = ("request", "descriptions", "feedback")
"""What the worker passes to a reflection."""
_TAKES_OBJECTS = getattr(instruction_proposal, "InstructionProposer", ())
"""The proposer that renders values itself; before DSPy 3.4.1 there was none."""


class CustomProposer:
    """A reflection that asks a user's proposer for new texts.

    The proposer is called as `proposer(candidate=..., reflective_dataset=...,
    components_to_update=...)` and returns component to text. One whose first parameters are named
    `request, descriptions, feedback` is a reflection itself and gets those instead. Either way
    `dspy.settings.lm` is the reflection LM meanwhile, and nothing lands in the caller's trace.
    Where several proposals are under way at once, it is called from several threads.

    Args:
        proposer: A function or any other object that can be called in one of these ways.
        student: The program that is improved; its signatures say how replies must look.
        lm: The reflection LM; None stands for the one that DSPy has configured during the call.
        shows_unparsed: Whether rollouts count in which a reply could not be parsed.

    Raises:
        WrongType: it cannot be called so, or `lm` is given and is no model.
    """

    def __init__(
        self,
        proposer: Callable[..., object],
        student: dspy.Module,
        *,
        lm: object = None,
        shows_unparsed: bool = True,
    ) -> None:
        self._proposer = proposer
        self._is_reflection = _is_reflection(proposer)
        self._signatures = {name: each.signature for name, each in student.named_predictors()}
        self._lm = None if lm is None else language_model(lm)
        self._shows_unparsed = shows_unparsed
        # Others are written for texts.
        self._takes_objects = isinstance(proposer, _TAKES_OBJECTS)
        self._takes_nested_media = isinstance(proposer, MultiModalInstructionProposer)

    def __call__(
        self,
        request: ReflectionRequest,
        descriptions: Mapping[str, str],
        feedback: Mapping[str, Mapping[int, str]],
    ) -> ReflectionAnswer:
        """The texts that can be used, and for the other components why not.

        `lm_calls` counts the calls of DSPy models that the proposer made; a model that is a plain
        function is not seen. What the proposer raises is passed on.

        Args:
            request: What to rewrite, and the evidence.
            descriptions: Passed on to a proposer that is a reflection itself.
            feedback: Component to example id to feedback on that component alone, where it
                replaces the feedback on the whole rollout.
        """
        counter = CallCounter()
        lm = dspy.settings.lm if self._lm is None else self._lm
        callbacks = [*dspy.settings.callbacks, counter]
        with dspy.context(lm=lm, trace=[], callbacks=callbacks):
            if self._is_reflection:
                said = self._proposer(request, descriptions, feedback)
                return _as_answer(said, request, lm_calls=len(counter.calls))
            dataset = self.dataset(request, feedback)
            if not dataset:
                return ReflectionAnswer(
                    request.ticket, problem="no rollout of the evidence called the components"
                )
            returned = self._proposed(request, dataset)
        texts, problems = checked_texts(returned, request)
        return ReflectionAnswer(
            request.ticket, texts, "; ".join(problems), lm_calls=len(counter.calls)
        )

    def _proposed(self, request: ReflectionRequest, dataset: ReflectiveDataset) -> object:
        """What the proposer returns. DSPy's own asks once a component: these calls run at once."""

        def asked(components: Iterable[str]) -> object:
            names = list(components)
            # Copies: what a proposer does to them is its own affair.
            return self._proposer(
                candidate=dict(request.candidate),
                reflective_dataset={name: dataset[name] for name in names if name in dataset},
                components_to_update=names,
            )

        if not (self._takes_objects or self._takes_nested_media) or len(request.components) == 1:
            return asked(request.components)
        calls = [partial(asked, [name]) for name in request.components if name in dataset]
        returned = side_by_side(calls)
        return {name: text for each in returned for name, text in dict(each or {}).items()}  # type: ignore[call-overload]

    def dataset(
        self, request: ReflectionRequest, feedback: Mapping[str, Mapping[int, str]]
    ) -> ReflectiveDataset:
        """DSPy's reflective dataset: a record for every call, calls that failed first.

        Of a rollout with many calls, as many are taken as our own reflection is shown. After the
        failed calls come those of rollouts that failed, then low scores before higher ones. The
        calls of a conversation come last first, because its last call holds the others. A component
        that was not called is left out.
        """
        dataset = {}
        for component in request.components:
            # No score counts as perfect here: the order alone matters, and it is by score then.
            records = records_of(
                request,
                [component],
                feedback=feedback,
                perfect_score=None,
                shows_unparsed=self._shows_unparsed,
            )
            called = [(record, call) for record in records for call in _fullest_first(record)]
            if called:
                called.sort(key=lambda pair: not pair[1].failure)
                structure = self._structure(component, request)
                dataset[component] = [self._example(*pair, structure) for pair in called]
        return dataset

    def _example(self, record: EvidenceRecord, call: Step, structure: str) -> dict[str, Any]:
        feedback = _feedback(record)
        outputs: str | dict[str, Any]
        if call.reply:
            outputs = (
                "Couldn't parse the output as per the expected output format. The model's raw "
                f"response was:\n```\n{call.reply}\n```\n\n"
            )
            feedback = f"Your output failed to parse. Follow this structure:\n{structure}" + (
                # Where the program went on in spite of it, the metric has its say too.
                "" if record.failure else f"\n{feedback}"
            )
        elif call.failure:
            outputs = f"The call gave no output: {call.failure}"
        elif self._takes_objects:
            outputs = revived(dict(call.outputs))
        else:
            outputs = {name: spoken(value) for name, value in call.outputs.items()}
        attached = {name: self._shown(value) for name, value in record.attachments.items()}
        return {
            "Inputs": dict(self._inputs(call.inputs)),
            "Generated Outputs": outputs,
            "Feedback": feedback,
            **({"Attachments": attached} if attached else {}),
        }

    def _inputs(self, inputs: Mapping[str, object]) -> Iterable[tuple[str, object]]:
        """The inputs, a history first under the name "Context" where no other input has it."""
        histories = [name for name, value in inputs.items() if isinstance(value, dspy.History)]
        first = histories[0] if histories and "Context" not in inputs else None
        if first is not None:
            yield "Context", self._shown(inputs[first])
        yield from ((name, self._shown(inputs[name])) for name in inputs if name != first)

    def _shown(self, captured: object) -> object:
        value = revived(captured)
        holds_media = value is not captured
        if self._takes_objects or isinstance(value, dspy.Type):
            return value
        if self._takes_nested_media and holds_media:
            return value
        if isinstance(value, dspy.History):
            turns = "".join(f"  {turn}: {message}\n" for turn, message in enumerate(value.messages))
            return without_base64(f"```json\n{turns}```")
        return spoken(value)

    def _structure(self, component: str, request: ReflectionRequest) -> str:
        """What a reply of this component must look like, as its model is told."""
        adapter = dspy.settings.adapter
        if not isinstance(adapter, dspy.ChatAdapter):
            # Other adapters need not be able to render a signature without inputs.
            adapter = dspy.ChatAdapter()
        signature = self._signatures[component].with_instructions(request.candidate[component])
        messages = adapter.format(signature, [], {})
        return "".join(f"{message['role']}: {message['content']}\n" for message in messages)


class CallCounter(BaseCallback):  # type: ignore[misc]  # DSPy is untyped here
    """Counts the calls of models, in whatever thread they happen."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_lm_start(
        self,
        call_id: str,
        instance: Any,  # noqa: ARG002 - passed by name
        inputs: dict[str, Any],  # noqa: ARG002 - passed by name
    ) -> None:
        """Note a call. Appending is safe from several threads."""
        self.calls.append(call_id)


def _is_reflection(proposer: object) -> bool:
    """Whether it is called like a reflection of ours, and not like a proposer of DSPy's.

    Raises:
        WrongType: it can be called neither way.
    """
    needed = (
        f"A proposer is called with the keywords {', '.join(_BY_KEYWORD)}, and returns a dict "
        "from component to text."
    )
    signature = signature_of("instruction_proposer", proposer, needed)
    if signature is None:
        return False
    if tuple(signature.parameters)[:3] == _OUR_OWN:
        return True
    check_keywords("instruction_proposer", proposer, signature, _BY_KEYWORD, needed)
    return False


def signature_of(argument: str, proposer: object, needed: str) -> inspect.Signature | None:
    """How a proposer is called; None for a built-in that does not say so.

    Raises:
        WrongType: it cannot be called, or only be awaited. `needed` says what it should be.
    """
    # Compared with None, not asked whether it is true: a proposer may well be empty.
    if not callable(proposer):
        raise WrongType(f"The {argument} is {proposer!r:.200}. {needed}")
    if any(inspect.iscoroutinefunction(each) for each in (proposer, type(proposer).__call__)):
        raise WrongType(f"The {argument} {proposer!r:.200} is asynchronous. {needed}")
    try:
        return inspect.signature(proposer)
    except ValueError:
        return None


def check_keywords(
    argument: str,
    proposer: object,
    signature: inspect.Signature,
    keywords: tuple[str, ...],
    needed: str,
) -> None:
    """Nothing, where a proposer can be called with these keywords.

    Raises:
        WrongType: it cannot.
    """
    try:
        signature.bind(**dict.fromkeys(keywords))
    except TypeError as error:
        hint = " Pass an instance, not the class." if isinstance(proposer, type) else ""
        raise WrongType(f"The {argument} takes {signature}: {error}. {needed}{hint}") from None


def _fullest_first(record: EvidenceRecord) -> Sequence[Step]:
    """The calls of one rollout in order; those that carry on a conversation, the last first."""
    calls = [call for _, call in record.calls]
    values = [value for call in calls for value in call.inputs.values()]
    is_conversation = any(isinstance(value, dspy.History) for value in values)
    return calls[::-1] if is_conversation else calls


def _feedback(record: EvidenceRecord) -> str:
    """What is known about the rollout; the score stands in where nobody said anything."""
    lines = [f"The program failed: {record.failure}"] if record.failure else []
    if record.feedback.strip():
        lines.append(record.feedback)
    elif isfinite(record.score):
        lines.append(f"Score: {record.score:g}.")
    return "\n".join(lines)


def _as_answer(returned: object, request: ReflectionRequest, *, lm_calls: int) -> ReflectionAnswer:
    if not isinstance(returned, ReflectionAnswer):
        problem = f"the proposer returned a {type(returned).__name__}, and not a ReflectionAnswer"
        return ReflectionAnswer(request.ticket, problem=problem, lm_calls=lm_calls)
    return replace(returned, ticket=request.ticket, lm_calls=max(returned.lm_calls, lm_calls))


def checked_texts(returned: object, request: ReflectionRequest) -> tuple[dict[str, str], list[str]]:
    """The texts that can be used, and why others cannot or are missing."""
    if returned is None or returned == {}:
        return {}, ["the proposer returned nothing"]
    if not isinstance(returned, Mapping):
        kind = type(returned).__name__
        return {}, [f"the proposer returned a {kind}, and not a dict from component to text"]
    texts: dict[str, str] = {}
    problems = []
    for component, text in returned.items():
        if component not in request.candidate:
            problems.append(f"the program has no component {component!r:.200}")
        elif component not in request.components:
            problems.append(f"{component} was not to be rewritten")
        elif not isinstance(text, str):
            problems.append(f"the text for {component} is a {type(text).__name__}, and not a text")
        elif not text.strip():
            problems.append(f"the text for {component} is empty")
        else:
            texts[component] = text
    missing = [component for component in request.components if component not in returned]
    problems += [f"the proposer returned no text for {component}" for component in missing]
    return texts, problems

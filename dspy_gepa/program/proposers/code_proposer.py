"""Better sources for `dspy.Flex` modules, from DSPy's own code proposer or from a user's.

Either is shown what dspy.GEPA shows it, and trusted with nothing: what it returns is checked.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, TypeAlias

import dspy

from dspy_gepa.core.rollout import Rollout, Step
from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest
from dspy_gepa.errors import WrongType
from dspy_gepa.models.asking import language_model
from dspy_gepa.program.components.flex import CODE_SIGNATURE, PRIMITIVES_CATALOG, task_context
from dspy_gepa.program.proposers.proposer import (
    CallCounter,
    ReflectiveDataset,
    check_keywords,
    checked_texts,
    signature_of,
)
from dspy_gepa.reflect.pieces import fences
from dspy_gepa.values.words import shortened, text_of

__all__ = ["CodeProposer"]

CodeProposal: TypeAlias = Callable[..., object]
"""DSPy's `CodeProposalFn`: five keywords to a source for each component."""

_BY_KEYWORD = (
    "candidate",
    "reflective_dataset",
    "components_to_update",
    "task_descriptions",
    "context_blurbs",
)
_NO_CONTEXT = "(no extra context)"
"""DSPy's words where a module was given no tools."""
_LONGEST_VALUE = 8_000
"""Characters of one part of a record that DSPy's proposer is shown."""


class CodeProposer:
    """A reflection on components that are code.

    A proposer is called as `proposer(candidate=..., reflective_dataset=...,
    components_to_update=..., task_descriptions=..., context_blurbs=...)` and returns component to
    source. `dspy.settings.lm` is the reflection LM meanwhile, and nothing lands in the caller's
    trace. Where several proposals are under way at once, it is called from several threads.

    Args:
        proposer: A function or any other object that can be called so; None stands for DSPy's.
        student: The program that is improved; its signatures say what the code is for.
        lm: The reflection LM; None stands for the one that DSPy has configured during the call.
        told: From a component and its source: what a new one is held to, a sentence each. It is
            said with the task.

    Raises:
        WrongType: it cannot be called so, or the LM is none that it can use.
    """

    def __init__(
        self,
        proposer: CodeProposal | None,
        student: dspy.Module,
        *,
        lm: object = None,
        told: Callable[[str, str], Sequence[str]] = lambda _component, _source: (),
    ) -> None:
        self._told = told
        self._lm = None if lm is None else language_model(lm)
        if proposer is not None:
            _check(proposer)
        elif self._lm is not None and not isinstance(self._lm, dspy.BaseLM):
            raise WrongType(
                f"The reflection_lm is {lm!r:.200}, and DSPy's code proposer, which improves "
                "dspy.Flex modules, needs a dspy.LM. Pass one, or a code_proposer of your own."
            )
        self._proposer = _ask_for_sources if proposer is None else proposer
        self._tasks, self._contexts = task_context(student)

    def __call__(
        self,
        request: ReflectionRequest,
        descriptions: Mapping[str, str],  # noqa: ARG002 - a Reflect; code has DSPy's descriptions
        feedback: Mapping[str, Mapping[int, str]],  # noqa: ARG002 - none is about code alone
    ) -> ReflectionAnswer:
        """The sources that can be used, and for the other components why not.

        `lm_calls` counts the calls of DSPy models that the proposer made. What it raises is
        passed on.
        """
        counter = CallCounter()
        lm = dspy.settings.lm if self._lm is None else self._lm
        callbacks = [*dspy.settings.callbacks, counter]
        with dspy.context(lm=lm, trace=[], callbacks=callbacks):
            # Copies: what a proposer does to them is its own affair.
            returned = self._proposer(
                candidate=dict(request.candidate),
                reflective_dataset=self.dataset(request),
                components_to_update=list(request.components),
                task_descriptions=self._tasks | self._held_to(request),
                context_blurbs=dict(self._contexts),
            )
        texts, problems = checked_texts(returned, request)
        return ReflectionAnswer(
            request.ticket, texts, "; ".join(problems), lm_calls=len(counter.calls)
        )

    def _held_to(self, request: ReflectionRequest) -> dict[str, str]:
        """The tasks of components whose new sources are held to something, with what that is."""
        told = {name: self._told(name, request.candidate[name]) for name in request.components}
        heading = "The revised source has to keep to these limits:"
        return {
            name: "\n".join(
                [self._tasks.get(name, name), "", heading, *(f"- {one}" for one in own)]
            )
            for name, own in told.items()
            if own
        }

    def dataset(self, request: ReflectionRequest) -> ReflectiveDataset:
        """DSPy's reflective dataset on code: a record for every rollout that called it or failed.

        A record says what the whole program was given and answered, as in dspy.GEPA. Under "Module
        Calls" it says what the module itself was given and answered, if that is something else.
        """
        return {
            component: [
                _example(evidence.rollout, component)
                for evidence in request.evidence
                if evidence.rollout.failure or evidence.rollout.trace.calls_of(component)
            ]
            for component in request.components
        }


def _check(proposer: object) -> None:
    needed = (
        f"A code_proposer is called with the keywords {', '.join(_BY_KEYWORD)}, and returns a "
        "dict from component to source."
    )
    signature = signature_of("code_proposer", proposer, needed)
    if signature is not None:
        check_keywords("code_proposer", proposer, signature, _BY_KEYWORD, needed)


def _example(rollout: Rollout, component: str) -> dict[str, Any]:
    trace = rollout.trace
    shown: dict[str, Any] = {
        "Inputs": _in_words(trace.inputs),
        "Generated Outputs": _outcome(trace.outputs, rollout.failure),
        "Feedback": _feedback(rollout),
    }
    calls = trace.calls_of(component)
    whole = [(dict(trace.inputs), dict(trace.outputs))]
    if [(dict(call.inputs), dict(call.outputs)) for call in calls] != whole:
        shown["Module Calls"] = [_call(call) for call in calls]
    return shown


def _call(step: Step) -> dict[str, Any]:
    return {
        "Inputs": _in_words(step.inputs),
        "Generated Outputs": _outcome(step.outputs, step.failure),
    }


def _outcome(outputs: Mapping[str, object], failure: str) -> str | dict[str, str]:
    return _in_words(outputs) if outputs or not failure else f"FailedPrediction: {failure}"


def _feedback(rollout: Rollout) -> str:
    """What is known about the rollout; the score stands in where nobody said anything."""
    lines = [f"The program failed: {rollout.failure}"] if rollout.failure else []
    said = rollout.feedback.strip()
    if not said and isfinite(rollout.score):
        said = f"This trajectory got a score of {rollout.score:g}."
    return "\n".join(filter(None, [*lines, said]))


def _in_words(fields: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}


def _ask_for_sources(
    *,
    candidate: Mapping[str, str],
    reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
    components_to_update: Sequence[str],
    task_descriptions: Mapping[str, str],
    context_blurbs: Mapping[str, str],
) -> dict[str, str]:
    """What the LM writes where it is asked as DSPy's own code proposer asks it.

    It is asked anew each time: a cached reply would be the very source that was tried before. What
    cannot be read is raised, where DSPy's own returns the old source.
    """
    predictor = dspy.Predict(CODE_SIGNATURE)
    sources = {}
    for component in components_to_update:
        answer = predictor(
            task_description=task_descriptions.get(component, component),
            available_context=context_blurbs.get(component, _NO_CONTEXT),
            primitives_catalog=PRIMITIVES_CATALOG,
            current_source=candidate[component],
            failures=_failures(reflective_dataset[component]),
            config={"cache": False},
        )
        sources[component] = _without_fence(answer.revised_source)
    return sources


def _failures(records: Sequence[Mapping[str, Any]]) -> str:
    """The records in DSPy's format."""
    chunks = [
        "\n".join(
            [
                f"=== Example {number} ===",
                *(
                    f"{name}:\n{shortened(text_of(remark), _LONGEST_VALUE)}"
                    for name, remark in of.items()
                ),
            ]
        )
        for number, of in enumerate(records)
    ]
    return "\n\n".join(chunks) or "(no failing examples available)"


def _without_fence(reply: str | None) -> str:
    """The source without the code fence around it and what stands beside that, and without tabs.

    A reply that is Python as it stands is kept whole: a fence in it is part of a docstring, say.
    """
    source = (reply or "").strip()
    fenced = [inside for _, inside, _, _ in fences(source)]
    if len(fenced) == 1 and not _is_python(source):
        source = fenced[0]  # there may be words beside it
    elif source.startswith("```"):
        source = source.partition("\n")[2].removesuffix("```")
    return source.strip().expandtabs(4)


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

"""A reflection on components of several kinds, each by the reflection of its own kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from dspy_gepa.core.rollout import Step, Trace
from dspy_gepa.core.work import Evidence, Fault, ReflectionAnswer, ReflectionRequest, Repair
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.models.failures import failure_text
from dspy_gepa.models.outages import outage_in
from dspy_gepa.program.components.kinds import Part
from dspy_gepa.reflect.answers import joined, side_by_side
from dspy_gepa.reflect.rules import Rules

__all__ = ["Reflect", "ReflectionByKind", "Ruled"]

Reflect: TypeAlias = Callable[
    [ReflectionRequest, Mapping[str, str], Mapping[str, Mapping[int, str]]], ReflectionAnswer
]
"""From a request, descriptions by component and feedback by component and example: new texts."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """A reflection of somebody else's, whose texts are taken as our own are.

    They are what was asked for, as a program says it, and keep the rules.
    """

    reflect: Reflect
    rules: Rules

    def __call__(
        self,
        request: ReflectionRequest,
        descriptions: Mapping[str, str],
        feedback: Mapping[str, Mapping[int, str]],
    ) -> ReflectionAnswer:
        """Its answer, with a reason in place of each text that cannot be used."""
        answer = self.reflect(request, descriptions, feedback)
        asked = {name: text for name, text in answer.texts.items() if name in request.components}
        judged = {
            name: self.rules.judged(name, request.candidate[name], text)
            for name, text in asked.items()
        }
        faults = [
            Fault((name,), f"the text cannot be used: {each.reason}")
            for name, each in judged.items()
            if each.reason
        ]
        others = [name for name in answer.texts if name not in asked]
        faults += [Fault((name,), "it was not to be rewritten") for name in others]
        return replace(
            answer,
            texts={name: each.text for name, each in judged.items() if not each.reason},
            faults=(*answer.faults, *faults),
        )


class ReflectionByKind:
    """Asks about components of each kind what reflects on that kind.

    Args:
        parts: The components.
        reflections: Name of a kind to its reflection, for all kinds that there are.
    """

    def __init__(self, parts: Mapping[str, Part], reflections: Mapping[str, Reflect]) -> None:
        self._parts = dict(parts)
        self._reflections = dict(reflections)

    def __call__(
        self,
        request: ReflectionRequest,
        descriptions: Mapping[str, str],
        feedback: Mapping[str, Mapping[int, str]],
    ) -> ReflectionAnswer:
        """All that the reflections say; where one raises, the others' texts are kept.

        Raises:
            Exception: an outage, which one of them met.
        """
        return joined(
            request,
            side_by_side(
                [
                    partial(_share, self._reflections[kind], share, descriptions, feedback)
                    for kind, share in self._shares(request)
                ]
            ),
        )

    def _shares(self, request: ReflectionRequest) -> list[tuple[str, ReflectionRequest]]:
        """The name of a kind and what it is asked, for each question.

        All components of a kind are one question, except that one that is not called itself is
        asked about alone, with the calls of its owners as its own.
        """
        together: dict[str, list[str]] = {}
        shares = []
        for component in request.components:
            part = self._parts[component]
            if not part.owners:
                together.setdefault(part.kind.name, []).append(component)
                continue
            alone = replace(
                request,
                components=(component,),
                evidence=tuple(_lent(each, part) for each in request.evidence),
                contrasts=tuple(_lent(each, part) for each in request.contrasts),
            )
            shares.append((part.kind.name, alone))
        called = [(kind, replace(request, components=tuple(own))) for kind, own in together.items()]
        if not request.repairs:
            return called + shares
        # A second question goes to who gave the reply that it is about.
        return [
            (kind, replace(share, repairs=own))
            for kind, share in called + shares
            if (own := _repairs_of(request, share.components))
        ]


def _repairs_of(request: ReflectionRequest, components: tuple[str, ...]) -> tuple[Repair, ...]:
    return tuple(each for each in request.repairs if set(each.components) <= set(components))


def _lent(evidence: Evidence, part: Part) -> Evidence:
    """The evidence with the calls of a component's owners as its own."""

    def named(step: Step) -> Step:
        return replace(step, component=part.name) if step.component in part.owners else step

    trace = evidence.rollout.trace
    lent = Trace(trace.inputs, trace.outputs, tuple(map(named, trace.steps)))
    return replace(evidence, rollout=replace(evidence.rollout, trace=lent))


def _share(
    reflect: Reflect,
    request: ReflectionRequest,
    descriptions: Mapping[str, str],
    feedback: Mapping[str, Mapping[int, str]],
) -> ReflectionAnswer:
    outcome = catching(lambda: reflect(request, descriptions, feedback))
    if not isinstance(outcome, Failed):
        return outcome
    if outage_in(outcome.error):
        raise outcome.error
    problem = (
        f"The reflection on {', '.join(request.components)} raised {failure_text(outcome.error)}"
    )
    return ReflectionAnswer(request.ticket, problem=problem)

"""A reflection on components of several kinds, each by the reflection of its own kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import dspy

from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest
from dspy_gepa.program.boundary import Raised, settled
from dspy_gepa.program.kinds import parts_of
from dspy_gepa.program.outage import outage_in
from dspy_gepa.program.trace import failure_text

__all__ = ["Reflect", "ReflectionByKind"]

Reflect: TypeAlias = Callable[
    [ReflectionRequest, Mapping[str, str], Mapping[str, Mapping[int, str]]], ReflectionAnswer
]
"""From a request, descriptions by component and feedback by component and example: new texts."""


class ReflectionByKind:
    """Asks about components of each kind what reflects on that kind.

    Args:
        student: The program that is improved; says which component is of which kind.
        reflections: Name of a kind to its reflection, for all kinds that the student has.
    """

    def __init__(self, student: dspy.Module, reflections: Mapping[str, Reflect]) -> None:
        self._kinds = {name: part.kind.name for name, part in parts_of(student).items()}
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
        shares: dict[str, list[str]] = {}
        for component in request.components:
            shares.setdefault(self._kinds[component], []).append(component)
        answers = [
            _share(
                self._reflections[kind],
                replace(request, components=tuple(own)),
                descriptions,
                feedback,
            )
            for kind, own in shares.items()
        ]
        return ReflectionAnswer(
            request.ticket,
            {component: text for each in answers for component, text in each.texts.items()},
            "; ".join(each.problem for each in answers if each.problem),
            metric_calls=sum(each.metric_calls for each in answers),
            lm_calls=sum(each.lm_calls for each in answers),
        )


def _share(
    reflect: Reflect,
    request: ReflectionRequest,
    descriptions: Mapping[str, str],
    feedback: Mapping[str, Mapping[int, str]],
) -> ReflectionAnswer:
    said = settled(lambda: reflect(request, descriptions, feedback))
    if not isinstance(said, Raised):
        return said
    if outage_in(said.error):
        raise said.error
    problem = f"The reflection on {', '.join(request.components)} raised {failure_text(said.error)}"
    return ReflectionAnswer(request.ticket, problem=problem)

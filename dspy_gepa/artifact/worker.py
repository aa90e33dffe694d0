"""Carries out requests with an evaluator and a reflection.

Whatever user code raises is said in the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, TypeAlias

from dspy_gepa.artifact.evaluation import EvaluationSettings
from dspy_gepa.core.work import Answer, ReflectionAnswer, ReflectionRequest, Request, RolloutRequest
from dspy_gepa.models.account import Account, metered, reflected
from dspy_gepa.models.usage import Meter

__all__ = ["ArtifactWorker", "Evaluate", "Reflect"]

Reflect: TypeAlias = Callable[
    [ReflectionRequest, Mapping[str, str], Mapping[str, Mapping[int, str]]], ReflectionAnswer
]
"""From a request, descriptions by component and feedback by component and example: new texts."""


class Evaluate(Protocol):
    """Carries out evaluations, here or in a process of their own."""

    def __call__(self, request: RolloutRequest, *, must_score: bool) -> Answer:
        """The answer; what is no score is an error where it has to be one, else a failure."""
        ...


class ArtifactWorker:
    """A worker that evaluates artifacts. Several threads may call it at once.

    Args:
        evaluate: Carries out evaluations.
        reflect: Writes better texts.
        descriptions: Component to what it is for.
        settings: How that is done.
        has_begun: Whether something was evaluated before, in the run that this one carries on.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        reflect: Reflect,
        descriptions: Mapping[str, str],
        settings: EvaluationSettings,
        *,
        has_begun: bool = False,
    ) -> None:
        self._evaluate = evaluate
        self._reflect = reflect
        self._descriptions = descriptions
        self._settings = settings
        self._has_begun = has_begun
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        """The answer; a `RequestFailure` if a model or the evaluator is unusable."""
        if isinstance(request, RolloutRequest):
            with self._lock:
                # The engine makes the first evaluation alone: what is returned then that is no
                # score says that the evaluator is wrong, before anything else is paid for.
                is_first, self._has_begun = not self._has_begun, True
            return self._evaluate(request, must_score=is_first)
        assert isinstance(request, ReflectionRequest), "evaluators are asked for no remarks"
        given = self._settings
        meter = Meter(
            given.price,
            must_know_price=given.must_know_price,
            must_know_usage=given.must_know_usage,
        )
        return metered(request, meter, lambda account: self._reflection(request, account))

    def _reflection(self, request: ReflectionRequest, account: Account) -> Answer:
        feedback = _by_component(request)
        answer = reflected(
            request,
            lambda: self._reflect(request, self._descriptions, feedback),
            account,
            self._settings.timeout_seconds,
        )
        return replace(answer, usage=account.meter.usage)


def _by_component(request: ReflectionRequest) -> dict[str, dict[int, str]]:
    """What an evaluator said about single components, with what it said about the whole."""
    feedback: dict[str, dict[int, str]] = {}
    for evidence in request.evidence:
        for step in evidence.rollout.trace.steps:
            if (own := step.outputs.get("feedback")) is not None:
                whole = evidence.rollout.feedback
                told = "\n\n".join(filter(None, [whole, str(own)]))
                feedback.setdefault(step.component, {})[evidence.example] = told
    return feedback

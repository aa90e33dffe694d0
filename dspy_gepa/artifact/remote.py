"""What is sent of an evaluator, so that evaluations can be carried out in another process."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from dspy_gepa.artifact.evaluation import EvaluationSettings, LocalEvaluation, failed
from dspy_gepa.artifact.evaluator import Evaluator
from dspy_gepa.artifact.output import watched_output
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import RolloutRequest
from dspy_gepa.models.surroundings import Surroundings, tracked
from dspy_gepa.run.parcel import CarryOut, Parcel, ParcelOutcome, sendable_recipe, serialized

__all__ = ["EvaluationRecipe", "evaluation_parcel"]


@dataclass(frozen=True)
class EvaluationRecipe:
    """Makes what carries out evaluations; see `LocalEvaluation`."""

    evaluator: Evaluator
    settings: EvaluationSettings
    prints: bool
    """Whether what is printed is part of the feedback."""
    surroundings: Surroundings

    def __call__(self) -> CarryOut:
        """What carries out evaluations."""
        watching = _Watching(prints=self.prints)

        def carry_out(request: RolloutRequest, needed: tuple[Any, bool]) -> ParcelOutcome:
            example, must_score = needed
            evaluation = LocalEvaluation(self.evaluator, {request.example: example}, self.settings)
            with watching, self.surroundings.entered() as tracker:
                answer = evaluation(request, must_score=must_score)
                return ParcelOutcome(answer, dict(tracker.usage_data))

        return carry_out


class _Watching:
    """Watches a process's output while any of its threads carries out an evaluation."""

    def __init__(self, *, prints: bool) -> None:
        self._prints = prints
        self._lock = threading.Lock()
        self._within = 0
        self._watched = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._watched.enter_context(watched_output(prints=self._prints))
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0:
                self._watched.close()


def evaluation_parcel(evaluation: LocalEvaluation, *, prints: bool, has_begun: bool) -> Parcel:
    """What a pool is sent to carry out evaluations.

    Args:
        evaluation: What carries them out here.
        prints: Whether what is printed is part of the feedback.
        has_begun: Whether something was evaluated before, in the run that this one carries on.

    Raises:
        SettingsError: something of it cannot be sent. Names it.
    """
    surroundings = Surroundings.here()
    serialized(evaluation.examples[0], "dataset[0]")
    recipe = sendable_recipe(
        EvaluationRecipe(evaluation.evaluator, evaluation.settings, prints, surroundings),
        {
            "The evaluator": evaluation.evaluator,
            "price": evaluation.settings.price,
            "dspy.settings": surroundings.settings,
        },
    )
    first = iter([not has_begun])

    def needs(request: RolloutRequest) -> tuple[Any, bool]:
        return evaluation.examples[request.example], next(first, False)

    def failure(request: RolloutRequest, text: str) -> Rollout:
        return replace(failed(request, text, "", evaluation.settings), metric_calls=1)

    return Parcel(recipe, needs, failure, tracked)

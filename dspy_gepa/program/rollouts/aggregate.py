"""A metric over a whole set of answers, by which the winner is chosen (F1, correlation, ranks)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import dspy

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.choices import has_seed
from dspy_gepa.core.proposal import Evaluation
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import JournalError, MetricError
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.models.failures import failure_text
from dspy_gepa.program.rollouts.outputs import lost_in
from dspy_gepa.values.media import without_base64

__all__ = ["AggregateMetric", "FirstAggregate", "aggregate_scores", "check_all_there"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

AggregateMetric: TypeAlias = Callable[[Sequence[tuple[Any, Any]]], float]
"""From all pairs of example and prediction to a score; higher is better. Where the program failed,
the prediction is empty."""


def aggregate_scores(
    state: RunState, metric: AggregateMetric, examples: Sequence[dspy.Example]
) -> tuple[float, ...]:
    """What the metric says of each member, -inf where one was not run on all validation examples.

    Nothing where the metric raises or gives no finite number: a warning says so, and the run, which
    is paid for, is judged by the members' scores.
    """
    scores = []
    for member in state.members:
        score = _aggregated(state, member.candidate, metric, examples)
        if isinstance(score, str):
            logger.warning("The winner is chosen by its scores: the aggregate metric %s", score)
            return ()
        scores.append(score)
    return tuple(scores)


def _aggregated(
    state: RunState, candidate: Candidate, metric: AggregateMetric, examples: Sequence[dspy.Example]
) -> float | str:
    """What the metric says of a candidate, or in words why that cannot be used.

    -inf if the candidate was not run on all validation examples.
    """
    rollouts = state.validated(candidate)
    pairs = [
        (examples[example], _prediction(rollout))
        for example, rollout in zip(state.settings.validation, rollouts, strict=True)
        if rollout is not None
    ]
    if len(pairs) < len(rollouts):
        return -math.inf
    score = catching(lambda: float(metric(pairs)))
    if isinstance(score, Failed):
        return f"raised {failure_text(score.error)}"
    return score if math.isfinite(score) else f"returned {score}"


class FirstAggregate:
    """Tries the metric on the program as it was given, as soon as that is validated.

    It is asked about that program at the end in any case, so what it cannot use there is an error,
    which is better known before the search is paid for.
    """

    def __init__(self, metric: AggregateMetric, examples: Sequence[dspy.Example]) -> None:
        self._metric = metric
        self._examples = examples
        self._is_tried = False

    def __call__(self, state: RunState) -> None:
        """Try it, if this is the first state in which all answers are there.

        Raises:
            MetricError: it raises or gives no finite number.
        """
        if self._is_tried or (not has_seed(state) and not state.members):
            return
        seed = state.candidate_of(0)
        if not state.is_done(Evaluation(seed, state.settings.validation)):
            return
        self._is_tried = True
        score = _aggregated(state, seed, self._metric, self._examples)
        if isinstance(score, str):
            raise MetricError(
                f"The aggregate metric {score}, given the {len(state.settings.validation)} "
                "validation examples with the answers of the program as it was. It has to return "
                f"a finite number. {state.tally.metric_calls} metric calls were made until then."
            )


def check_all_there(state: RunState) -> None:
    """Nothing, where every answer that was stored is there as a value.

    Raises:
        JournalError: of one only the text was kept, so that another winner might be chosen than if
            the run had not been interrupted.
    """
    for rollout in state.known.values():
        if lost := lost_in(rollout.output):
            raise JournalError(
                "log_dir cannot be carried on with an aggregate_metric: of an answer only the text "
                f"was kept ({without_base64(lost):.80}), because no output field of the program's "
                "signatures has its type. Have the program answer with plain values or with values "
                "of its signatures' types and choose another log_dir, or choose without "
                "aggregate_metric."
            )


def _prediction(rollout: Rollout) -> Any:
    """What the program answered."""
    return dspy.Prediction() if rollout.output is None else rollout.output

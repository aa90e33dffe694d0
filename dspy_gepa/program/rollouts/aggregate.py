"""A metric over a whole set of answers, by which the winner is chosen (F1, correlation, ranks)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import dspy

from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import JournalError
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.program.rollouts.outputs import lost_in
from dspy_gepa.values.media import without_base64

__all__ = ["AggregateMetric", "aggregate_scores", "check_all_there"]

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
        rollouts = state.validated(member.candidate)
        pairs = [
            (examples[example], _prediction(rollout))
            for example, rollout in zip(state.settings.validation, rollouts, strict=True)
            if rollout is not None
        ]
        if len(pairs) < len(rollouts):
            scores.append(-math.inf)
            continue
        score = catching(lambda pairs=pairs: float(metric(pairs)))  # type: ignore[misc]
        if isinstance(score, Failed) or not math.isfinite(score):
            problem = repr(score.error) if isinstance(score, Failed) else f"returned {score}"
            logger.warning("The winner is chosen by its scores: the aggregate metric %s", problem)
            return ()
        scores.append(score)
    return tuple(scores)


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

"""A metric over a whole set of answers, by which the winner is chosen (F1, correlation, ranks)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import dspy

from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import RunState
from dspy_gepa.program.calls.boundary import Raised, settled

__all__ = ["AggregateMetric", "aggregate_scores"]

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
        score = settled(lambda pairs=pairs: float(metric(pairs)))  # type: ignore[misc]
        if isinstance(score, Raised) or not math.isfinite(score):
            said = repr(score.error) if isinstance(score, Raised) else f"returned {score}"
            logger.warning("The winner is chosen by its scores: the aggregate metric %s", said)
            return ()
        scores.append(score)
    return tuple(scores)


def _prediction(rollout: Rollout) -> Any:
    """What the program answered; from a journal only the fields of it come back."""
    if rollout.output is None:
        return dspy.Prediction()
    if isinstance(rollout.output, Mapping):
        return dspy.Prediction(**rollout.output)
    return rollout.output

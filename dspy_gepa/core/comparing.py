"""What rollouts count as where they are compared: a failure never as more than a run that worked.

It depends only on what is compared, and not on what else was seen meanwhile, which is a question of
timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from dspy_gepa.core.frontier import Scores, with_failures_assumed, with_failures_scored
from dspy_gepa.core.proposal import Evaluation
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import RunState, Settings

__all__ = ["comparable", "compared", "score_of", "scored_beside"]


def score_of(settings: Settings, rollout: Rollout) -> float:
    """What a rollout scored; -inf if it failed and that has no score of its own."""
    is_assumed = rollout.failure and settings.assumed_failure_score is not None
    return -inf if is_assumed else rollout.score


def compared(
    state: RunState, *evaluations: Evaluation, beside: Scores | None = None
) -> list[list[float]]:
    """The scores of evaluations that are done, a list each, as `comparable` gives them."""
    return comparable(state.settings, *map(state.rollouts, evaluations), beside=beside)


def comparable(
    settings: Settings, *rows: Sequence[Rollout], beside: Scores | None = None
) -> list[list[float]]:
    """The scores of rows of rollouts, a list each, as they compare with each other.

    If there are scores `beside` them, with those as well.
    """
    together = np.array([score_of(settings, rollout) for row in rows for rollout in row])
    known = with_failures_assumed(together, settings.assumed_failure_score, beside)
    scores = iter(known.tolist())
    return [[next(scores) for _ in row] for row in rows]


def scored_beside(state: RunState, rollouts: Sequence[Rollout]) -> list[float]:
    """The scores of rollouts that were made after a search, as they compare with all of its own.

    A failure without a score has a number here too, below all of them.
    """
    settings, scores_in_search = state.settings, state.scores
    known = scores_in_search[~np.isnan(scores_in_search)]
    own = np.array([score_of(settings, rollout) for rollout in rollouts])
    together = with_failures_assumed(np.append(known, own), settings.assumed_failure_score)
    scores: list[float] = with_failures_scored(together[:, None])[len(known) :, 0].tolist()
    return scores

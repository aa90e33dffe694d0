"""Says when a metric's scores do not fit the settings that name its range."""

from __future__ import annotations

import logging

from dspy_gepa.core.events import Event, RolledOut
from dspy_gepa.core.state import RunState

__all__ = ["RangeCheck"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class RangeCheck:
    """Warns at the first score above the perfect one, and at the first below that of a failure.

    Args:
        perfect_score: None if no score counts as perfect.
        failure_score: What a crash scores; None if that was left open.
    """

    def __init__(self, *, perfect_score: float | None, failure_score: float | None) -> None:
        self._highest = float("inf") if perfect_score is None else perfect_score
        self._is_open = failure_score is None
        self._lowest = 0.0 if failure_score is None else failure_score

    def __call__(self, event: Event, state: RunState) -> None:  # noqa: ARG002 - an Observer
        """Compare the score of a rollout that did not fail."""
        if not isinstance(event, RolledOut) or event.rollout.failure:
            return
        score = event.rollout.score
        if score > self._highest:
            logger.warning(
                "The metric scored %g, above perfect_score=%g, which is not the best there is: "
                "that answer is learned from like any other, and only what scores %g counts as "
                "right. Pass the highest score of the metric as perfect_score.",
                score,
                self._highest,
                self._highest,
            )
            self._highest = float("inf")
        if score < self._lowest:
            if self._is_open:
                logger.info(
                    "The metric scored %g: scores can be negative, so a rollout that fails has no "
                    "score and ranks below every one that worked. failure_score=... gives it one.",
                    score,
                )
            else:
                logger.warning(
                    "The metric scored %g, below failure_score=%g: a crash counts for more than "
                    "that answer. Pass a failure_score that is no higher than the lowest score, or "
                    "none, and a crash ranks below every answer.",
                    score,
                    self._lowest,
                )
            self._lowest = float("-inf")

"""What the demo optimizes: a program, its metric, and examples in three splits.

One rule: the search is given train and validation; only the report sees the test split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import dspy

__all__ = ["DemoTask", "Graded", "GradedMetric", "Splits", "limited"]


class Graded(NamedTuple):
    """What a metric returns: a score between 0 and 1, and what a reviewer would say."""

    score: float
    feedback: str


GradedMetric = Callable[..., Graded]
"""`metric(gold, prediction, trace=None)`."""


class Splits(NamedTuple):
    """The examples of a task."""

    train: list[dspy.Example]
    validation: list[dspy.Example]
    test: list[dspy.Example]


@dataclass(frozen=True, slots=True)
class DemoTask:
    """One thing that the demo can optimize."""

    title: str
    program: dspy.Module
    metric: GradedMetric
    splits: Splits
    metric_calls: int
    """The budget of the search where the user gives none."""
    answer_tokens: int
    """The longest answer that one call of the program may need."""
    recipe: str
    """The lines of code that make the program anew, ready to load what was saved."""
    sub_scores: Callable[[dspy.Example, Any], dict[str, float]] | None = None
    """Named parts of the score, for the report; None if the score has no parts."""


def limited(splits: Splits, limit: int | None) -> Splits:
    """At most so many examples of each split, the first ones; all of them where it is None."""
    return Splits(*(examples[:limit] for examples in splits))

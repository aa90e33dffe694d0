"""Ready-made metrics that say why: each gives a score between 0 and 1 and feedback in words.

Every metric is called as `metric(gold, pred, trace=None)` and returns a `dspy_gepa.Feedback`, so
that dspy.Evaluate, dspy.GEPA and `dspy_gepa.GEPA` all take it.
"""

from dspy_gepa.metrics.answer import F1, ExactMatch
from dspy_gepa.metrics.classification import Classification
from dspy_gepa.metrics.judge import Judge
from dspy_gepa.metrics.structure import ValidAgainst, ValidJSON

__all__ = ["F1", "Classification", "ExactMatch", "Judge", "ValidAgainst", "ValidJSON"]

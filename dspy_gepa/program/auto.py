"""The budgets that `auto` stands for, with the numbers that DSPy's own GEPA gives."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["auto_metric_calls"]

_CANDIDATES = {"light": 6, "medium": 12, "heavy": 18}


def auto_metric_calls(
    auto: Literal["light", "medium", "heavy"],
    *,
    components: int,
    validation: int,
    minibatch: int = 35,
    full_eval_steps: int = 5,
) -> int:
    """The metric calls that `auto` allows for so many components and validation examples.

    The formula is that of `dspy.GEPA.auto_budget`, so that a pipeline that is moved over costs
    what it did; the sizes in it are MIPROv2's and not what our loop does.
    """
    candidates = _CANDIDATES[auto]
    trials = int(max(4 * components * math.log2(candidates), 1.5 * candidates))
    full_evals = (trials + 1) // full_eval_steps + 1 + (trials < full_eval_steps)
    return validation + 5 * candidates + trials * minibatch + full_evals * validation

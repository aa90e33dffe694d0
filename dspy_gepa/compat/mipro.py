"""MIPROv2's names that mean something else here, or nothing; dspy.GEPA's formula of a budget."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from dspy_gepa.config.afterwards import Afterwards
from dspy_gepa.config.budget import Budget
from dspy_gepa.config.checks import set_checked, whole
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.asking import check_language_model
from dspy_gepa.plan import trials

__all__ = ["MIPROv2Arguments", "auto_budget"]

_SIZES = ("minibatch", "minibatch_size", "minibatch_full_eval_steps")
"""Names that shape a budget by trials, and mean nothing otherwise."""
_USED = ("prompt_model", "task_model", "num_candidates", "num_trials")
"""Names that mean something here; all others change nothing."""


@dataclass(frozen=True, kw_only=True)
class MIPROv2Arguments:
    """What MIPROv2's constructor and `compile` take and ours say in another way, or not at all.

    Raises:
        SettingsError: an argument is wrong.
    """

    prompt_model: Any = None
    """Reflects if `reflection_lm` is not given."""
    task_model: Any = None
    """Runs the program if its predictors have no model of their own."""
    num_candidates: int | None = None
    """The number of trials follows from it by MIPROv2's own formula, if `num_trials` is None."""
    num_trials: int | None = None
    minibatch: bool = True
    minibatch_size: int = 35
    minibatch_full_eval_steps: int = 5
    max_errors: int | None = None
    init_temperature: float | None = None
    verbose: bool | None = None
    program_aware_proposer: bool = True
    data_aware_proposer: bool = True
    view_data_batch_size: int = 10
    tip_aware_proposer: bool = True
    fewshot_aware_proposer: bool = True

    def __post_init__(self) -> None:
        if self.prompt_model is not None:
            check_language_model(self.prompt_model)
        set_checked(
            self,
            num_candidates=whole("num_candidates", self.num_candidates, 1),
            num_trials=whole("num_trials", self.num_trials, 1),
        )

    def is_used(self, afterwards: Afterwards) -> bool:
        """Whether an argument was set that only MIPROv2 has."""
        mipro_only = (
            self.prompt_model,
            self.task_model,
            self.num_candidates,
            self.num_trials,
            self.max_errors,
            self.init_temperature,
            self.verbose,
            afterwards.max_bootstrapped_demos,
            afterwards.max_labeled_demos,
            afterwards.metric_threshold,
            afterwards.teacher_settings,
        )
        return any(each is not None for each in mipro_only)

    def without_meaning(self, budget: Budget) -> tuple[str, ...]:
        """Which arguments were set to something and change nothing here."""
        names = [
            each.name
            for each in fields(self)
            if each.name not in _USED and getattr(self, each.name) != each.default
        ]
        if self.num_trials is None and self.num_candidates is None:
            return tuple(names)
        names = [name for name in names if name not in _SIZES]
        if budget.auto is not None or not budget.is_by_size:
            names += [n for n in ("num_trials", "num_candidates") if getattr(self, n)]
        return tuple(names)

    def metric_calls(self, *, components: int, validation: int) -> int | None:
        """The metric calls that MIPROv2 makes for its trials; None if it is given no number.

        Args:
            components: How many components the program has.
            validation: How many validation examples there are.
        """
        count, size, steps = self.num_trials, self.minibatch_size, self.minibatch_full_eval_steps
        if count is None and self.num_candidates is not None:
            count = trials(components, self.num_candidates)
        if count is None:
            return None
        if not self.minibatch or validation <= size:
            return validation * (count + 1)
        return count * size + validation * (1 + count // steps + (count % steps > 0))


def auto_budget(
    num_preds: int,
    num_candidates: int,
    valset_size: int,
    minibatch_size: int = 35,
    full_eval_steps: int = 5,
) -> int:
    """The metric calls that dspy.GEPA allows for these sizes, under its names.

    It is dspy.GEPA's own formula, for users who compare budgets. Our own `auto` follows from
    `plan.sized_budget`.
    """
    for name, value in (("valset_size", valset_size), ("minibatch_size", minibatch_size)):
        if value < 0:
            raise SettingsError(f"{name}={value} was given; 0 is the lowest allowed.")
    if full_eval_steps < 1:
        raise SettingsError(f"full_eval_steps={full_eval_steps} was given; 1 is the lowest.")
    count = trials(max(num_preds, 1), num_candidates)
    total = valset_size + 5 * num_candidates + count * minibatch_size
    if count == 0:
        return total
    full_evals = (count + 1) // full_eval_steps + 1 + (count < full_eval_steps)
    return total + full_evals * valset_size

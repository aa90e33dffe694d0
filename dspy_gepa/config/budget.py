"""How much a run may spend."""

from __future__ import annotations

from dataclasses import dataclass

from dspy_gepa.config.checks import allowed, check_function, positive_number, set_checked, whole
from dspy_gepa.core.budget import Limits
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.usage import Price
from dspy_gepa.plan import CANDIDATES

__all__ = ["Budget"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits in all units; `auto` and `max_full_evals` become metric calls once the data is known.

    Raises:
        SettingsError: an argument is wrong.
    """

    auto: str | None = None
    max_full_evals: int | None = None
    max_metric_calls: int | None = None
    max_rollouts: int | None = None
    max_reflection_calls: int | None = None
    max_proposals: int | None = None
    max_total_tokens: int | None = None
    max_usd: float | None = None
    max_seconds: float | None = None
    price: Price | None = None

    def __post_init__(self) -> None:
        sizes = {
            name: value
            for name, value in (
                ("auto", self.auto),
                ("max_full_evals", self.max_full_evals),
                ("max_metric_calls", self.max_metric_calls),
            )
            if value is not None
        }
        if len(sizes) > 1:
            raise SettingsError(
                f"{len(sizes)} budgets were given: {sizes}. At most one is allowed: auto, "
                "max_full_evals or max_metric_calls, beside limits in other units. With none, "
                'auto="light".'
            )
        set_checked(
            self,
            max_full_evals=whole("max_full_evals", self.max_full_evals, 1),
            max_metric_calls=whole("max_metric_calls", self.max_metric_calls, 1),
            max_rollouts=whole("max_rollouts", self.max_rollouts, 1),
            max_reflection_calls=whole("max_reflection_calls", self.max_reflection_calls, 0),
            max_proposals=whole("max_proposals", self.max_proposals, 0),
            max_total_tokens=whole("max_total_tokens", self.max_total_tokens, 1),
            max_usd=positive_number("max_usd", self.max_usd),
            max_seconds=positive_number("max_seconds", self.max_seconds),
        )
        allowed("auto", self.auto, (None, *CANDIDATES))
        check_function("price", self.price)

    @property
    def size(self) -> str:
        """The size of the budget if it is one by size."""
        return self.auto or "light"

    @property
    def is_by_size(self) -> bool:
        """Whether the metric calls follow from `size`, beside the limits in other units.

        Other limits alone are not enough: they may never be reached, because a model may be free.
        """
        return self.max_metric_calls is None and self.max_full_evals is None

    @property
    def other_limits(self) -> Limits:
        """What is limited in other units than metric calls."""
        return Limits(
            rollouts=self.max_rollouts,
            reflection_calls=self.max_reflection_calls,
            proposals=self.max_proposals,
            total_tokens=self.max_total_tokens,
            usd=self.max_usd,
            seconds=self.max_seconds,
        )

    def metric_calls(self, examples: int) -> int | None:
        """The metric calls, given how many training and validation examples there are together.

        Returns None if it is a budget by size.
        """
        if self.max_full_evals is not None:
            return self.max_full_evals * examples
        return self.max_metric_calls

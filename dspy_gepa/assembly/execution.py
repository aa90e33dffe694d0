"""Threads, timeouts and models of a run, and whether a limit in money or tokens can be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dspy

from dspy_gepa.config.config import Config
from dspy_gepa.config.execution import Execution
from dspy_gepa.core.budget import Limits
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.usage import listed_price, priced
from dspy_gepa.run.pooled import begins_again

__all__ = [
    "KEPT_BACK",
    "check_prices",
    "kept_back",
    "must_know_price",
    "num_threads",
    "timeout_seconds",
    "without_kept_back",
]

KEPT_BACK = (
    "%d of the calls are kept back, for rollouts that are begun again if their process is lost."
)
_TIMEOUT_SECONDS = 900.0
"""Our choice: longer than agents mostly take, and short enough not to lose a night."""


def num_threads(execution: Execution) -> int:
    """How many rollouts run at once."""
    return execution.num_threads or dspy.settings.num_threads or 1


def kept_back(execution: Execution, limits: Limits) -> int:
    """The calls that are kept back for rollouts which a pool makes twice, so that limits hold.

    Only if the pool begins again by itself what a lost process did: then as many as are in flight,
    and a quarter of the limit at most.
    """
    if limits.rollouts_at_most is None or not begins_again(execution.executor):
        return 0
    return min(num_threads(execution), limits.rollouts_at_most // 4)


def without_kept_back(execution: Execution, limits: Limits) -> Limits:
    """The limits without what is kept back."""
    kept = kept_back(execution, limits)
    return replace(
        limits,
        metric_calls=None if limits.metric_calls is None else limits.metric_calls - kept,
        rollouts=None if limits.rollouts is None else limits.rollouts - kept,
    )


def timeout_seconds(execution: Execution) -> float | None:
    """How long the program, its metric or a reflection may take; None for as long as it does.

    What takes too long can be left behind only if it runs in another thread. So with one thread
    there is a limit only if one is asked for.
    """
    asked_seconds = execution.timeout_seconds
    if isinstance(asked_seconds, str):
        return None if num_threads(execution) == 1 else _TIMEOUT_SECONDS
    return asked_seconds


def must_know_price(config: Config) -> bool:
    """Whether a model whose price is not known has to be refused."""
    return config.budget.max_usd is not None or "usd" in config.scores.directions


def check_prices(config: Config, models: Mapping[str, Any], *, measures_usd: bool = False) -> None:
    """Nothing, if every model that is known beforehand can be counted and priced.

    Args:
        config: What was asked for.
        models: What each model is used for, and the model, as it was given.
        measures_usd: Whether an objective that is called USD is measured, and not scored.

    Raises:
        SettingsError: tokens or USD are limited or compared, and one of them cannot be.
    """
    budget = config.budget
    asking = {
        f"max_usd={budget.max_usd}": budget.max_usd is not None,
        "objectives=usd": measures_usd,
        f"max_total_tokens={budget.max_total_tokens}": budget.max_total_tokens is not None,
    }
    limit = next((name for name, is_given in asking.items() if is_given), "")
    if not limit:
        return
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
    for use, model in models.items():
        if model is None or isinstance(model, str):
            name = model
        elif isinstance(model, dspy.BaseLM):
            name = model.model
        else:
            raise SettingsError(
                f"{limit} was given, and the model for {use} is {model!r:.80}, whose calls "
                "cannot be counted. Give a dspy.LM or another dspy.BaseLM in its place."
            )
        if not name or (budget.max_usd is None and not measures_usd):
            continue
        price = priced(budget.price or listed_price, name, usage)
        if price.problem:
            raise SettingsError(f"{limit} was given, and it cannot be kept. {price.problem}")
        if price.usd is None:
            raise SettingsError(
                f"{limit} was given, and the price of {name} is not known. Give price=, a "
                "function from a model's name and a call's usage to USD, or ask for other "
                "units."
            )

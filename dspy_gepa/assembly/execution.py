"""Threads, timeouts and models of a run, and whether a limit in money or tokens can be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from dspy_gepa.config.config import Config
from dspy_gepa.config.execution import Execution
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.usage import listed_price, priced

__all__ = ["check_prices", "must_know_price", "num_threads", "timeout_seconds"]

_TIMEOUT_SECONDS = 900.0
"""Our choice: longer than agents mostly take, and short enough not to lose a night."""


def num_threads(execution: Execution) -> int:
    """How many rollouts run at once."""
    return execution.num_threads or dspy.settings.num_threads or 1


def timeout_seconds(execution: Execution) -> float | None:
    """How long the program, its metric or a reflection may take; None for as long as it does.

    To leave something behind that takes too long, it has to run in another thread. So that
    nobody gets one who asked for one thread, there is a limit then only if it is asked for.
    """
    asked_seconds = execution.timeout_seconds
    if isinstance(asked_seconds, str):
        return None if num_threads(execution) == 1 else _TIMEOUT_SECONDS
    return asked_seconds


def must_know_price(config: Config) -> bool:
    """Whether a call of a model whose price is not known cannot be allowed."""
    return config.budget.max_usd is not None or "usd" in config.scores.directions


def check_prices(config: Config, models: Mapping[str, Any]) -> None:
    """Nothing, if every model that is known beforehand can be counted and priced.

    Args:
        config: What was asked for.
        models: What each model is used for, and the model, as it was given.

    Raises:
        SettingsError: there is a limit in tokens or USD, and one of them cannot be.
    """
    budget = config.budget
    asking = {
        f"max_usd={budget.max_usd}": budget.max_usd is not None,
        "objectives=usd": "usd" in config.scores.directions,
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
        if not (name and must_know_price(config)):
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

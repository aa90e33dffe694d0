"""What is done less of where the budget is so small that not one whole proposal would fit.

Smoke tests and first tries have such budgets, and want to see the whole way once: an example looked
at, its rewrite compared on it and validated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dspy_gepa.core.budget import NOTHING, Limits, Tally
from dspy_gepa.core.rungs import Rungs
from dspy_gepa.program.examples import ExampleTable

__all__ = ["OF_THE_BUDGET", "Fit", "fitted"]

OF_THE_BUDGET = ("settings.rungs", "settings.feedback_calls")
"""The settings that follow from it, so that they may change when a run is carried on with more."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a search is begun."""

    rungs: Rungs | None
    """On how many validation examples; None where on all of them."""
    feedback_calls: int
    """The most metric calls that a reflection makes an example; with 0 none is asked for."""


def fitted(
    limits: Limits, table: ExampleTable, rungs: Rungs | None, feedback_calls: int, *, seed: int
) -> Fit:
    """The same, where a proposal that looks at one example fits; else less, so that one does.

    First the program is validated on fewer examples before its first rewrite, and that on as many.
    Where even one is too many, the metric is not asked about single components.
    """
    asked = Fit(rungs, feedback_calls)
    order = table.validation if rungs is None else rungs.order(table.validation, seed=seed)
    for calls in dict.fromkeys((feedback_calls, 0)):
        most = len(order) if rungs is None else min(rungs.seed, len(order))
        for count in range(most, 0, -1):
            smaller = rungs
            if rungs is not None and count < most:
                smaller = replace(rungs, seed=count, first=min(rungs.first, count))
            first = count if smaller is None else min(smaller.first, count)
            needed = _least(table, order[:count], order[:first], calls)
            if not limits.obstacle(used=NOTHING, more=needed):
                return Fit(smaller, calls)
            if rungs is None:
                break
    return asked


def _least(
    table: ExampleTable, validated: tuple[int, ...], first: tuple[int, ...], feedback_calls: int
) -> Tally:
    """What the seed's validation and one proposal need that looks at one example, at most."""
    train = set(table.train)
    looked = int(not train <= set(validated))
    gated = int(not train <= set(first))
    rollouts = len(validated) + looked + gated + len(first) + 2 * len(table.anchors)
    return Tally(rollouts=rollouts, metric_calls=rollouts + feedback_calls)

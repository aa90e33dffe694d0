"""`GEPA.plan`: what a run will cost, and budgets by size, before anything is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dspy_gepa.core.forecast import Forecast
from dspy_gepa.errors import readable

__all__ = ["CANDIDATES", "Plan", "sized_budget", "trials"]

CANDIDATES = {"light": 6, "medium": 12, "heavy": 18}
"""The sizes of `auto`, in candidates, as in dspy.GEPA."""


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a run will cost. Printed, it is a table for people."""

    forecast: Forecast
    components: tuple[str, ...]
    demos: int = 0
    """The most metric calls for demonstrations after the search, beside its limits."""
    usual: Forecast | None = None
    """What a run without limits would cost, which `warning` goes by; None if `forecast` is that."""
    verdict: int = 0
    """The metric calls that are held for the verdict on held-out examples, beside its limits."""
    specialists: int = 0
    """The metric calls that are held for specialists, likewise: for searches that make them, and
    for the scores that members lack."""

    @property
    def warning(self) -> str:
        """What speaks against this budget; empty if nothing does."""
        usual, limits = self.usual or self.forecast, self.forecast.settings.limits
        if limits.rollouts_at_most is None or limits.rollouts_at_most >= usual.floor:
            return ""
        return (
            f"A budget of {limits.rollouts_in_words} is below the useful floor of {usual.floor}: "
            f"{usual.seed.metric_calls} to validate the program as it is, and up to "
            f"{usual.most.metric_calls} for each of three proposals. What fits is done."
        )

    def __repr__(self) -> str:
        """The table, which is all that there is to see."""
        return str(self)

    def __str__(self) -> str:
        forecast, settings = self.forecast, self.forecast.settings
        lowest, highest = forecast.proposals
        many = "not limited" if highest < 0 else f"{lowest} to {highest}"
        lines = [
            f"components             {', '.join(self.components)}",
            f"training examples      {len(settings.train)}",
            f"validation examples    {len(settings.validation)}",
            f"program as it is       {_counted(forecast.seed.metric_calls)}",
            f"a proposal             {forecast.least.metric_calls} to "
            + _counted(forecast.most.metric_calls),
            _reflections(forecast),
            f"proposals that fit     {many}",
            f"limits                 {settings.limits.listed()}",
        ]
        if self.demos:
            lines.append(f"demonstrations         up to {_counted(self.demos)} more")
        if self.specialists:
            lines.append(f"specialists            up to {_counted(self.specialists)} more")
        if self.verdict:
            held = f"held-out examples      {self.verdict // 2}, for the verdict "
            lines.append(held + f"{_counted(self.verdict)} more")
        return readable("\n".join([*lines, *filter(None, [self.warning])]))


def _reflections(forecast: Forecast) -> str:
    least, most = forecast.least.reflection_calls, forecast.most.reflection_calls
    return f"  reflection LM        {least} to {most} calls"


def _counted(metric_calls: int) -> str:
    return f"{metric_calls} metric calls"


def sized_budget(forecast: Forecast, size: str, *, components: int) -> int:
    """The metric calls for a budget by `auto`, by what the search really does.

    Our choice: the seed, a proposal for each of the trials that dspy.GEPA and MIPROv2 make for so
    many candidates, halfway between a proposal's least and most, and the winner on all
    validation examples.
    """
    count = trials(components, CANDIDATES[size])
    proposal = -(-(forecast.least.metric_calls + forecast.most.metric_calls) // 2)
    validation = len(forecast.settings.validation)
    return forecast.seed.metric_calls + count * proposal + validation


def trials(components: int, candidates: int) -> int:
    """How many proposals dspy.GEPA and MIPROv2 plan for so many components and candidates."""
    return int(max(4 * components * math.log2(candidates), 1.5 * candidates))

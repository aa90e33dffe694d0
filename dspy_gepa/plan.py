"""`GEPA.plan`: what a run will cost, and budgets by size, before anything is spent."""

from __future__ import annotations

import html
import math
from dataclasses import asdict, dataclass
from typing import Any

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

    @property
    def most_metric_calls(self) -> int | None:
        """What it costs at most, with all that follows the search; None if it is not limited."""
        most = self.forecast.settings.limits.rollouts_at_most
        return None if most is None else most + self.demos + self.specialists + self.verdict

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON can have it; amounts are metric calls where nothing else is said."""
        known, settings = self.forecast, self.forecast.settings
        lowest, highest = known.proposals
        limits = asdict(settings.limits)
        return {
            "components": list(self.components),
            "training_examples": len(settings.train),
            "validation_examples": len(settings.validation),
            "program_as_it_is": known.seed.metric_calls,
            "proposal_at_least": known.least.metric_calls,
            "proposal_at_most": known.most.metric_calls,
            "reflection_calls_at_least": known.least.reflection_calls,
            "reflection_calls_at_most": known.most.reflection_calls,
            "proposals": None if highest < 0 else [lowest, highest],
            "limits": {unit: limit for unit, limit in limits.items() if limit is not None},
            "demonstrations": self.demos,
            "specialists": self.specialists,
            "heldout": self.verdict,
            "at_most": self.most_metric_calls,
            "warning": self.warning,
        }

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

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

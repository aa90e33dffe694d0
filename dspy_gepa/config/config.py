"""Everything that an optimizer is given, in groups, each of which is checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dspy_gepa.config.afterwards import Afterwards
from dspy_gepa.config.budget import Budget
from dspy_gepa.config.execution import Execution, Tracking
from dspy_gepa.config.search import ScoreSettings, Search
from dspy_gepa.config.texts import Reflection, TextRules

__all__ = ["Config"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run is asked for. No name stands in two groups."""

    budget: Budget = field(default_factory=Budget)
    search: Search = field(default_factory=Search)
    scores: ScoreSettings = field(default_factory=ScoreSettings)
    texts: TextRules = field(default_factory=TextRules)
    reflection: Reflection = field(default_factory=Reflection)
    execution: Execution = field(default_factory=Execution)
    tracking: Tracking = field(default_factory=Tracking)
    afterwards: Afterwards = field(default_factory=Afterwards)

    @property
    def arguments(self) -> dict[str, Any]:
        """Every argument by its name, whichever group it stands in."""
        groups = [getattr(self, group.name) for group in fields(self)]
        return {each.name: getattr(group, each.name) for group in groups for each in fields(group)}

    def with_arguments(self, arguments: Mapping[str, Any]) -> Config:
        """The same with other values for some arguments, whichever groups they stand in.

        For names that are known only when the program runs: a key of `gepa_kwargs`, an attribute.

        Raises:
            SettingsError: a value is wrong.
        """
        changed = {}
        for group in fields(self):
            value = getattr(self, group.name)
            own = {
                each.name: arguments[each.name] for each in fields(value) if each.name in arguments
            }
            if own:
                changed[group.name] = replace(value, **own)
        return replace(self, **changed)

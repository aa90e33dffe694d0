"""How a run searches, and what its scores mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dspy_gepa.config.checks import allowed, are, check_function, check_type, set_checked, whole
from dspy_gepa.core.columns import FRONTIERS, FrontierKind
from dspy_gepa.core.gate import Gate
from dspy_gepa.errors import SettingsError
from dspy_gepa.judging.feedback import finite
from dspy_gepa.models.usage import MEASURED

__all__ = ["SEARCHES", "ScoreSettings", "Search"]

SEARCHES = ("default", "paper")
DIRECTIONS = ("max", "min")


@dataclass(frozen=True, kw_only=True)
class Search:
    """How proposals are made, compared and merged. None leaves a choice to the named search.

    But `max_merge_invocations=None` is no merges, and `seed=None` is the seed 0.

    Raises:
        SettingsError: an argument is wrong.
    """

    search: str = "default"
    seed: int | None = 0
    reflection_minibatch_size: int | None = None
    candidate_selection_strategy: Any = None
    component_selector: Any = None
    gate: Gate | None = None
    frontier_type: FrontierKind = "instance"
    use_merge: bool = True
    max_merge_invocations: int | None = 5
    window: int | None = None
    prefer: str = "calls"
    rollouts_per_example: int = 1

    def __post_init__(self) -> None:
        allowed("search", self.search, SEARCHES)
        allowed("prefer", self.prefer, ("calls", "time"))
        allowed("frontier_type", self.frontier_type, FRONTIERS)
        check_function("gate", self.gate)
        set_checked(
            self,
            seed=whole("seed", self.seed, 0),
            reflection_minibatch_size=whole(
                "reflection_minibatch_size", self.reflection_minibatch_size, 1
            ),
            max_merge_invocations=whole("max_merge_invocations", self.max_merge_invocations, 0),
            window=whole("window", self.window, 1),
            rollouts_per_example=whole("rollouts_per_example", self.rollouts_per_example, 1),
        )


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """What the metric's scores mean, and by which the winner is chosen.

    Raises:
        SettingsError: an argument is wrong.
    """

    failure_score: float | None = None
    perfect_score: float | None = 1.0
    skip_perfect_score: bool = True
    objectives: Mapping[str, str] | Sequence[str] = ()
    aggregate_metric: Callable[[Sequence[tuple[Any, Any]]], float] | None = None
    warn_on_score_mismatch: bool = True

    def __post_init__(self) -> None:
        check_type(
            "objectives",
            self.objectives,
            'a list of names, or a dict from name to "max" or "min",',
            is_right=are(str, self.objectives),
        )
        for name, direction in self.directions.items():
            allowed(f"objectives[{name!r}]", direction, DIRECTIONS)
        check_function("aggregate_metric", self.aggregate_metric)
        if self.failure_score is not None:
            set_checked(self, failure_score=finite("failure_score", self.failure_score))
        if self.perfect_score is None:
            if self.skip_perfect_score:
                raise SettingsError("perfect_score=None needs skip_perfect_score=False.")
            return
        set_checked(self, perfect_score=finite("perfect_score", self.perfect_score))
        if self.failure_score is not None and self.failure_score > self.perfect_score:
            raise SettingsError(
                f"failure_score={self.failure_score:g} is above perfect_score="
                f"{self.perfect_score:g}: a crash would count for more than the best answer. "
                "Give the lowest and the highest score of the metric."
            )

    @property
    def failure(self) -> float:
        """What a failed rollout scores.

        If the user gave nothing, it is 0, or one less than a `perfect_score` of 0 or lower. Then it
        holds only where no lower score is compared with it: see `assumed_failure`.
        """
        if self.failure_score is not None:
            return self.failure_score
        highest = self.perfect_score
        return highest - 1 if highest is not None and highest <= 0 else 0.0

    @property
    def assumed_failure(self) -> float | None:
        """That number where nobody gave it; else None."""
        return self.failure if self.failure_score is None else None

    @property
    def directions(self) -> Mapping[str, str]:
        """Objective to whether more of it is better, "max", or less, "min"."""
        if isinstance(self.objectives, Mapping):
            return self.objectives
        return {name: "min" if name in MEASURED else "max" for name in self.objectives}

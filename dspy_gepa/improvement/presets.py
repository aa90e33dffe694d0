"""How each mode searches, where arguments leave it open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.components import ComponentSelector
from dspy_gepa.core.gate import comes_to_a_score, strict_improvement
from dspy_gepa.core.sampling import EpochSampler
from dspy_gepa.core.selection import ClimbOrWalk, Selection, by_mean, pareto
from dspy_gepa.core.state import Settings
from dspy_gepa.improvement.config import AnythingArguments
from dspy_gepa.presets import settings_for
from dspy_gepa.program.examples import ExampleTable

__all__ = ["settings_for_mode"]

_PROBLEMS = 3
"""Problems that a proposal looks at if nothing else is asked for."""


def settings_for_mode(
    asked: AnythingArguments,
    table: ExampleTable,
    limits: Limits,
    *,
    selection: Selection | None,
    components: ComponentSelector | None,
    frozen: Sequence[str],
    reflection_calls: int,
) -> Settings:
    """What the search is asked to do.

    A single task has one problem, so there is nothing to validate and nobody to merge with; climbed
    alone it stalls, so whatever comes to a score is kept, and may be gone on from. If several
    problems are all to be solved, each artifact is run on all of them at once: if it were run on a
    few first, one that is good at the others would be dropped. Only generalization to unseen
    examples is what `GEPA` does, by whose own choice it searches.
    """
    config = asked.shared
    usual = settings_for(
        config,
        table,
        limits,
        selection=selection,
        components=components,
        feedback_calls=0,
        reflection_calls=reflection_calls,
        frozen=tuple(frozen),
    )
    chosen: dict[str, Any] = {
        "mends": config.reflection.repairs,
        "writes_seed": asked.artifact is None,
    }
    if asked.failure_score is None:
        chosen |= {"lowest_score": float("-inf"), "assumed_failure_score": None}
    if asked.inferred_mode == "generalization":
        if not config.scores.skip_perfect_score:
            chosen |= {"validation_schedule": None, "ranking": by_mean, "caution": None}
        return replace(usual, **chosen)
    is_single = asked.inferred_mode == "single_task"
    size = config.search.reflection_minibatch_size or _PROBLEMS
    chosen |= {
        "validation_schedule": None,
        "ranking": by_mean,
        "caution": None,
        "sampler": EpochSampler(1 if is_single else min(size, len(table.train))),
        # What is worse on some problems may be the best on others.
        "remembers_rejected": False,
        "minibatch_sizes": (),
        "stops_early": False,
        "gate": config.search.gate or strict_improvement,
        "window": config.search.window or 1,
    }
    if is_single:
        chosen |= {"gate": config.search.gate or comes_to_a_score, "tells_attempts": True}
    if selection is None:
        chosen["selection"] = ClimbOrWalk() if is_single else pareto
    if is_single or len(asked.seed) == 1:
        chosen["use_merge"] = False
    return replace(usual, **chosen)

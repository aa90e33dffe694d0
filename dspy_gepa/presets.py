"""The two searches by name: the published algorithm, and the default with fewer rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dspy_gepa.arguments import Arguments
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.caution import Cautious
from dspy_gepa.core.components import in_one_call
from dspy_gepa.core.gate import strict_improvement
from dspy_gepa.core.merge import TextMerge, better_text
from dspy_gepa.core.rungs import Rungs
from dspy_gepa.core.sampling import Epochs, Looks
from dspy_gepa.core.selection import ProbablyBest, by_estimate
from dspy_gepa.core.state import Settings
from dspy_gepa.fitting import fitted
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.strategies import component_selector, selection

__all__ = ["is_single_component", "settings_for"]

_PAPER_MINIBATCH = 3
_MINIBATCHES = (3, 5, 8)
"""Our choice: of these sizes, that which gains most is found out in the run."""
_WINDOW_IN_A_HURRY = 16
"""Our choice for `prefer="time"`, not measured against others."""
_CONTRASTS = 8
"""Runs that went well among which a reflection finds those that are most like its failures."""
_NOBODY: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def settings_for(
    given: Arguments,
    table: ExampleTable,
    limits: Limits,
    *,
    feedback_calls: int,
    asked_about: tuple[str, ...] = (),
    reflection_calls: int,
    text_merge: TextMerge = better_text,
    frozen: tuple[str, ...] = (),
    owners: Mapping[str, tuple[str, ...]] = _NOBODY,
) -> Settings:
    """What the search is asked to do, where arguments leave it open by the search's own choice.

    Args:
        given: The arguments.
        table: Training and validation examples.
        limits: The budget.
        feedback_calls: Of how many components a proposal has the metric asked, an example.
        asked_about: Those that it can be asked about.
        reflection_calls: The most calls of the reflection LM that a proposal makes.
        text_merge: What the default search makes of two texts of one component.
        frozen: Components that are never rewritten.
        owners: For components that are not called themselves, those whose calls are theirs.
    """
    chosen = _paper(given) if given.search == "paper" else _default(given, limits, text_merge)
    fit = fitted(limits, table, chosen.get("rungs"), feedback_calls, seed=given.seed or 0)
    return Settings(
        **{**chosen, "rungs": fit.rungs},
        train=table.train,
        validation=table.validation,
        limits=limits,
        seed=given.seed or 0,
        components=component_selector(_components(given), table.examples),
        anchors=table.anchors,
        frozen=frozen,
        owners=owners,
        minimized=tuple(name for name, way in given.directions.items() if way == "min"),
        frontier=given.frontier_type,
        skip_perfect_score=given.skip_perfect_score,
        perfect_score=1.0 if given.perfect_score is None else given.perfect_score,
        lowest_score=given.failure_score,
        feedback_calls=fit.feedback_calls,
        asked_about=asked_about,
        reflection_calls=reflection_calls,
        use_merge=given.use_merge and given.max_merge_invocations is not None,
        max_merge_invocations=given.max_merge_invocations or 0,
    )


def is_single_component(given: Arguments) -> bool:
    """Whether a proposal rewrites one component at a time."""
    return bool(_components(given) == "round_robin")


def _components(given: Arguments) -> Any:
    """Which components a proposal rewrites.

    Our choice for the default search is all of them where one reflection call is about all: one at
    a time needed several times the rollouts in simulation.
    """
    if given.component_selector is not None:
        return given.component_selector
    # A description is one of many, and mostly not the one at fault.
    is_one_of_many = not {"tools", "fields"}.isdisjoint(given.optimize)
    return "round_robin" if is_one_of_many or given.search == "paper" else in_one_call


def _paper(given: Arguments) -> dict[str, Any]:
    """The published algorithm."""
    return {
        "sampler": Epochs(given.reflection_minibatch_size or _PAPER_MINIBATCH),
        "selection": selection(given.candidate_selection_strategy or "pareto"),
        "gate": given.gate or strict_improvement,
        "window": given.window or 1,
    }


def _default(given: Arguments, limits: Limits, text_merge: TextMerge) -> dict[str, Any]:
    """Validation in rungs, parents and winner by estimate."""
    is_in_a_hurry = given.prefer == "time"
    window = given.window or (_WINDOW_IN_A_HURRY if is_in_a_hurry else _window(limits))
    strategy = given.candidate_selection_strategy
    chosen: dict[str, Any] = {
        "selection": ProbablyBest() if strategy is None else selection(strategy),
        "ranking": by_estimate,
        "caution": Cautious(),
        "contrasts": _CONTRASTS,
        "remembers_rejected": True,
        "text_merge": text_merge,
        "window": window,
    }
    if given.frontier_type == "instance" and given.aggregate_metric is None:
        # Otherwise members are compared by what is taken over the whole validation set.
        chosen["rungs"] = Rungs()
    size = given.reflection_minibatch_size
    if not given.skip_perfect_score:
        # Then no score says that an example is right, and there are no failures to look for.
        chosen |= {
            "sampler": Epochs(size or _PAPER_MINIBATCH),
            "gate": given.gate or strict_improvement,
        }
        return chosen
    return chosen | {
        "sampler": Looks(),
        "minibatch_sizes": (size,) if size else _MINIBATCHES,
        "stops_early": not is_in_a_hurry,
        "gate": given.gate or strict_improvement,
    }


def _window(limits: Limits) -> int:
    """How many proposals are under way at once.

    Our choice: a proposal that does not see the last ones wastes calls. On draws for tuning four
    at once took a quarter more than two for the same score, and two as much as one; where every
    reflection is a step ahead, one at a time goes twice as far.
    """
    most = limits.rollouts_at_most
    return 2 if most is None else min(max(most // 400, 1), 2)

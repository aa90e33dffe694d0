"""The two searches by name: the published one, and the default, which needs fewer rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from dspy_gepa.config.config import Config
from dspy_gepa.core.budget import NOTHING, Limits, Tally
from dspy_gepa.core.caution import Cautious
from dspy_gepa.core.components import ComponentSelector, in_one_call, round_robin
from dspy_gepa.core.gate import strict_improvement
from dspy_gepa.core.merge import TextMerge, better_text
from dspy_gepa.core.sampling import EpochSampler, FailureFirstSampler
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.selection import SELECTIONS, ProbablyBest, Selection, by_estimate
from dspy_gepa.core.state import Settings
from dspy_gepa.program.examples import ExampleTable

__all__ = ["OF_THE_BUDGET", "is_single_component", "settings_for"]

OF_THE_BUDGET = ("settings.validation_schedule", "settings.feedback_calls")
"""The settings that are cut down to fit a small budget. They may differ if a run is carried on with
a larger one."""

_PAPER_MINIBATCH = 3
_MINIBATCHES = (3, 5, 8)
"""Our choice: which of these sizes gains most is found out in the run."""
_WINDOW_IN_A_HURRY = 16
"""Our choice for `prefer="time"`, not measured against others."""
_CONTRASTS = 8
"""At most so many runs that went well are given to a reflection, which shows those of them that are
most like its failures."""
_NOBODY: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def settings_for(
    config: Config,
    table: ExampleTable,
    limits: Limits,
    *,
    selection: Selection | None = None,
    components: ComponentSelector | None = None,
    feedback_calls: int,
    asked_about: tuple[str, ...] = (),
    reflection_calls: int,
    text_merge: TextMerge = better_text,
    frozen: tuple[str, ...] = (),
    owners: Mapping[str, tuple[str, ...]] = _NOBODY,
) -> Settings:
    """What the search is asked to do, by the search's own choice if that is left open.

    Args:
        config: What was asked for.
        table: Training and validation examples.
        limits: The budget.
        selection: How a parent is chosen; by the search's own choice if it is None.
        components: Which components are rewritten; likewise.
        feedback_calls: About how many components a proposal asks the metric, for each example.
        asked_about: The components that the metric can be asked about.
        reflection_calls: The most calls of the reflection LM that a proposal makes.
        text_merge: What the default search makes of two texts of one component.
        frozen: Components that are never rewritten.
        owners: For components that are not called themselves, those whose calls are theirs.
    """
    search, scores = config.search, config.scores
    chosen = (
        _paper(config, selection)
        if search.search == "paper"
        else _default(config, limits, selection, text_merge)
    )
    seed = search.seed or 0
    fit = _fitted(limits, table, chosen.get("validation_schedule"), feedback_calls, seed=seed)
    return Settings(
        **{**chosen, "validation_schedule": fit.validation_schedule},
        train=table.train,
        validation=table.validation,
        limits=limits,
        seed=seed,
        components=components or _components(config),
        anchors=table.anchors,
        frozen=frozen,
        owners=dict(owners),
        minimized=tuple(name for name, way in scores.directions.items() if way == "min"),
        frontier=search.frontier_type,
        skip_perfect_score=scores.skip_perfect_score,
        perfect_score=1.0 if scores.perfect_score is None else scores.perfect_score,
        lowest_score=scores.failure,
        assumed_failure_score=scores.assumed_failure,
        feedback_calls=fit.feedback_calls,
        asked_about=asked_about,
        reflection_calls=min(reflection_calls, limits.reflection_calls or reflection_calls),
        use_merge=search.use_merge and search.max_merge_invocations is not None,
        max_merge_invocations=search.max_merge_invocations or 0,
    )


def is_single_component(config: Config) -> bool:
    """Whether a proposal rewrites one component at a time."""
    asked = config.search.component_selector
    return asked == "round_robin" or (asked is None and _components(config) is round_robin)


def _components(config: Config) -> ComponentSelector:
    """Which components a proposal rewrites if nothing is asked for.

    Our choice for the default search is all of them where one reflection call is about all: one at
    a time needed several times the rollouts in simulation.
    """
    # A description is one of many, and mostly not the one at fault.
    is_one_of_many = not {"tools", "fields"}.isdisjoint(config.texts.optimize)
    return round_robin if is_one_of_many or config.search.search == "paper" else in_one_call


def _paper(config: Config, selection: Selection | None) -> dict[str, Any]:
    """The published algorithm."""
    search = config.search
    return {
        "sampler": EpochSampler(search.reflection_minibatch_size or _PAPER_MINIBATCH),
        "selection": selection or SELECTIONS["pareto"],
        "gate": search.gate or strict_improvement,
        "window": search.window or 1,
    }


def _default(
    config: Config, limits: Limits, selection: Selection | None, text_merge: TextMerge
) -> dict[str, Any]:
    """Children are validated on few examples first; parents and winner are chosen by estimate."""
    search, scores = config.search, config.scores
    is_in_a_hurry = search.prefer == "time"
    chosen: dict[str, Any] = {
        "selection": selection or ProbablyBest(),
        "ranking": by_estimate,
        "caution": Cautious(),
        "contrasts": _CONTRASTS,
        "remembers_rejected": True,
        "text_merge": text_merge,
        "window": search.window or (_WINDOW_IN_A_HURRY if is_in_a_hurry else _window(limits)),
        "gate": search.gate or strict_improvement,
    }
    if search.frontier_type == "instance" and scores.aggregate_metric is None:
        # Otherwise members are compared by what is taken over the whole validation set.
        chosen["validation_schedule"] = ValidationSchedule()
    size = search.reflection_minibatch_size
    if not scores.skip_perfect_score:
        # Then no score says that an example is right, and there are no failures to look for.
        return chosen | {"sampler": EpochSampler(size or _PAPER_MINIBATCH)}
    return chosen | {
        "sampler": FailureFirstSampler(),
        "minibatch_sizes": (size,) if size else _MINIBATCHES,
        "stops_early": not is_in_a_hurry,
    }


def _window(limits: Limits) -> int:
    """How many proposals are under way at once.

    Our choice: a proposal that does not see the last ones wastes calls. On draws for tuning four
    at once took a quarter more than two for the same score, and two as much as one; where every
    reflection is a step ahead, one at a time goes twice as far.
    """
    most = limits.rollouts_at_most
    return 2 if most is None else min(max(most // 400, 1), 2)


@dataclass(frozen=True, slots=True)
class _Fit:
    """How a search is begun."""

    validation_schedule: ValidationSchedule | None
    """How validation is spread; None if all validation examples are run at once."""
    feedback_calls: int
    """The most metric calls that a reflection makes for an example; with 0 it makes none."""


def _fitted(
    limits: Limits,
    table: ExampleTable,
    schedule: ValidationSchedule | None,
    feedback_calls: int,
    *,
    seed: int,
) -> _Fit:
    """What was asked for if a proposal that looks at one example fits; else less, so that it does.

    Smoke tests and first tries have such budgets, and want to see the whole way once: an example
    looked at, its rewrite compared on it and validated.

    What is cut down first is validation: the program is run on fewer examples before its first
    rewrite, and so is the rewrite. If even one example is too many, the metric is not asked about
    single components.
    """
    asked = _Fit(schedule, feedback_calls)
    order = table.validation if schedule is None else schedule.order(table.validation, seed=seed)
    for calls in dict.fromkeys((feedback_calls, 0)):
        most = len(order) if schedule is None else min(schedule.seed_examples, len(order))
        for count in range(most, 0, -1):
            smaller = schedule
            if schedule is not None and count < most:
                smaller = replace(schedule, seed_examples=count, first=min(schedule.first, count))
            first = count if smaller is None else min(smaller.first, count)
            needed = _least(table, order[:count], order[:first], calls)
            if not limits.exceeded_limit(used=NOTHING, more=needed):
                return _Fit(smaller, calls)
            if schedule is None:
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

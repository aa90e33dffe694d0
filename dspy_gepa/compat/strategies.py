"""Strategies that were written for dspy.GEPA, with the views that they expect."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import dspy
import numpy as np

from dspy_gepa.core.components import COMPONENT_SELECTORS, ComponentSelector, ComponentView
from dspy_gepa.core.frontier import mean_scores, tops
from dspy_gepa.core.selection import SELECTIONS, PoolView, Selection
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Evidence
from dspy_gepa.errors import SettingsError, WrongType

__all__ = ["SearchView", "component_selector", "selection", "stopper"]

_DSPY_ARGUMENTS = 5
"""(state, trajectories, subsample_scores, candidate_idx, candidate), by position."""


@dataclass(frozen=True)
class SearchView:
    """The pool under the names that strategies written for dspy.GEPA read. Read only."""

    pool: PoolView
    turn: int = 0
    """How many proposals came before along the lineage of the member that is rewritten."""

    @property
    def i(self) -> int:
        """The number of the proposal, from 0."""
        return self.pool.ticket - 1

    @property
    def program_candidates(self) -> list[dict[str, str]]:
        """The members' texts."""
        return [dict(candidate) for candidate in self.pool.candidates]

    @property
    def list_of_named_predictors(self) -> list[str]:
        """The components' names."""
        return list(self.pool.candidates[0])

    @property
    def program_full_scores_val_set(self) -> list[float]:
        """Each member's mean validation score."""
        return [float(mean) for mean in mean_scores(self.pool.scores)]

    @property
    def per_program_tracked_scores(self) -> list[float]:
        """The same."""
        return self.program_full_scores_val_set

    @property
    def prog_candidate_val_subscores(self) -> list[dict[int, float]]:
        """Each member's scores by the number of the validation example."""
        rows = self.pool.scores
        return [{int(i): float(row[i]) for i in np.flatnonzero(~np.isnan(row))} for row in rows]

    @property
    def pareto_front_valset(self) -> dict[int, float]:
        """The best score on each validation example."""
        rows = self.pool.scores
        scored = np.flatnonzero(~np.isnan(rows).all(axis=0)).tolist()
        return {i: float(np.nanmax(rows[:, i])) for i in scored}

    @cached_property
    def program_at_pareto_front_valset(self) -> dict[int, set[int]]:
        """The members with the best score on each validation example."""
        top = tops(self.pool.scores)
        return {i: set(top[:, i].nonzero()[0].tolist()) for i in self.pareto_front_valset}

    def get_pareto_front_mapping(self) -> dict[int, set[int]]:
        """The members with the best score in each column of the frontier."""
        best = enumerate(tops(self.pool.columns).T)
        return {column: set(top.nonzero()[0].tolist()) for column, top in best if top.any()}

    @cached_property
    def named_predictor_id_to_update_next_for_program_candidate(self) -> list[int]:
        """The position of the component whose turn it is.

        It is the turn of the member that is rewritten, and stands in the list for every member. A
        strategy that changes the list changes it for itself alone.
        """
        turn = self.turn % len(self.list_of_named_predictors)
        return [turn] * len(self.pool.candidates)

    @property
    def total_num_evals(self) -> int:
        """Metric calls of all proposals that are over."""
        return self.pool.spent

    @property
    def num_full_ds_evals(self) -> int:
        """How many members were validated."""
        return len(self.pool.candidates)


def selection(strategy: object) -> Selection:
    """The parent selection that a name, a function or an object of dspy.GEPA's kind stands for.

    Raises:
        SettingsError: there is no strategy of that name.
        WrongType: it is none of the three.
    """
    choose = getattr(strategy, "select_candidate_idx", None)
    if callable(choose):

        def by_index(view: PoolView, random: Random) -> int:  # noqa: ARG001 - a Selection
            return int(choose(SearchView(view)))

        return by_index
    named: Selection = _named("candidate_selection_strategy", strategy, SELECTIONS)
    return named


def component_selector(strategy: object, examples: Sequence[dspy.Example]) -> ComponentSelector:
    """The component selector that a name or a function stands for.

    A function of one argument is shown a `ComponentView`; one of five is called as dspy.GEPA
    calls it.

    Raises:
        SettingsError: there is no strategy of that name.
        WrongType: it is neither.
    """
    named: Callable[..., Any] = _named("component_selector", strategy, COMPONENT_SELECTORS)
    if not _takes(named, _DSPY_ARGUMENTS):
        return named

    def by_arguments(view: ComponentView) -> tuple[str, ...]:
        trajectories = [_trajectory(item, examples) for item in view.evidence]
        scores = [item.rollout.score for item in view.evidence]
        texts = dict(view.candidate)
        seen = SearchView(view.pool, view.rewrites_before)
        return tuple(named(seen, trajectories, scores, view.parent, texts))

    return by_arguments


def stopper(callback: Callable[[Any], bool]) -> Callable[[RunState], str]:
    """A stop callback of the gepa package's kind, asked after every proposal."""
    name = getattr(callback, "__name__", type(callback).__name__)

    def reason(state: RunState) -> str:
        # Such a callback counts the proposals that are over: the seed is none.
        view = SearchView(state.pool(state.tally.proposals))
        return f"the stop callback {name} asked for it" if callback(view) else ""

    return reason


def _trajectory(evidence: Evidence, examples: Sequence[dspy.Example]) -> dict[str, Any]:
    rollout = evidence.rollout
    return {
        "example_ind": evidence.example,
        "example": examples[evidence.example],
        "prediction": dspy.Prediction(**rollout.trace.outputs),
        "trace": [
            (step.component, dict(step.inputs), dspy.Prediction(**step.outputs))
            for step in rollout.trace.steps
        ],
        "score": rollout.score,
    }


def _named(argument: str, strategy: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(strategy, str) and strategy in known:
        return known[strategy]
    allowed = f"allowed are {', '.join(map(repr, known))} or a function"
    if isinstance(strategy, str):
        raise SettingsError(f"{argument}={strategy!r} was given; {allowed}.")
    if not callable(strategy):
        raise WrongType(f"{argument}={strategy!r} was given; {allowed}.")
    return strategy


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True

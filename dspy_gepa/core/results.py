"""What one member scored, as rows that are aligned with the sets of examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from dspy_gepa.core.frontier import Flags, Scores, Vector
from dspy_gepa.core.rollout import Rollout

__all__ = ["Results", "Tickets", "all_scores", "place_of"]

Tickets = np.ndarray[Any, np.dtype[np.int64]]
"""Numbers of proposals."""
Row = TypeVar("Row", bound=np.ndarray[Any, Any])
_NEVER = np.iinfo(np.int64).max


@lru_cache(maxsize=16)
def place_of(examples: tuple[int, ...]) -> Mapping[int, int]:
    """Example to its position in this set."""
    return {example: place for place, example in enumerate(examples)}


@dataclass(frozen=True, slots=True)
class Results:
    """A member's scores, each with the proposal that brought it; arrays are never written to."""

    scores: Vector
    """One for every validation example, NaN if it was not run, -inf if it failed and a failure has
    no score of its own: see `Settings.assumed_failure_score`."""
    training: Vector
    """One for every training example, likewise."""
    objectives: Mapping[str, Vector]
    """For each objective that was seen one for every validation example, NaN if it has none."""
    scored_by: Tickets
    """For every validation example the proposal whose commit made the score known."""
    trained_by: Tickets
    """Likewise for every training example."""

    @classmethod
    def none(cls, *, train: int, validation: int) -> Results:
        """Nothing was run yet, on sets of these sizes."""
        scores, training = np.full(validation, np.nan), np.full(train, np.nan)
        return cls(scores, training, {}, np.full(validation, _NEVER), np.full(train, _NEVER))

    def plus(
        self,
        ticket: int,
        *,
        validation: Mapping[int, Rollout],
        training: Mapping[int, Rollout],
        score_of: Callable[[Rollout], float],
    ) -> Results:
        """These results and those of a proposal, by position in the sets; known ones stay."""
        new = {place: each for place, each in validation.items() if np.isnan(self.scores[place])}
        names = {name for rollout in new.values() for name in rollout.objectives}
        objectives = dict(self.objectives)
        for name in sorted(names):
            row = objectives.get(name, np.full(len(self.scores), np.nan))
            own = {p: each.objectives[name] for p, each in new.items() if name in each.objectives}
            objectives[name] = _filled(row, own)
        scores = _filled(self.scores, {place: score_of(each) for place, each in new.items()})
        scored_by = _filled(self.scored_by, dict.fromkeys(new, ticket))
        new = {place: each for place, each in training.items() if np.isnan(self.training[place])}
        trained = _filled(self.training, {place: score_of(each) for place, each in new.items()})
        trained_by = _filled(self.trained_by, dict.fromkeys(new, ticket))
        return Results(scores, trained, objectives, scored_by, trained_by)

    def without(self, *, validation: Flags, train: Flags) -> Results:
        """What is left where these results are taken away."""
        return replace(
            self,
            scores=np.where(validation, np.nan, self.scores),
            training=np.where(train, np.nan, self.training),
            objectives={
                name: np.where(validation, np.nan, row) for name, row in self.objectives.items()
            },
        )

    def before(self, ticket: int) -> Results:
        """What was known when the proposals below this ticket were over."""
        return self.without(validation=self.scored_by >= ticket, train=self.trained_by >= ticket)


def all_scores(results: Sequence[Results], width: int) -> Scores:
    """Shape (members, width): scores on validation examples, and after them on training ones."""
    rows = [np.concatenate([each.scores, each.training]) for each in results]
    return np.stack(rows) if rows else np.empty((0, width))


def _filled(row: Row, values: Mapping[int, float]) -> Row:
    """The row with these values, by position."""
    if not values:
        return row
    row = row.copy()
    row[list(values)] = list(values.values())
    row.setflags(write=False)
    return row

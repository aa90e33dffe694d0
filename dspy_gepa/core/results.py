"""What one member scored, as rows that are aligned with the sets of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from dspy_gepa.core.frontier import Vector

__all__ = ["Results", "Tickets", "place_of"]

Tickets = np.ndarray[Any, np.dtype[np.int64]]
"""Numbers of proposals."""
_NEVER = np.iinfo(np.int64).max


@lru_cache(maxsize=16)
def place_of(examples: tuple[int, ...]) -> Mapping[int, int]:
    """Example to its position in this set."""
    return {example: place for place, example in enumerate(examples)}


@dataclass(frozen=True, slots=True)
class Results:
    """A member's scores, each with the proposal that brought it; arrays are never written to."""

    scores: Vector
    """One for every validation example, NaN if it was not run."""
    training: Vector
    """One for every training example, likewise."""
    columns: Vector
    """Its row of the frontier."""
    scored_by: Tickets
    """For every validation example the proposal whose commit made the score known."""
    trained_by: Tickets
    """Likewise for every training example."""

    @classmethod
    def none(cls, *, train: int, validation: int) -> Results:
        """Nothing was run yet, on sets of these sizes."""
        scores, training = np.full(validation, np.nan), np.full(train, np.nan)
        return cls(scores, training, scores, np.full(validation, _NEVER), np.full(train, _NEVER))

    def plus(
        self,
        ticket: int,
        *,
        scores: Mapping[int, float],
        training: Mapping[int, float],
    ) -> Results:
        """These results and those of a proposal, by position in the sets; known ones stay."""
        more, scored_by = _filled(self.scores, self.scored_by, scores, ticket)
        trained, trained_by = _filled(self.training, self.trained_by, training, ticket)
        columns = more if self.columns is self.scores else self.columns
        return Results(more, trained, columns, scored_by, trained_by)

    def with_columns(self, columns: Vector) -> Results:
        """These results with another row of the frontier."""
        columns.setflags(write=False)
        return replace(self, columns=columns)

    def without(self, *, validation: Sequence[bool], train: Sequence[bool]) -> Results:
        """What is left where these scores are taken away."""
        scores = np.where(validation, np.nan, self.scores)
        training = np.where(train, np.nan, self.training)
        columns = scores if self.columns is self.scores else self.columns
        return replace(self, scores=scores, training=training, columns=columns)

    def before(self, ticket: int) -> Results:
        """What was known when the proposals below this ticket were over."""
        scores = np.where(self.scored_by < ticket, self.scores, np.nan)
        training = np.where(self.trained_by < ticket, self.training, np.nan)
        columns = scores if self.columns is self.scores else self.columns
        return replace(self, scores=scores, training=training, columns=columns)


def _filled(
    row: Vector, tickets: Tickets, scores: Mapping[int, float], ticket: int
) -> tuple[Vector, Tickets]:
    new: Sequence[int] = [place for place in scores if np.isnan(row[place])]
    if not new:
        return row, tickets
    row, tickets = row.copy(), tickets.copy()
    row[new] = [scores[place] for place in new]
    tickets[new] = ticket
    for kept in (row, tickets):
        kept.setflags(write=False)
    return row, tickets

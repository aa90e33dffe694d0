"""On which validation examples a child is first compared with its parents, and with what scores.

Whether the child joins the pool is decided in `core/choices.py`, by these scores. Our choice: a
score is partly luck, and the scores that a parent has stay what they are. If a parent was lucky on
a few examples, and every child were compared with its scores there, no child would ever join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dspy_gepa.core.frontier import Vector
from dspy_gepa.core.results import place_of
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.state import Settings
from dspy_gepa.core.streams import stream

__all__ = ["expected_scores", "first_validated"]


def first_validated(settings: Settings, view: PoolView, parents: Sequence[int]) -> tuple[int, ...]:
    """The validation examples on which a child is compared with its parents.

    They are drawn for every child anew from those that its parents were run on, once these are more
    than the seed's first ones.

    Args:
        settings: Of the run, which has a validation schedule.
        view: The pool as the child's proposal may know it.
        parents: The ids of the child's parents.
    """
    schedule, place = settings.validation_schedule, place_of(settings.validation)
    assert schedule is not None
    runs = (~np.isnan(view.scores[list(parents)])).sum(axis=0)
    known = [example for example in settings.validation_order if runs[place[example]]]
    if len(known) > schedule.seed_examples:
        stream(settings.seed, "first validated", view.ticket).shuffle(known)
    # What all parents were run on comes first: it costs nothing but the child's rollout.
    known.sort(key=lambda example: -int(runs[place[example]]))
    return tuple(dict.fromkeys([*known, *settings.validation_order]))[: schedule.first]


def expected_scores(
    settings: Settings,
    view: PoolView,
    rows: Mapping[int, Sequence[float]],
    examples: Sequence[int],
) -> Vector:
    """What the best of a child's parents would score on some examples, luck apart.

    Args:
        settings: Of the run.
        view: The pool as the child's proposal may know it.
        rows: What each parent did score on these examples, by its id: evidence beside the rest.
        examples: Validation examples.

    Returns:
        One number for each of the examples.
    """
    place, scores = place_of(settings.validation), view.scores.copy()
    columns = [place[example] for example in examples]
    for parent, row in rows.items():
        scores[parent, columns] = row
    estimates = replace(view, scores=scores).estimates()
    best = max(rows, key=lambda parent: float(estimates.means[parent]))
    expected: Vector = estimates.means[best] + estimates.ease[columns]
    return expected

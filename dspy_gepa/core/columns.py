"""What a member is compared on: the columns of the frontier.

instance    one column a validation example                     hybrid      both of these
objective   one column an objective, its mean over the set      cartesian   one a pair of the two
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from dspy_gepa.core.frontier import Scores, Vector
from dspy_gepa.core.results import Results

__all__ = ["FRONTIERS", "FrontierKind", "columns", "objective_means", "objective_names", "signs"]

FrontierKind: TypeAlias = Literal["instance", "objective", "hybrid", "cartesian"]
FRONTIERS: tuple[str, ...] = get_args(FrontierKind)
"""All kinds. The names and their meaning are those of the gepa package."""


def objective_names(members: Iterable[Results]) -> tuple[str, ...]:
    """The names of all objectives that any of the members has a score for, ascending."""
    rows = [row for results in members for row in results.objectives.items()]
    return tuple(sorted({name for name, row in rows if not np.isnan(row).all()}))


def objective_means(members: Sequence[Results], names: Sequence[str]) -> Scores:
    """Shape (members, objectives): the means over what each was run on; NaN if it has none."""
    scores = _objective_scores(members, names)
    counts = (~np.isnan(scores)).sum(axis=1)
    return np.where(counts > 0, np.nansum(scores, axis=1) / np.maximum(counts, 1), np.nan)


def signs(names: Sequence[str], minimized: Sequence[str]) -> Vector:
    """-1 for each objective of which less is better, 1 for the others."""
    return np.array([-1.0 if name in minimized else 1.0 for name in names])


def columns(
    kind: FrontierKind,
    members: Sequence[Results],
    names: Sequence[str],
    minimized: Sequence[str] = (),
) -> Scores:
    """Shape (members, columns): what members are compared on; NaN if there is no score.

    `names` are the objectives that the frontier has columns for; of those that are `minimized`
    less is better, so that they stand there with the opposite sign.
    """
    scores, towards_more = np.stack([each.scores for each in members]), signs(names, minimized)
    match kind:
        case "instance":
            return scores
        case "objective":
            return towards_more * objective_means(members, names)
        case "hybrid":
            return np.hstack([scores, towards_more * objective_means(members, names)])
        case "cartesian":
            return (towards_more * _objective_scores(members, names)).reshape(len(members), -1)


def _objective_scores(members: Sequence[Results], names: Sequence[str]) -> Scores:
    """Shape (members, validation examples, objectives)."""
    found = np.full((len(members), len(members[0].scores), len(names)), np.nan)
    for own, results in zip(found, members, strict=True):
        for place, name in enumerate(names):
            own[:, place] = results.objectives.get(name, np.nan)
    return found

"""What a member is compared on: the columns of the frontier.

instance    one column a validation example                     hybrid      both of these
objective   one column an objective, its mean over the set      cartesian   one a pair of the two
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from dspy_gepa.core.frontier import Scores, Vector
from dspy_gepa.core.rollout import Rollout

__all__ = ["FRONTIERS", "FrontierKind", "columns", "objective_means", "objective_names", "signs"]

FrontierKind: TypeAlias = Literal["instance", "objective", "hybrid", "cartesian"]
FRONTIERS: tuple[str, ...] = get_args(FrontierKind)
"""All kinds. The names and their meaning are those of the gepa package."""


def objective_names(rollouts: Iterable[Rollout]) -> tuple[str, ...]:
    """The names of all objectives that any of the rollouts has a score for, ascending."""
    return tuple(sorted({name for rollout in rollouts for name in rollout.objectives}))


def objective_means(rollouts: Sequence[Rollout | None], names: Sequence[str]) -> Vector:
    """For every objective, the mean over the rollouts that score it; NaN if none does."""
    matrix = _matrix(rollouts, names)
    counts = (~np.isnan(matrix)).sum(axis=0)
    return np.where(counts > 0, np.nansum(matrix, axis=0) / np.maximum(counts, 1), np.nan)


def signs(names: Sequence[str], minimized: Sequence[str]) -> Vector:
    """-1 for each objective of which less is better, 1 for the others."""
    return np.array([-1.0 if name in minimized else 1.0 for name in names])


def columns(
    kind: FrontierKind,
    rollouts: Sequence[Rollout | None],
    names: Sequence[str],
    minimized: Sequence[str] = (),
) -> Vector:
    """A member's row of the frontier, from its rollouts on the validation examples, in order.

    None stands for an example that it was not run on; NaN comes out where there is no score.
    `names` are the objectives that the frontier has columns for; of those that are `minimized`
    less is better, so that they stand there with the opposite sign.
    """
    scores = np.array([np.nan if each is None else each.score for each in rollouts])
    towards_more = signs(names, minimized)
    match kind:
        case "instance":
            return scores
        case "objective":
            return towards_more * objective_means(rollouts, names)
        case "hybrid":
            return np.concatenate([scores, towards_more * objective_means(rollouts, names)])
        case "cartesian":
            return np.asarray(towards_more * _matrix(rollouts, names)).reshape(-1)


def _matrix(rollouts: Sequence[Rollout | None], names: Sequence[str]) -> Scores:
    """Shape (rollouts, objectives)."""
    rows = [
        [np.nan if each is None else each.objectives.get(name, np.nan) for name in names]
        for each in rollouts
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rollouts), len(names))

"""The Pareto frontier: which members are best at something.

A score matrix has a row a member and a column a validation example (or objective); NaN marks a
pair that was not scored. All functions are pure and need one pass over the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Flags", "Scores", "Vector", "coverage", "mean_scores", "survivors", "tops"]

# Spelled out, because DSPy up to 3.4.0 leaves a numpy behind from which `numpy.typing` cannot be
# imported until somebody has used it.
Scores: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""Shape (members, columns)."""
Flags: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
"""Shape (members, columns)."""
Vector: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""A row or a column of scores."""


def mean_scores(scores: Scores) -> Vector:
    """For every member, the mean of its scored columns; -inf where it has none."""
    scored = ~np.isnan(scores)
    counts = scored.sum(axis=1)
    sums = np.where(scored, scores, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)


def tops(scores: Scores) -> Flags:
    """For every column, which members are tied for best; no member where nobody was scored."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best = filled.max(axis=0, initial=-np.inf)
    is_top: Flags = (filled == best) & np.isfinite(best)
    return is_top


def survivors(top: Flags, means: Sequence[float]) -> tuple[int, ...]:
    """The ascending ids of the members that are left when dominated ones are pruned.

    A member is dominated when others hold every column that it holds. Members are tested from
    the lowest mean up (at equal means the older first), each against those still left; so every
    column that somebody holds stays held, and no survivor can be spared. Paper, algorithm 2.
    """
    holders = top.sum(axis=0)
    left = [member for member in range(len(top)) if top[member].any()]
    for member in sorted(left, key=lambda member: (means[member], member)):
        if (holders[top[member]] > 1).all():
            holders = holders - top[member]
            left.remove(member)
    return tuple(left)


def coverage(top: Flags, means: Sequence[float]) -> dict[int, int]:
    """For every surviving member, ascending, how many columns it is tied for best in."""
    return {member: int(top[member].sum()) for member in survivors(top, means)}

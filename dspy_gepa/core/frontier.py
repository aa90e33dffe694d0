"""The Pareto frontier: which members are best at something.

A score matrix has a row a member and a column a validation example (or objective); NaN marks a
pair that was not run, and -inf one that failed where a failure is no score. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = [
    "Flags",
    "Scores",
    "Vector",
    "coverage",
    "mean_scores",
    "survivors",
    "tops",
    "with_failures_assumed",
    "with_failures_scored",
]

# Spelled out, because DSPy up to 3.4.0 leaves a numpy behind from which `numpy.typing` cannot be
# imported until somebody has used it.
Scores: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""Shape (members, columns)."""
Flags: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
"""Shape (members, columns)."""
Vector: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""A row or a column of scores."""


def with_failures_assumed(
    scores: Scores, assumed: float | None, beside: Scores | None = None
) -> Scores:
    """The same scores, in which failures (-inf) have the score that is assumed for them.

    If a score among these or `beside` them, with which they are compared, is lower than that,
    failures stay as they are and rank below every score; and so they do if nothing is assumed. So a
    failure never counts as better than a run that worked, and what it counts as depends only on
    what is compared here, and not on what else was seen meanwhile.
    """
    if assumed is None:
        return scores
    failed = np.isneginf(scores)
    if not failed.any():
        return scores
    compared = [scores] if beside is None else [scores, beside]
    if any((each[np.isfinite(each)] < assumed).any() for each in compared):
        return scores
    return np.where(failed, assumed, scores)


def with_failures_scored(scores: Scores) -> Scores:
    """The same scores with a finite one in place of every failure that is no score.

    Our choice: it lies below the lowest score in its column by as much as all scores lie apart. So
    it is worse than everything that scored there, whatever the sign, and still one failure among
    many examples does not outweigh all the others.
    """
    failed = np.isneginf(scores)
    if not failed.any():
        return scores
    known = scores[np.isfinite(scores)]
    span = float(np.ptp(known)) or 1.0 if len(known) else 1.0
    overall = float(known.min()) if len(known) else 0.0
    lowest = np.where(np.isfinite(scores), scores, np.inf).min(axis=0)
    return np.where(failed, np.where(np.isfinite(lowest), lowest, overall) - span, scores)


def mean_scores(scores: Scores) -> Vector:
    """For every member, the mean of its scored columns; -inf where it has none.

    A failure that is no score counts as in `with_failures_scored`.
    """
    scores = with_failures_scored(scores)
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

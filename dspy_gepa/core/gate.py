"""The minibatch comparison that a child must pass before it is validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

__all__ = ["Gate", "at_least_as_good", "strict_improvement"]

Gate: TypeAlias = Callable[[Sequence[float], Sequence[Sequence[float]]], bool]
"""From the child's scores and each parent's scores on the same examples: may it be validated?"""


def strict_improvement(child: Sequence[float], parents: Sequence[Sequence[float]]) -> bool:
    """Whether the child's sum is above that of every parent. Paper, algorithm 1."""
    return sum(child) > max(sum(parent) for parent in parents)


def at_least_as_good(child: Sequence[float], parents: Sequence[Sequence[float]]) -> bool:
    """Whether the child's sum reaches that of every parent.

    For merges, as in the paper's reference implementation: a merge need not beat its better
    parent on a few examples, because it may combine strengths that lie elsewhere.
    """
    return sum(child) >= max(sum(parent) for parent in parents)

"""The minibatch comparison that a child must pass before it is validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, TypeAlias

__all__ = [
    "Gate",
    "Margin",
    "Total",
    "at_least_as_good",
    "comes_to_a_score",
    "examples_to_decide",
    "strict_improvement",
    "total",
]

Gate: TypeAlias = Callable[[Sequence[float], Sequence[Sequence[float]]], bool]
"""From the child's scores and each parent's scores on the same examples: may it be validated?"""


class Total(NamedTuple):
    """What a candidate scored on some examples: the fewer failures the better, then the sum."""

    scored: int
    """On how many of them it has a score."""
    sum: float
    """Of these scores."""
    failed: int
    """On how many it failed, where a failure is no score."""

    def __str__(self) -> str:
        """For people and models."""
        if not self.failed:
            return f"{self.sum:g}"
        several = f"{self.failed} failures" if self.failed > 1 else "a failure"
        return f"{self.sum:g} and {several}" if self.scored else several


def total(scores: Sequence[float]) -> Total:
    """What the scores amount to; those that are -inf are failures."""
    known = [score for score in scores if score != -inf]
    return Total(len(known), sum(known), len(scores) - len(known))


def strict_improvement(child: Sequence[float], parents: Sequence[Sequence[float]]) -> bool:
    """Whether the child's `Total` is above that of every parent. Paper, algorithm 1."""
    return total(child) > max(map(total, parents))


def comes_to_a_score(child: Sequence[float], parents: Sequence[Sequence[float]]) -> bool:  # noqa: ARG001
    """Whether the child failed on none of the examples, however it compares with its parents.

    Our choice where there is one problem: nothing is validated beyond it, so that another member
    costs nothing, and one that is worse may lead to a better one.
    """
    return total(child).failed == 0


@dataclass(frozen=True, slots=True)
class Margin:
    """Whether the child gains a share of what can be gained, and anything at all. Our choice.

    On a minibatch of failures alone, any luck is a gain: of eight, one comes right by chance more
    often than not. So a child must mend a share of them. What passes by luck all the same takes a
    seat in the pool, and no more: see `estimated`. Where failures are no scores, fewer of them than
    the best parent has are enough, and more are too many.
    """

    share: float = 0.25
    perfect_score: float = 1.0
    """What every example could be raised to."""

    def __call__(self, child: Sequence[float], parents: Sequence[Sequence[float]]) -> bool:
        """Whether the child may be validated."""
        own, best = total(child), max(map(total, parents))
        if own.scored != best.scored:
            return own.scored > best.scored
        gain, attainable = own.sum - best.sum, self.perfect_score * own.scored - best.sum
        return gain > 0 and gain >= self.share * attainable - 1e-9


def examples_to_decide(
    gate: Gate,
    child: Sequence[float],
    parents: Sequence[Sequence[float]],
    *,
    lowest: float,
    highest: float,
) -> int:
    """On how many examples more a child must be run before the gate can pass it.

    0 if it will pass however it does on the others; -1 if it cannot pass any more.
    `parents` have scores on all examples, the child on the first of them. Scores are taken to
    lie between `lowest` and `highest`, and a gate to be the likelier to pass the higher they are.
    """
    missing = len(parents[0]) - len(child)
    for more in range(missing + 1):
        if gate([*child, *[highest] * more, *[lowest] * (missing - more)], parents):
            return more
    return -1


def at_least_as_good(child: Sequence[float], parents: Sequence[Sequence[float]]) -> bool:
    """Whether the child's `Total` reaches that of every parent.

    For merges, as in the paper's reference implementation: a merge need not beat its better
    parent on a few examples, because it may combine strengths that lie elsewhere.
    """
    return total(child) >= max(map(total, parents))

"""Which members are surely better than the seed, so that one of them is returned in its place.

Of many members that are no better than the seed, the one that was luckiest has the highest
estimate. How good members are is another question, and `Ranking` answers that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb, inf
from statistics import NormalDist

import numpy as np

from dspy_gepa.core.frontier import Flags, Scores, Vector
from dspy_gepa.core.selection import PoolView

__all__ = ["Cautious"]

_TRIFLE = 1e-9
"""As a share of the span of scores: less is no difference."""
_PERFECT_BY_CHANCE = 0.35
"""A member that is perfect on all examples is surely better than the seed if this, at most, is the
probability that any of the members would be perfect if all were like the seed. Our choice: if there
is one member, it is enough that the seed fails on one of up to 19 examples; with more examples or
members, the seed has to fail on two or more. So few examples cannot tell a better member from one
that is a little worse than a good seed: the only member, if it is perfect on two to six examples,
is often such a one. Over many tasks that is rare, and how rare is in `benchmarks/README.md`."""
_LUCK_OF_MANY = 0.25
"""Of sixteen members each may be ahead by luck half as probably as one alone. Our choice, between
no correction for their number and a full one: members go on from each other, so that their luck is
partly the same, and what was worse is no member."""


@dataclass(frozen=True, slots=True)
class Cautious:
    """The members' estimates, of those that are surely better than the seed.

    If a member's lead over the seed is not sure, its estimate is lowered by as much as is not known
    of the lead, which puts it below the seed. There are three ways to be sure, because none of them
    sees everything:

    - The estimated lead is so many standard deviations, and more of them if there are many
      members: one of many is ahead by luck more easily.
    - The member is better than the seed on so many more validation examples than it is worse on
      that chance would hardly do that for any of all members (a sign test; examples on which both
      score the same say nothing). That shows steps which are small and never fail, before it is
      known how little of a score is chance.
    - The member has the highest score seen on every validation example, and chance would hardly do
      that for any of all members if they were only as good as the seed. How probably one like the
      seed has it follows from the share of examples on which the seed has it.
    """

    deviations: float = 1.44
    """How many standard deviations of its lead make a single member sure. Our choice: by the
    estimate so many make it 92.5 % sure. What it costs and spares is in `benchmarks/README.md`."""

    def __call__(self, view: PoolView) -> Vector:
        """A number for each member, by which they rank; for the seed its estimate."""
        estimates, others = view.estimates(), max(1, len(view.scores) - 1)
        luck = 1 - NormalDist().cdf(self.deviations)
        deviations = NormalDist().inv_cdf(1 - luck / others**_LUCK_OF_MANY)
        unsure = deviations * estimates.lead_deviations
        trifle = _TRIFLE * view.span
        by_chance = others * _by_chance(view.scores, trifle)
        is_sure = estimates.means - estimates.means[0] >= unsure
        is_sure |= by_chance <= luck
        is_highest = _is_highest(view.scores, trifle)
        if others * _all_like(is_highest[0], view.scores[0]) <= _PERFECT_BY_CHANCE:
            is_sure |= is_highest.all(axis=1)
        ranks: Vector = np.where(is_sure, estimates.means, estimates.means - unsure)
        return ranks


def _is_highest(scores: Scores, trifle: float) -> Flags:
    """For every score whether it is the highest that was seen of anybody, but for a trifle."""
    is_highest: Flags = scores >= np.fmax.reduce(scores, axis=None, initial=-inf) - trifle
    return is_highest


def _all_like(is_highest: Flags, seed: Vector) -> float:
    """How probably one like the seed, of which this was seen, has the highest score everywhere.

    The share on which it has it may be anything beforehand, and is rather near 0 or 1 than between
    (Jeffreys' prior, as in the estimator of Krichevsky and Trofimov), so that each further one
    makes the next one likelier. A seed that has it everywhere makes that more than half; one that
    fails on the one example that there is makes it a quarter.
    """
    counted = np.arange(len(seed)) + 1
    had, seen = np.count_nonzero(is_highest), np.count_nonzero(~np.isnan(seed))
    return float(np.prod((had + counted - 0.5) / (seen + counted)))


def _by_chance(scores: Scores, trifle: float) -> Vector:
    """For every member, how probably one like the seed is better on so many of the examples."""
    better = (scores > scores[0] + trifle).sum(axis=1).tolist()
    worse = (scores < scores[0] - trifle).sum(axis=1).tolist()
    return np.array([_heads(*counts) for counts in zip(better, worse, strict=True)])


@lru_cache(maxsize=4096)
def _heads(heads: int, tails: int) -> float:
    """How probably so many coins show at least so many heads."""
    coins = heads + tails
    return sum(comb(coins, count) for count in range(heads, coins + 1)) / (1 << coins)

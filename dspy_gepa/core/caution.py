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
_CORRECTION_EXPONENT = 0.25
"""What chance is allowed for an estimated lead is divided by the number of children to this power:
with sixteen of them it is halved. 0 would be no correction for their number, 1 a full one. Our
choice in between: children go on from each other, so that their luck is partly the same, and
rewrites that did worse were never admitted. The other two ways multiply by the full number."""


@dataclass(frozen=True, slots=True)
class Cautious:
    """The members' estimates, of those that are surely better than the seed.

    If a member's lead over the seed is not sure, its estimate is lowered by the lead that would be
    needed, which puts it below the seed. There are three ways to be sure, because none of them
    sees everything:

    - The estimated lead is so many standard deviations, and more of them if there are many
      members: one of many is ahead by luck more easily.
    - The member is better than the seed on so many more validation examples than it is worse on
      that chance would hardly do that even for the luckiest of all members (a sign test; examples
      on which both score the same say nothing). That shows steps which are small and never fail,
      before it is known how little of a score is chance.
    - The member has the highest score seen on every validation example, and chance would hardly do
      that even for the luckiest of all members if they were only as good as the seed. How probably
      one like the seed has it follows from the share of examples on which the seed has it.
    """

    deviations: float = 1.44
    """How many standard deviations of its lead make a single member sure. Our choice: by the
    estimate so many make it 92.5 % sure. What it costs and spares is in `benchmarks/README.md`."""

    def __call__(self, view: PoolView) -> Vector:
        """A number for each member, by which they rank; for the seed its estimate."""
        estimates, children = view.estimates(), max(1, len(view.scores) - 1)
        allowed_chance = 1 - NormalDist().cdf(self.deviations)
        of_a_lead = allowed_chance / children**_CORRECTION_EXPONENT
        needed_lead = NormalDist().inv_cdf(1 - of_a_lead) * estimates.lead_deviations
        trifle = _TRIFLE * view.span
        by_chance = children * _by_chance(view.scores, trifle)
        is_sure = estimates.means - estimates.means[0] >= needed_lead
        is_sure |= by_chance <= allowed_chance
        is_highest = _is_highest(view.scores, trifle)
        if children * _chance_of_perfect(is_highest[0], view.scores[0]) <= _PERFECT_BY_CHANCE:
            is_sure |= is_highest.all(axis=1)
        ranks: Vector = np.where(is_sure, estimates.means, estimates.means - needed_lead)
        return ranks


def _is_highest(scores: Scores, trifle: float) -> Flags:
    """For every score whether it is the highest that was seen for any member, but for a trifle."""
    is_highest: Flags = scores >= np.fmax.reduce(scores, axis=None, initial=-inf) - trifle
    return is_highest


def _chance_of_perfect(is_highest: Flags, seed: Vector) -> float:
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
    return np.array([_sign_test(*counts) for counts in zip(better, worse, strict=True)])


@lru_cache(maxsize=4096)
def _sign_test(heads: int, tails: int) -> float:
    """How probably so many coins show at least so many heads."""
    coins = heads + tails
    return sum(comb(coins, count) for count in range(heads, coins + 1)) / (1 << coins)

"""Which members make a set that is worth routing to, and what routing to it brings.

All of it is read from a table of scores: members by validation examples, NaN where a member was not
run. The frontier's own score, the best member of each example, is never used: of six equal members
it is far above each of them. What counts is how an example fares that is routed by the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["SHRINKAGES", "Choice", "Gain", "cross_fitted", "estimates", "grown", "settled"]

Table = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]

SHRINKAGES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How much likeness it takes to move an estimate half the way from a member's mean. Which of these
is used, the scores decide."""
_FOLDS = 60
"""In so many parts examples are left out, one by one where there are no more. Our choice."""


class Choice(NamedTuple):
    """A set of members and how far estimates are shrunk to their means."""

    members: tuple[int, ...]
    """The one that is best over all first."""
    shrinkage: float


@dataclass(frozen=True, slots=True)
class Gain:
    """What routing brings, from examples that were routed by others."""

    routed: tuple[float, ...]
    """The score that each example gets by routing."""
    single: tuple[float, ...]
    """And by the single best, whose lead over the others counts as far as it is no chance."""

    @property
    def mean(self) -> float:
        """The mean difference."""
        return float(np.mean(self.routed) - np.mean(self.single))


def estimates(scores: Table, likeness: Table, shrinkage: float) -> Table:
    """What each member is expected to score on inputs, shape (members, inputs).

    Args:
        scores: Members by known examples; NaN where a member was not run.
        likeness: Inputs by known examples, from 0 to 1.
        shrinkage: How much likeness moves an estimate half the way from a member's mean.
    """
    known = ~np.isnan(scores)
    counts = np.maximum(known.sum(1), 1)
    means = np.where(known, scores, 0.0).sum(1) / counts
    deviations = np.where(known, scores - means[:, None], 0.0)
    weights = known.astype(float) @ likeness.T
    expected: Table = means[:, None] + (deviations @ likeness.T) / (weights + shrinkage)
    return expected


def _left_out(scores: Table, likeness: Table, shrinkage: float) -> tuple[Table, Table]:
    """Each example's estimates and the members' means, both without that example."""
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)
    counts = known.sum(1)[:, None] - known
    means = (filled.sum(1)[:, None] - filled) / np.maximum(counts, 1)
    alone = likeness * (1 - np.eye(len(likeness)))
    weights = known.astype(float) @ alone.T
    sums = filled @ alone.T
    return means + (sums - means * weights) / (weights + shrinkage), means


def _gain_left_out(scores: Table, likeness: Table, shrinkage: float) -> float:
    """The gain where each example is routed by all others, over examples that all were run on."""
    whole = ~np.isnan(scores).any(0)
    if whole.sum() < 2:
        return 0.0
    found, means = _left_out(scores, likeness, shrinkage)
    columns = np.arange(scores.shape[1])
    routed, single = scores[found.argmax(0), columns], scores[means.argmax(0), columns]
    return float((routed - single)[whole].mean())


def _error_left_out(scores: Table, likeness: Table, shrinkage: float) -> float:
    """How far estimates of one member's lead over another are off, squared."""
    whole = ~np.isnan(scores).any(0)
    if not whole.any():
        return 0.0
    found, _ = _left_out(scores, likeness, shrinkage)
    off = (found - scores)[:, whole]
    return float(((off - off.mean(0)) ** 2).mean())


def settled(scores: Table, likeness: Table, members: Sequence[int]) -> Choice:
    """These members with the shrinkage that predicts best which of them leads where."""
    own = scores[list(members)]
    best = min(SHRINKAGES, key=lambda each: _error_left_out(own, likeness, each))
    means = np.nanmean(own, axis=1)
    order = sorted(range(len(members)), key=lambda place: (-means[place], members[place]))
    return Choice(tuple(members[place] for place in order), best)


def grown(
    scores: Table, likeness: Table, most: int, first: int | None = None, least: int = 2
) -> Choice:
    """A set of at most so many members, each added for the gain that it brings.

    Args:
        scores: Members by examples.
        likeness: Examples by examples.
        most: The most members.
        first: The member to begin with; the best by its mean where it is None.
        least: A member that was run on fewer examples with the others is not looked at.
    """
    known = ~np.isnan(scores)
    if first is None:
        sums = np.where(known, scores, 0.0).sum(1)
        means = np.where(known.any(1), sums / np.maximum(known.sum(1), 1), -np.inf)
        first = int(means.argmax())
    chosen, reached = [first], 0.0
    shrinkage = SHRINKAGES[-1]
    while len(chosen) < most:
        trials = []
        for member in range(len(scores)):
            together = known[[*chosen, member]].all(0).sum()
            if member in chosen or together < least:
                continue
            trial = settled(scores, likeness, [*chosen, member])
            gain = _gain_left_out(scores[list(trial.members)], likeness, trial.shrinkage)
            trials.append((gain, -member, trial.shrinkage))
        if not trials or max(trials)[0] <= reached:
            break
        reached, negative, shrinkage = max(trials)
        chosen.append(-negative)
    if len(chosen) == 1:
        return Choice((first,), shrinkage)
    return settled(scores, likeness, chosen)


def cross_fitted(scores: Table, likeness: Table, choose: Callable[[Table, Table], Choice]) -> Gain:
    """What routing brings on examples that neither choice nor estimates have seen."""
    count = scores.shape[1]
    folds = min(count, _FOLDS)
    sent, best = np.empty(count, dtype=int), int(scores.mean(1).argmax())
    places = np.arange(count)
    for fold in range(folds):
        inside = places % folds != fold
        outside = places[~inside]
        choice = choose(scores[:, inside], likeness[np.ix_(inside, inside)])
        members = np.array(choice.members)
        found = estimates(
            scores[np.ix_(members, inside)], likeness[np.ix_(outside, inside)], choice.shrinkage
        )
        sent[outside] = members[found.argmax(0)]
    routed = scores[sent, places]
    # What is sent to the single best gains nothing, and nothing is told by it.
    single = scores[best] - np.where(sent == best, 0.0, _luck(scores)[best])
    return Gain(tuple(routed.tolist()), tuple(single.tolist()))


def _luck(scores: Table) -> Table:
    """By how much each member's mean is above what it will be on others, as far as can be known.

    The means are moved together as far as twice the chance parts them, twice because the spread
    of a few means is itself uncertain (our choice): the one that is chosen for
    being highest is mostly lucky. Leaving out the example that is looked at, as is done for
    routing, would not do: where two members each do well on one half, the one that is right on it
    looks worse without it, and routing twice as good.
    """
    members, count = scores.shape
    means = scores.mean(1)
    spread = float(means.var(ddof=1)) if members > 1 else 0.0
    if count < 2 or spread == 0:
        return np.zeros(members)
    odd = scores - means[:, None] - scores.mean(0) + means.mean()
    chance = float((odd**2).sum()) / ((members - 1) * (count - 1)) / count
    luck: Table = min(1.0, 2 * chance / spread) * (means - means.mean())
    return luck

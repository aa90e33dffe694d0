"""Which members make a set that is worth routing to, and what routing to it brings.

All of it is read from a table of scores: members by validation examples, NaN if a member was not
run. The frontier's own score, the best member of each example, is never used: of six equal members
it is far above each of them. What counts is how an example fares that is routed by the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dspy_gepa.core.streams import stream

__all__ = ["SHRINKAGES", "Choice", "Gain", "cross_fitted", "estimates", "grown"]

Table = np.ndarray[Any, np.dtype[np.float64]]

SHRINKAGES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How much likeness it takes to move an estimate half the way from a member's mean. Which of these
is used, the scores decide."""
_PARTS, _TURNS = 10, 6
"""In so many parts examples are left out, and so many times. Our choice."""
_ROUNDING = 1e-9


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
    """And by the single best, of whose lead over the others luck is taken off."""

    @property
    def mean(self) -> float:
        """The mean difference."""
        return float(np.mean(self.routed) - np.mean(self.single))


def estimates(scores: Table, likeness: Table, shrinkage: float) -> Table:
    """What each member is expected to score on inputs, shape (members, inputs).

    Args:
        scores: Members by known examples; NaN if a member was not run.
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


class _LeftOut(NamedTuple):
    """What is expected of each member on each example by all others."""

    scores: Table
    expected: Table
    """Shrinkages by members by examples."""
    means: Table
    """The members' means without each example."""


def _left_out(scores: Table, likeness: Table) -> _LeftOut:
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)
    counts = known.sum(1)[:, None] - known
    means = (filled.sum(1)[:, None] - filled) / np.maximum(counts, 1)
    alone = likeness * (1 - np.eye(len(likeness)))
    weights = known.astype(float) @ alone.T
    moved = filled @ alone.T - means * weights
    shrinkages = np.array(SHRINKAGES)[:, None, None]
    return _LeftOut(scores, means + moved / (weights + shrinkages), means)


def _settled(left: _LeftOut, members: Sequence[int]) -> tuple[float, float]:
    """The shrinkage that predicts best which of these members leads where, and the gain with it.

    Each example is routed by all others; those count that all of the members were run on.
    """
    own = left.scores[list(members)]
    whole = ~np.isnan(own).any(0)
    if not whole.any():
        return SHRINKAGES[0], 0.0
    expected = left.expected[:, list(members)][:, :, whole]
    off = expected - own[:, whole]
    place = int(((off - off.mean(1, keepdims=True)) ** 2).mean((1, 2)).argmin())
    columns = np.flatnonzero(whole)
    routed = own[expected[place].argmax(0), columns]
    single = own[left.means[list(members)][:, whole].argmax(0), columns]
    gain = float((routed - single).mean()) if len(columns) > 1 else 0.0
    return SHRINKAGES[place], gain


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
    sums = np.where(known, scores, 0.0).sum(1)
    means = np.where(known.any(1), sums / np.maximum(known.sum(1), 1), -np.inf)
    chosen, reached = [int(means.argmax()) if first is None else first], 0.0
    shrinkage, left = SHRINKAGES[-1], _left_out(scores, likeness)
    while len(chosen) < most:
        trials = []
        for member in range(len(scores)):
            together = known[[*chosen, member]].all(0).sum()
            if member in chosen or together < least:
                continue
            best, gain = _settled(left, [*chosen, member])
            trials.append((gain, -member, best))
        if not trials or max(trials)[0] <= reached:
            break
        reached, negative, shrinkage = max(trials)
        chosen.append(-negative)
    order = sorted(chosen, key=lambda member: (-means[member], member))
    return Choice(tuple(order), shrinkage)


def cross_fitted(scores: Table, likeness: Table, choose: Callable[[Table, Table], Choice]) -> Gain:
    """What routing brings on examples that neither choice nor estimates have seen.

    Every member was run on every example: the scores hold no NaN.

    Examples are left out in parts, again and again in other parts; members, estimates and the
    single best are all chosen by the rest. Where two members are nearly equal, leaving out examples
    that one is right on makes the other the single best, which is then wrong on just these. In the
    mean over sets of examples that is no error, but in one set it may double the gain or hide it.
    So the single best of the parts counts as far as routing goes up and down with it, and for the
    rest the best over all, without what is luck of its lead.
    """
    count = scores.shape[1]
    parts = min(count, _PARTS)
    routed, single = np.zeros(count), np.zeros(count)
    means = []
    for turn in range(_TURNS):
        order = list(range(count))
        stream(turn, "parts to leave out").shuffle(order)
        for part in range(parts):
            outside = np.array(order[part::parts])
            inside = np.setdiff1d(np.arange(count), outside)
            choice = choose(scores[:, inside], likeness[np.ix_(inside, inside)])
            members = np.array(choice.members)
            estimated = estimates(
                scores[np.ix_(members, inside)], likeness[np.ix_(outside, inside)], choice.shrinkage
            )
            reached = scores[members[estimated.argmax(0)], outside]
            best = scores[scores[:, inside].mean(1).argmax(), outside]
            routed[outside] += reached
            single[outside] += best
            means.append((scores[:, outside].mean(), best.mean(), reached.mean()))
    share = _share_that_follows(np.array(means))
    overall = int(scores.mean(1).argmax())
    single = share * single / _TURNS + (1 - share) * (scores[overall] - _luck(scores)[overall])
    return Gain(tuple((routed / _TURNS).tolist()), tuple(single.tolist()))


def _share_that_follows(means: Table) -> float:
    """How much of the ups and downs in the second column the third one has, from 0 to 1.

    What both have of the first column's, in which the examples are hard or easy, is taken out.
    """
    usual, first, second = (means - means.mean(0)).T
    if (varies := float(usual @ usual)) > _ROUNDING:
        first, second = (each - usual * float(usual @ each) / varies for each in (first, second))
    varies = float(first @ first)
    return min(1.0, max(0.0, float(first @ second) / varies)) if varies > _ROUNDING else 0.0


def _luck(scores: Table) -> Table:
    """By how much each member's mean is above what it will be on others, as far as can be known.

    The means are moved together as far as twice the chance parts them, because the one that is
    chosen for being highest is mostly lucky. It is twice because the spread of a few means is
    itself uncertain. Our choice.
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

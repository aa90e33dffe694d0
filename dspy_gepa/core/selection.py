"""Which member becomes the parent of the next proposal.

A strategy is a function of the pool's scores and a generator, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from random import Random
from statistics import median
from typing import TypeAlias

import numpy as np

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.estimate import Estimates, estimated
from dspy_gepa.core.frontier import (
    Scores,
    Vector,
    coverage,
    mean_scores,
    tops,
    with_failures_scored,
)

__all__ = [
    "SELECTIONS",
    "ClimbOrWalk",
    "EpsilonGreedy",
    "PoolView",
    "ProbablyBest",
    "Ranking",
    "Selection",
    "SoftEstimate",
    "TopKPareto",
    "by_estimate",
    "by_mean",
    "current_best",
    "pareto",
]


@dataclass(frozen=True)
class PoolView:
    """What a selection may look at."""

    candidates: tuple[Candidate, ...]
    """The members' texts; a member's id is its position."""
    scores: Scores
    """Shape (members, validation examples): what means are taken of."""
    columns: Scores
    """Shape (members, columns): what the frontier is made of. The scores themselves, unless the
    frontier has columns for objectives."""
    ticket: int
    """The number of the proposal that something is selected for, from 1."""
    spent: int
    """Metric calls of all proposals that are over."""
    training: Scores = field(default_factory=lambda: np.empty((0, 0)))
    """Shape (members, training examples); NaN if a member was not run, and where reflections
    along its lineage saw the example."""
    parents: tuple[tuple[int, ...], ...] = ()
    """For every member, the ids of those that it comes from."""

    @property
    def everything(self) -> Scores:
        """All scores that say something about other examples."""
        return np.concatenate([self.scores, self.training], axis=1)

    @property
    def span(self) -> float:
        """The distance between the lowest and the highest score seen; 1 if all are the same."""
        known = self.everything[np.isfinite(self.everything)]
        return float(np.ptp(known)) or 1.0 if len(known) else 1.0

    def estimates(self) -> Estimates:
        """What is believed of the members' mean scores, from all examples."""
        return self._estimates

    @cached_property
    def _estimates(self) -> Estimates:
        # Several strategies ask for it, and it takes longer than all else that they do.
        scores = with_failures_scored(self.everything)
        return estimated(scores, self.parents, span=self.span)


Selection: TypeAlias = Callable[[PoolView, Random], int]
"""Returns the id of a member."""

Ranking: TypeAlias = Callable[[PoolView], Vector]
"""Returns for every member how good it is."""


def by_mean(view: PoolView) -> Vector:
    """The members' mean scores. Members must have been run on the same examples."""
    return mean_scores(view.scores)


def by_estimate(view: PoolView) -> Vector:
    """The members' estimated mean scores, which may have been run on different examples."""
    return view.estimates().means


def pareto(view: PoolView, random: Random) -> int:
    """A frontier member, with probability in proportion to the number of columns that it tops.

    Paper, algorithm 2. Where nothing has scored yet, the best that there is.
    """
    held = coverage(tops(view.columns), mean_scores(view.scores).tolist())
    return _drawn(held, random) if held else current_best(view, random)


def current_best(view: PoolView, random: Random) -> int:  # noqa: ARG001 - a selection's signature
    """The member with the highest mean; the oldest of those tied."""
    return int(np.argmax(mean_scores(view.scores)))


@dataclass(frozen=True, slots=True)
class EpsilonGreedy:
    """The best member, or with probability epsilon any member."""

    epsilon: float = 0.1

    def __call__(self, view: PoolView, random: Random) -> int:
        """The id of the parent."""
        if random.random() < self.epsilon:
            return random.randrange(len(view.scores))
        return current_best(view, random)


@dataclass(frozen=True, slots=True)
class TopKPareto:
    """As `pareto`, among the k members with the highest means."""

    k: int = 5

    def __call__(self, view: PoolView, random: Random) -> int:
        """The id of the parent."""
        means = mean_scores(view.scores)
        # A stable sort: of members that are tied, the older ranks higher.
        ranked = np.argsort(-means, kind="stable")
        top = tops(view.columns)
        top[ranked[self.k :]] = False
        held = coverage(top, means.tolist())
        return _drawn(held, random) if held else int(ranked[0])


@dataclass(frozen=True, slots=True)
class SoftEstimate:
    """A member with probability that grows exponentially with its estimate.

    Our choice: a frontier over few validated columns is noise, and a raw mean over different
    examples cannot be compared.
    """

    temperature: float = 0.1
    """In units of the span of scores: by so much better is e times as probable."""

    def __call__(self, view: PoolView, random: Random) -> int:
        """The id of the parent."""
        means = view.estimates().means
        weights = np.exp((means - means.max()) / (self.temperature * view.span))
        return random.choices(range(len(weights)), weights.tolist())[0]


@dataclass(frozen=True, slots=True)
class ClimbOrWalk:
    """The best member, or where a walk has got to that may lead through worse ones.

    Our choice for a single problem, which has one best member, where climbing alone stalls. A walk
    begins at the best and goes on to a child that is better, or worse by no more than changes
    usually are (threshold accepting): where all changes have come to matter less, so does what is
    worth a step down. Which of the two is done is drawn by how often each has brought a new best in
    this run (Thompson sampling), so that a problem on which climbing goes well is climbed.
    """

    share: float = 0.5
    """Of the median change of the score, how much worse a step of the walk may be."""
    window: int = 20
    """Of how many of the last changes that median is."""

    def __call__(self, view: PoolView, random: Random) -> int:
        """The id of the parent."""
        scores = mean_scores(view.scores).tolist()
        best, tip, changes = 0, 0, list[float]()
        gains, losses = {True: 1, False: 1}, {True: 1, False: 1}
        for member in range(1, len(scores)):
            parent = view.parents[member][0]
            is_climb = parent == best
            if scores[parent] != -inf:  # what mends a failure is no change of a score
                changes.append(abs(scores[member] - scores[parent]))
            if scores[member] > scores[best]:
                gains[is_climb] += 1
                best = tip = member
                continue
            losses[is_climb] += 1
            allowed = self.share * median(changes[-self.window :] or [0.0])
            if parent == tip and scores[member] >= scores[tip] - allowed:
                tip = member
        if tip == best:
            return best
        climbing, walking = (random.betavariate(gains[way], losses[way]) for way in (True, False))
        return best if climbing >= walking else tip


@dataclass(frozen=True, slots=True)
class ProbablyBest:
    """A member as probably as it is the best, by what is known of all (Thompson sampling).

    While little is known many are tried, and when it is clear which one is best it is taken: how
    much parents vary follows from the run. Our choice.
    """

    width: float = 0.5
    """The part of the standard deviations that is drawn with: 1 would be the posterior's own, and
    the less the more often the member with the highest estimate is taken."""

    def __call__(self, view: PoolView, random: Random) -> int:
        """The id of the parent."""
        return int(np.argmax(view.estimates().drawn(random, width=self.width)))


def _drawn(weights: dict[int, int], random: Random) -> int:
    return random.choices(list(weights), weights=list(weights.values()))[0]


SELECTIONS: dict[str, Selection] = {
    "pareto": pareto,
    "current_best": current_best,
    "epsilon_greedy": EpsilonGreedy(),
    "top_k_pareto": TopKPareto(),
}
"""The strategies by the names that `GEPA(candidate_selection_strategy=...)` takes."""

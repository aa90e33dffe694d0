"""How good each member is, estimated from everything that is known about all of them.

Members are run on different examples, some of which are harder than others, and a child mostly does
about as well as its parent. So a score is taken as strength of the member + ease of the example +
noise, where a member's strength is its parents' mean strength + a step, all normal: the posterior
is one linear system. Our choice. Siblings that were run on every example rank as their means do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from dspy_gepa.core.frontier import Flags, Scores, Vector

__all__ = ["Estimates", "estimated"]

_NOISE, _STEP, _SEED = 0.6, 0.2, 4.0
"""Variances, in units of the variance of all known scores: what is left unexplained by member and
example, before much was seen; a step from parent to child, and what is not known of the seed
beforehand."""
_DRIFT = 0.02
"""The variance, in the same units, of what all steps have in common: where most children turn out
worse than their parents, one of which little is known is taken to be worse too."""
_BELIEVED_STEPS = 4.0
"""As much as from so many steps is believed of their variance before any was seen."""
_ROUNDS = 2
"""How often the variance of steps is read off the steps that it leads to."""
_BELIEVED = 10.0
"""As much as from so many scores is believed of what is left unexplained before any was seen."""
_LEAST = 1e-6
"""The least of what may be left unexplained, and of what may be due to the example."""
_SWEEPS = 3
"""How often the means of members and of examples are taken out in turn."""
_SMALLEST_SHARE = 0.02
"""The least variance of scores, as a share of the square of their range: before both failures and
successes were seen, scores are not taken to be all the same."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """What is believed of the members' mean scores."""

    means: Vector
    """One for every member."""
    covariance: Scores
    """Shape (members, members)."""
    ease: Vector
    """For every example by how much a score on it is above a member's mean, luck apart."""

    @property
    def lead_deviations(self) -> Vector:
        """The standard deviation of every mean's distance from the first member's."""
        own, shared = np.diag(self.covariance), self.covariance[0]
        variances: Vector = np.maximum(own + own[0] - 2 * shared, 0.0)
        return np.sqrt(variances)

    def drawn(self, random: Random, *, width: float = 1.0) -> Vector:
        """One draw of all means; `width` is the part of their deviations that is drawn with."""
        chances = np.array([random.gauss(0, 1) for _ in self.means])
        drawn: Vector = self.means + width * (np.linalg.cholesky(self.covariance) @ chances)
        return drawn


def estimated(scores: Scores, parents: Sequence[Sequence[int]], *, span: float = 1.0) -> Estimates:
    """The posterior of the members' strengths.

    Args:
        scores: Shape (members, examples); NaN for a pair that was not run or must not count.
        parents: For every member, the ids of older members; empty for the seed.
        span: The distance between the lowest and the highest possible score.
    """
    is_known = ~np.isnan(scores)
    values = scores[is_known]
    center = float(values.mean()) if len(values) else 0.0
    floor = _SMALLEST_SHARE * span**2
    spread = max(float(values.var()), floor) if len(values) > 1 else 10 * floor
    noise = _unexplained(np.where(is_known, scores - center, 0.0), is_known, spread)
    weights = is_known / noise
    centered = np.where(is_known, scores - center, 0.0) * weights
    # The examples' effects are integrated out.
    easier = max(spread - noise, _LEAST * spread)
    ease = weights / (1 / easier + weights.sum(axis=0))
    precision = np.diag(weights.sum(axis=1)) - ease @ weights.T
    pull = centered.sum(axis=1) - ease @ centered.sum(axis=0)
    made = _steps(parents)
    variance = _STEP * spread
    for _ in range(_ROUNDS if len(parents) > 1 else 0):
        covariance = np.linalg.inv(precision + _lineage(made, parents, spread, variance))
        variance = _step_variance(made @ covariance @ pull, made @ covariance, made, spread)
    covariance = np.linalg.inv(precision + _lineage(made, parents, spread, variance))
    means = center + covariance @ pull
    rest = np.where(is_known, scores - means[:, None], 0.0) * weights
    return Estimates(means, covariance, rest.sum(axis=0) / (1 / easier + weights.sum(axis=0)))


def _unexplained(centered: Scores, is_known: Flags, spread: float) -> float:
    """The variance that is left where member and example are known, as the scores show it.

    Of a metric in small steps it is little, of verdicts by luck it is most: that says by how many
    examples a difference is shown. Only examples that several members were run on tell.
    """
    is_shared = is_known & (is_known.sum(axis=0) > 1)
    rows, columns = is_shared.sum(axis=1), is_shared.sum(axis=0)
    freedom = int(rows.sum() - (rows > 0).sum() - (columns > 0).sum() + 1)
    if freedom <= 0:
        return _NOISE * spread
    rest = np.where(is_shared, centered, 0.0)
    for _ in range(_SWEEPS):
        rest -= np.where(is_shared, rest.sum(axis=0) / np.maximum(columns, 1), 0.0)
        means = rest.sum(axis=1) / np.maximum(rows, 1)
        rest -= np.where(is_shared, means[:, None], 0.0)
    squares = float((rest**2).sum()) + _BELIEVED * _NOISE * spread
    return min(max(squares / (freedom + _BELIEVED), _LEAST * spread), spread)


def _steps(parents: Sequence[Sequence[int]]) -> Scores:
    """For every member that has parents a row that takes its distance from their mean."""
    made = [member for member, older in enumerate(parents) if older]
    rows = np.zeros((len(made), len(parents)))
    for row, member in zip(rows, made, strict=True):
        row[member] = 1.0
        for parent in parents[member]:
            row[parent] -= 1 / len(parents[member])
    return rows


def _step_variance(steps: Vector, covariance: Scores, made: Scores, spread: float) -> float:
    """The variance of steps about their mean, by what is known of them and how surely."""
    unsure = float((covariance * made).sum())
    squares = float(((steps - steps.mean()) ** 2).sum()) + unsure
    believed = _BELIEVED_STEPS * _STEP * spread
    return (squares + believed) / (len(steps) + _BELIEVED_STEPS)


def _lineage(
    made: Scores, parents: Sequence[Sequence[int]], spread: float, variance: float
) -> np.ndarray[Any, Any]:
    """The prior's precision: members differ from their parents' mean by a step.

    Steps have something in common that is not known, and beside it each something of its own.
    """
    without = [0.0 if older else 1 / (_SEED * spread) for older in parents]
    together, common = made.sum(axis=0), _DRIFT * spread
    shared = common / (variance * (variance + len(made) * common))
    return np.diag(without) + made.T @ made / variance - shared * np.outer(together, together)

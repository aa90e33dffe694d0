"""How many examples a reflection is shown, by what so many have gained in this run.

One reflection generalizes from many examples, another drowns in them or learns each by heart; one
metric says so much that three examples suffice. Which it is shows in what became of the children.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from dspy_gepa.core.budget import Tally

__all__ = ["Trial", "chosen_size", "in_rollouts"]

_BELIEVED = 2.0
"""As much as from so many proposals it is believed that all sizes gain alike. Our choice."""

_REFLECTION = 10.0
"""As many rollouts a reflection is taken to cost. Our choice."""


class Trial(NamedTuple):
    """A proposal that is over."""

    size: int
    """How many examples its reflection was shown."""
    gain: float
    """By how much its child is better than its parent, below 0 if it is worse, as far as that
    is known; rejected or not."""
    cost: float
    """As so many rollouts."""


def in_rollouts(charge: Tally) -> float:
    """What a proposal cost, as so many rollouts."""
    return max(charge.rollouts, charge.metric_calls) + _REFLECTION * charge.reflection_calls


def chosen_size(sizes: Sequence[int], trials: Sequence[Trial], random: Random) -> int:
    """One of the sizes, as probably as it gains most for what it costs (Thompson sampling).

    What a child gains counts, and what it loses does not, because then it is left out; but sizes
    of which most children lose more have fewer that gain.
    """
    gains = np.array([trial.gain for trial in trials])
    if len(sizes) == 1 or not gains.any():
        return random.choice(sizes)
    spread, cost = float(gains.std()), float(np.mean([trial.cost for trial in trials]))
    drawn = []
    for size in sizes:
        own = [trial for trial in trials if trial.size == size]
        count = len(own) + _BELIEVED
        mean = (sum(trial.gain for trial in own) + _BELIEVED * float(gains.mean())) / count
        paid = (sum(trial.cost for trial in own) + _BELIEVED * cost) / count
        drawn.append(_gained(random.gauss(mean, spread / count**0.5), spread) / paid)
    return sizes[int(np.argmax(drawn))]


def _gained(mean: float, spread: float) -> float:
    """The mean of what is above 0, of a normal distribution."""
    if spread <= 0:
        return max(0.0, mean)
    normal = NormalDist()
    return spread * normal.pdf(mean / spread) + mean * normal.cdf(mean / spread)

"""How many examples a reflection is shown, by what so many have gained in this run.

One reflection generalizes from many examples, another drowns in them or learns each by heart; one
metric says so much that three examples suffice. Which it is shows in what became of the children.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
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
    """What its child gained over its parent, for what it cost; 0 where it was rejected."""


def in_rollouts(charge: Tally) -> float:
    """What a proposal cost, as so many rollouts."""
    return max(charge.rollouts, charge.metric_calls) + _REFLECTION * charge.reflection_calls


def chosen_size(sizes: Sequence[int], trials: Sequence[Trial], random: Random) -> int:
    """One of the sizes, as probably as it gains most for what it costs (Thompson sampling)."""
    gains = np.array([trial.gain for trial in trials])
    if len(sizes) == 1 or not gains.any():
        return random.choice(sizes)
    drawn = []
    for size in sizes:
        own = [trial.gain for trial in trials if trial.size == size]
        count = len(own) + _BELIEVED
        mean = (sum(own) + _BELIEVED * float(gains.mean())) / count
        drawn.append(random.gauss(mean, float(gains.std()) / count**0.5))
    return sizes[int(np.argmax(drawn))]

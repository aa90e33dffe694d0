"""Which training examples a proposal looks at, and which of them make its minibatch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dspy_gepa.core.frontier import Vector
from dspy_gepa.core.results import place_of
from dspy_gepa.core.streams import stream

__all__ = ["Epochs", "Looks", "SampleView", "Sampler", "epoch_minibatch", "epochs"]


@dataclass(frozen=True, slots=True)
class SampleView:
    """What a sampler may look at."""

    examples: tuple[int, ...]
    """The training set."""
    scores: Vector
    """The parent's on them, NaN where it was not run."""
    perfect_score: float
    """An example that scores this does not fail."""
    shown: frozenset[int]
    """Those that reflections along its lineage have seen."""
    tried: Mapping[int, int]
    """Those that reflections on this very parent have seen, and how often."""
    under_way: frozenset[int]
    """Those that live proposals from this parent look at."""
    draw: int
    """How many mutations were issued before."""
    seed: int
    """For `stream`."""

    def times_shown(self, example: int) -> int:
        """How often a reflection on this parent has seen this example."""
        return self.tried.get(example, 0)


Sampler: TypeAlias = Callable[[SampleView], tuple[int, ...]]
"""Returns training examples, none twice, at least one."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """Minibatches of one size from shuffled epochs, whatever is known. Paper, algorithm 1."""

    size: int = 3

    def __call__(self, view: SampleView) -> tuple[int, ...]:
        """The next minibatch."""
        return epoch_minibatch(view.examples, self.size, view.draw, seed=view.seed)


epochs = Epochs()
"""The published sampler, with its usual size."""


@dataclass(frozen=True, slots=True)
class Looks:
    """First what is known to fail and was not shown yet, then examples that may fail, then others.

    Failures are what there is to learn from, and which examples fail shows only when they are
    run; what is known already costs nothing. Unknown ones come in one order that all members
    share, so that members are comparable on them. Our choice.
    """

    unknown: int = 12
    """How many examples that were not run are looked at, at most."""
    shares_order: bool = True
    """Whether all proposals look at examples in one order. Where several are under way at once
    that would show them the same failures, so each has its own."""

    def __call__(self, view: SampleView) -> tuple[int, ...]:
        """Ranked: the minibatch is made of the first of them that fail."""
        order = list(view.examples)
        stream(view.seed, "looks", 0 if self.shares_order else view.draw).shuffle(order)
        place = place_of(view.examples)
        scores = {example: view.scores[place[example]] for example in order}
        is_busy = view.under_way
        unknown = [e for e in order if np.isnan(scores[e]) and e not in is_busy]
        failed = [e for e in order if scores[e] < view.perfect_score and e not in is_busy]
        fresh = [e for e in failed if not view.times_shown(e) and e not in view.shown]
        known = [e for e in failed if e not in fresh]
        known.sort(key=lambda e: (view.times_shown(e), e in view.shown))
        return (*fresh, *unknown[: self.unknown], *known) or tuple(order[: self.unknown])


def epoch_minibatch(examples: Sequence[int], size: int, draw: int, *, seed: int) -> tuple[int, ...]:
    """The minibatch of the given draw, counted from 0: each epoch shuffles all examples anew.

    Every example comes once in an epoch; the last minibatch of an epoch is filled up from the
    start of its order, so a minibatch never holds an example twice and is never larger than the
    set. Paper, algorithm 1: "minibatch of size b from D_feedback"; shuffled epochs as in its
    reference implementation.
    """
    size = min(size, len(examples))
    per_epoch = -(-len(examples) // size)
    epoch, position = divmod(draw, per_epoch)
    order = list(examples)
    stream(seed, "epoch", epoch).shuffle(order)
    taken = order[position * size : (position + 1) * size]
    return (*taken, *order[: size - len(taken)])

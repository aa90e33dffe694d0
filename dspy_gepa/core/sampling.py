"""Which training examples a proposal looks at, and which of them make its minibatch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dspy_gepa.core.frontier import Vector
from dspy_gepa.core.results import place_of
from dspy_gepa.core.streams import stream

__all__ = [
    "EpochSampler",
    "FailureFirstSampler",
    "SampleView",
    "Sampler",
    "epoch_minibatch",
    "epochs",
]


@dataclass(frozen=True, slots=True)
class SampleView:
    """What a sampler may look at."""

    examples: tuple[int, ...]
    """The training set."""
    scores: Vector
    """The parent's on them, NaN if it was not run."""
    perfect_score: float
    """An example that scores this does not fail."""
    reflected_examples: frozenset[int]
    """Those that reflections along its lineage have seen."""
    tried: Mapping[int, int]
    """Those that reflections on this very parent have seen, and how often."""
    under_way: frozenset[int]
    """Those that live proposals from this parent look at."""
    mutation_index: int
    """How many mutations were issued before."""
    seed: int
    """For `stream`."""
    size: int = 0
    """How many examples make the minibatch; 0 if that is the sampler's choice."""

    def times_shown(self, example: int) -> int:
        """How often a reflection on this parent has seen this example."""
        return self.tried.get(example, 0)


Sampler: TypeAlias = Callable[[SampleView], tuple[int, ...]]
"""Returns training examples, none twice, at least one."""


@dataclass(frozen=True, slots=True)
class EpochSampler:
    """Minibatches of one size from shuffled epochs, whatever is known. Paper, algorithm 1."""

    size: int = 3

    def __call__(self, view: SampleView) -> tuple[int, ...]:
        """The next minibatch."""
        return epoch_minibatch(view.examples, self.size, view.mutation_index, seed=view.seed)


epochs = EpochSampler()
"""The published sampler, with its usual size."""


@dataclass(frozen=True, slots=True)
class FailureFirstSampler:
    """An epoch's minibatch as it comes; if the parent gets all of it right, others that may fail.

    Those are first the examples that the parent is known to fail on, then some that it was not run
    on.

    Failures and successes come in the proportion in which the parent has them. So a child that is
    no better than its parent has an even chance to do better on them; on failures alone, any luck
    would be a gain, and nothing would show what a rewrite breaks. Our choice.
    """

    unknown: int = 12
    """How many more examples that were not run are looked at, at most."""

    def __call__(self, view: SampleView) -> tuple[int, ...]:
        """The minibatch, and after it what is looked at if all of the minibatch is right."""
        batch = epoch_minibatch(view.examples, view.size or 3, view.mutation_index, seed=view.seed)
        others = [example for example in view.examples if example not in batch]
        stream(view.seed, "looks", view.mutation_index).shuffle(others)
        place = place_of(view.examples)
        scores = {example: view.scores[place[example]] for example in others}
        free = [example for example in others if example not in view.under_way]
        # What is known already costs nothing.
        known = [example for example in free if scores[example] < view.perfect_score]
        known.sort(key=lambda e: (view.times_shown(e), e in view.reflected_examples))
        unknown = [example for example in free if np.isnan(scores[example])]
        return (*batch, *known, *unknown[: self.unknown])


def epoch_minibatch(
    examples: Sequence[int], size: int, mutation_index: int, *, seed: int
) -> tuple[int, ...]:
    """The minibatch of the mutation with this number, from 0: each epoch shuffles examples anew.

    Every example comes once in an epoch; the last minibatch of an epoch is filled up from the
    start of its order, so a minibatch never holds an example twice and is never larger than the
    set. Paper, algorithm 1: "minibatch of size b from D_feedback"; shuffled epochs as in its
    reference implementation.
    """
    size = min(size, len(examples))
    per_epoch = -(-len(examples) // size)
    epoch, position = divmod(mutation_index, per_epoch)
    order = list(examples)
    stream(seed, "epoch", epoch).shuffle(order)
    taken = order[position * size : (position + 1) * size]
    return (*taken, *order[: size - len(taken)])

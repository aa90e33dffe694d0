"""Which training examples a proposal is tried on."""

from __future__ import annotations

from collections.abc import Sequence

from dspy_gepa.core.streams import stream

__all__ = ["epoch_minibatch"]


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

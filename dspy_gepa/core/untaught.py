"""Whether there is nothing to learn from, because the program fails on every training example."""

from __future__ import annotations

from dspy_gepa.core.endings import Breakdown
from dspy_gepa.core.proposal import Mutation
from dspy_gepa.core.results import place_of
from dspy_gepa.core.rollout import Rollout, RolloutKey
from dspy_gepa.core.state import RunState

__all__ = ["untaught"]


def untaught(state: RunState) -> Breakdown | None:
    """Why nothing can be learned from the training set; None if something can.

    Our choice: if the program or the metric fails on every training example that was tried, with
    whatever text, and these are `max_failures_in_a_row`, or all where there are fewer, then the
    training set does not fit them. Validation examples, which others may have made, say nothing
    about it.
    """
    settings, failures = state.settings, dict[int, Rollout]()
    least = min(settings.max_failures_in_a_row, len(settings.train))
    # The newest first: mostly one of its examples settles it.
    for record in reversed(state.history):
        if not isinstance(record.origin, Mutation):
            continue
        parent = state.candidate_of(record.origin.parent).digest
        for example in record.origin.drawn_examples:
            rollout = state.known.get(RolloutKey(parent, example))
            if rollout is None:
                continue
            if not rollout.is_broken:
                return None
            failures.setdefault(example, rollout)
        if len(failures) >= least:
            break
    learnable = place_of(settings.train)
    if len(failures) < least or any(
        not rollout.is_broken for key, rollout in state.known.items() if key.example in learnable
    ):
        return None
    return Breakdown(
        f"the program or the metric failed on each of the {len(failures)} training examples that "
        f"were tried; on one of them: {next(iter(failures.values())).failure}",
        tuple(sorted({rollout.cause for rollout in failures.values()})),
    )

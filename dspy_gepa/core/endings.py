"""Why a run ends by itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from dspy_gepa.core.proposal import Merge, Mutation
from dspy_gepa.core.state import RunState, Settlement

__all__ = ["breakage", "obstacle"]


def breakage(state: RunState) -> str:
    """Why nothing may be learnable at all, as it looks so far; empty where something is.

    A frontier that is made of objectives needs a metric that scores some: to be seen when the seed
    has been validated.

    Our choice: where the program or the metric fails on each of the seed's first validation
    examples, then it is not a text that is at fault, unless another text mends it.
    """
    frontier = state.settings.frontier
    if frontier != "instance" and len(state.history) == 1 and not state.objectives:
        return (
            f"the frontier {frontier!r} needs objectives, and the metric scored none. Return "
            'objective_scores={"name": number}, or take the frontier "instance"'
        )
    if state.members or not state.live or not state.live[0].evaluations:
        return ""
    first = state.live[0].evaluations[0].keys[: state.settings.max_failures_in_a_row]
    rollouts = [state.known.get(key) for key in first]
    if not all(rollout is not None and rollout.is_broken for rollout in rollouts):
        return ""
    if not all(rollout.is_broken for rollout in state.known.values()):
        return ""
    failures = [rollout.failure for rollout in rollouts if rollout is not None]
    return f"it failed on each of the first {len(first)} examples; on the first one: {failures[0]}"


def obstacle(state: RunState) -> str:
    """Why no further proposal would be of use; empty where one may be.

    Our choice: a member that is perfect on all validation examples cannot be told from a better
    one; and two epochs without a single new rollout, or several reflections in a row without a
    usable text, will go on like that, whatever members are measured in between.
    """
    settings = state.settings
    for member in state.members[-settings.window :]:
        if settings.skip_perfect_score and (member.scores == settings.perfect_score).all():
            return "a candidate has a perfect score on every validation example"
    idle = list(takewhile(lambda attempt: not attempt.charge.rollouts, _attempts(state)))
    looks = [len(each.origin.looks) for each in idle if isinstance(each.origin, Mutation)]
    patience = max(10, 2 * -(-len(settings.train) // max([1, *looks[:1]])))
    if looks and len(idle) >= patience:
        return (
            f"nothing left to learn: the last {patience} proposals needed no rollout "
            f"({idle[0].verdict.reason})"
        )
    # Those that did not reflect, merges and minibatches without a failure, say nothing about it.
    reflected = (attempt for attempt in _attempts(state) if attempt.shown)
    failed = list(takewhile(lambda attempt: attempt.verdict.kind == "failed", reflected))
    if len(failed) >= settings.max_failures_in_a_row:
        return f"{len(failed)} reflections in a row failed; the last: {failed[0].verdict.reason}"
    return ""


def _attempts(state: RunState) -> Iterator[Settlement]:
    """Proposals of a new candidate that are over, the newest first: no measuring in between."""
    return (each for each in reversed(state.history) if isinstance(each.origin, Mutation | Merge))

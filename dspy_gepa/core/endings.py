"""Why a run ends by itself."""

from __future__ import annotations

from dspy_gepa.core.proposal import Mutation
from dspy_gepa.core.state import RunState

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
    usable text, will go on like that.
    """
    settings = state.settings
    for member in state.members[-settings.window :]:
        if settings.skip_perfect_score and (member.scores == settings.perfect_score).all():
            return "a candidate has a perfect score on every validation example"
    looks = [len(s.origin.looks) for s in state.history[-1:] if isinstance(s.origin, Mutation)]
    patience = max(10, 2 * -(-len(settings.train) // max([1, *looks])))
    recent = state.history[-patience:] if len(state.history) > patience else ()
    if looks and recent and not any(settlement.charge.rollouts for settlement in recent):
        return (
            f"nothing left to learn: the last {patience} proposals needed no rollout "
            f"({recent[-1].verdict.reason})"
        )
    recent = state.history[-settings.max_failures_in_a_row :]
    failed = [s for s in recent if s.verdict.kind == "failed"]
    if len(failed) == settings.max_failures_in_a_row:
        return f"{len(failed)} reflections in a row failed; the last: {failed[-1].verdict.reason}"
    return ""

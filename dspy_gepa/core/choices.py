"""Every choice that the search makes: the next phase of a proposal, and the next proposal.

Reads the state, changes nothing. What a new proposal is chosen from are committed proposals only.
"""

from __future__ import annotations

import numpy as np

from dspy_gepa.core.budget import Tally, proposal_cost
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.components import ComponentView
from dspy_gepa.core.frontier import mean_scores, survivors, tops
from dspy_gepa.core.gate import at_least_as_good
from dspy_gepa.core.merge import Lineage, merge_examples, plan_merge
from dspy_gepa.core.proposal import (
    Drafted,
    Evaluation,
    Gating,
    Merge,
    Mutation,
    Phase,
    Proposal,
    Reflecting,
    Rolling,
    Settled,
    Validating,
    Verdict,
)
from dspy_gepa.core.sampling import epoch_minibatch
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.state import RunState
from dspy_gepa.core.streams import stream
from dspy_gepa.core.work import Evidence

__all__ = ["breakage", "next_phase", "next_proposal", "obstacle"]


def next_phase(state: RunState, proposal: Proposal) -> Phase | None:
    """The phase that a proposal may enter now; None while it waits or is settled."""
    match proposal.phase:
        case Rolling(evaluation) if state.is_done(evaluation):
            return _after_rolling(state, proposal, evaluation)
        case Drafted():
            return _after_reflecting(state, proposal, proposal.phase)
        case Gating(evaluation) if state.is_done(evaluation):
            return _after_gating(state, proposal, evaluation)
        case Validating(evaluation) if state.is_done(evaluation):
            return Settled(evaluation.candidate, Verdict("accepted", "validated"))
    return None


def next_proposal(state: RunState) -> tuple[tuple[Mutation | Merge, Phase], str]:
    """How the next proposal begins, and the unit in which its worst case is over the budget.

    Raises:
        ValueError: the frontier is made of objectives, and the metric scores none.
    """
    if state.settings.frontier != "instance" and state.members and not state.objectives:
        raise ValueError(
            f"The frontier {state.settings.frontier!r} needs objectives, and the metric scored "
            'none. Return objective_scores={"name": number}, or take the frontier "instance".'
        )
    begun = _merge(state) or _mutation(state)
    limits = state.settings.limits
    return begun, limits.obstacle(used=state.committed, more=begun[0].hold)


def breakage(state: RunState) -> str:
    """Why nothing can be learned at all; empty where something can.

    Our choice: where the program or the metric fails on each of the seed's first validation
    examples, then it is not a text that is at fault.
    """
    if state.members or not state.live or not isinstance(state.live[0].phase, Validating):
        return ""
    first = state.live[0].phase.evaluation.keys[: state.settings.max_failures_in_a_row]
    rollouts = [state.known.get(key) for key in first]
    if not all(rollout is not None and rollout.is_broken for rollout in rollouts):
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
    patience = max(10, 2 * -(-len(settings.train) // settings.minibatch_size))
    recent = state.history[-patience:] if len(state.history) > patience else ()
    if recent and not any(settlement.charge.metric_calls for settlement in recent):
        return (
            f"nothing left to learn: the last {patience} proposals needed no rollout "
            f"({recent[-1].verdict.reason})"
        )
    recent = state.history[-settings.max_failures_in_a_row :]
    failed = [s for s in recent if s.verdict.kind == "failed"]
    if len(failed) == settings.max_failures_in_a_row:
        return f"{len(failed)} reflections in a row failed; the last: {failed[-1].verdict.reason}"
    return ""


def _after_rolling(state: RunState, proposal: Proposal, evaluation: Evaluation) -> Phase:
    settings, origin = state.settings, proposal.origin
    assert isinstance(origin, Mutation)
    parent, rollouts = evaluation.candidate, state.rollouts(evaluation)
    # A score above it says that it is not the highest there is, so that there is more to learn.
    if settings.skip_perfect_score and all(r.score == settings.perfect_score for r in rollouts):
        return Settled(parent, Verdict("skipped", "every score on the minibatch is perfect"))
    seen = {step.component for rollout in rollouts for step in rollout.trace.steps}
    called = tuple(component for component in parent if component in seen)
    if not called:
        return Settled(parent, Verdict("skipped", "no component was called on the minibatch"))
    evidence = tuple(map(Evidence, evaluation.examples, rollouts))
    pool = _pool(state, proposal.ticket, origin.seen)
    view = ComponentView(pool, origin.parent, parent, origin.turn, called, evidence)
    chosen = settings.components(view)
    components = tuple(component for component in chosen if component in seen)
    if not components:
        reason = f"none of the selected components {list(chosen)} was called on the minibatch"
        return Settled(parent, Verdict("skipped", reason))
    return Reflecting(evaluation, components)


def _after_reflecting(state: RunState, proposal: Proposal, phase: Drafted) -> Phase:
    parent, reflection = phase.evaluation.candidate, phase.reflection
    child = parent.rewritten(reflection.texts)
    if child == parent:
        problem = reflection.problem
        if problem:
            return Settled(parent, Verdict("failed", problem))
        return Settled(parent, Verdict("rejected", "the texts are unchanged"))
    assert isinstance(proposal.origin, Mutation)
    # A member that came later is caught at the commit.
    visible = _visible(state, proposal.origin.seen)
    if child in visible:
        reason = f"member {visible.index(child)} has the same texts"
        return Settled(child, Verdict("rejected", reason))
    return Gating(Evaluation(child, phase.evaluation.examples))


def _after_gating(state: RunState, proposal: Proposal, evaluation: Evaluation) -> Phase:
    parents = [
        Evaluation(_candidate(state, parent), evaluation.examples)
        for parent in proposal.origin.parents
    ]
    child_scores = [rollout.score for rollout in state.rollouts(evaluation)]
    parent_scores = [[rollout.score for rollout in state.rollouts(p)] for p in parents]
    # A merge may combine strengths that lie elsewhere, so it need not beat its better parent.
    is_merge = isinstance(proposal.origin, Merge)
    gate = at_least_as_good if is_merge else state.settings.gate
    if gate(child_scores, parent_scores):
        return Validating(Evaluation(evaluation.candidate, state.settings.validation))
    best = max(sum(scores) for scores in parent_scores)
    reason = f"no better on {len(child_scores)} examples: {sum(child_scores):g} against {best:g}"
    return Settled(evaluation.candidate, Verdict("rejected", reason))


def _visible(state: RunState, seen: int) -> tuple[Candidate, ...]:
    """The members' texts when the first `seen` proposals were over."""
    return tuple(member.candidate for member in state.members if member.ticket < seen)


def _pool(state: RunState, ticket: int, seen: int) -> PoolView:
    """The pool as it was when the first `seen` proposals were over; at first, the seed unscored."""
    candidates = _visible(state, seen)
    if not candidates:
        unknown = np.full((1, len(state.settings.validation)), np.nan)
        return PoolView((_candidate(state, 0),), unknown, unknown, ticket, 0)
    return PoolView(
        candidates,
        state.scores[: len(candidates)],
        state.columns[: len(candidates)],
        ticket,
        sum(settlement.charge.metric_calls for settlement in state.history[:seen]),
    )


def _candidate(state: RunState, member: int) -> Candidate:
    """A member's texts; those of the seed before it is a member too."""
    if state.members:
        return state.members[member].candidate
    return state.live[0].evaluations[0].candidate


def _mutation(state: RunState) -> tuple[Mutation, Phase]:
    settings, ticket = state.settings, len(state.history) + len(state.live)
    view = _pool(state, ticket, len(state.history))
    random = stream(settings.seed, "parent", ticket)
    parent = settings.selection(view, random) if state.members else 0
    if parent not in range(len(view.candidates)):
        raise ValueError(
            f"The candidate selection returned {parent!r}; a member's id is needed, one of 0 to "
            f"{len(view.candidates) - 1}."
        )
    earlier = [origin for origin in state.origins() if isinstance(origin, Mutation)]
    draw = earlier[0].draw + 1 if earlier else 0
    same_parent = (origin.turn + 1 for origin in earlier if origin.parent == parent)
    turn = next(same_parent, state.members[parent].turn if state.members else 0)
    minibatch = epoch_minibatch(settings.train, settings.minibatch_size, draw, seed=settings.seed)
    evaluation = Evaluation(view.candidates[parent], minibatch)
    hold = proposal_cost(
        parent=sum(key not in state.charged for key in evaluation.keys),
        child=len({*minibatch, *settings.validation}),
        feedback=settings.feedback_calls * len(minibatch),
        reflection_calls=settings.reflection_calls,
    )
    origin = Mutation(hold, parent, minibatch, draw, turn, len(state.history))
    return origin, Rolling(evaluation)


def _merge(state: RunState) -> tuple[Merge, Phase] | None:
    """A merge, due after a mutation was accepted, where two frontier members can be merged."""
    settings, ticket = state.settings, len(state.history) + len(state.live)
    last = state.history[-1] if state.history else None
    if not settings.use_merge or last is None or last.verdict.kind != "accepted":
        return None
    earlier = [origin for origin in state.origins() if isinstance(origin, Merge)]
    if not isinstance(last.origin, Mutation) or len(earlier) >= settings.max_merge_invocations:
        return None
    scores = state.scores
    means = mean_scores(scores).tolist()
    plan = plan_merge(
        [
            Lineage(member.candidate, member.parents, mean)
            for member, mean in zip(state.members, means, strict=True)
        ],
        survivors(tops(state.columns), means),
        [(*origin.parents, origin.ancestor) for origin in earlier],
        stream(settings.seed, "merge", ticket),
    )
    if plan is None:
        return None
    random = stream(settings.seed, "merge examples", ticket)
    examples = merge_examples(
        scores, settings.validation, plan.parents, settings.merge_examples, random
    )
    rollouts = len(settings.validation)
    hold = Tally(rollouts=rollouts, metric_calls=rollouts, proposals=1)
    origin = Merge(hold, plan.parents, plan.ancestor)
    return origin, Gating(Evaluation(plan.child, examples))

"""How a proposal goes on: its next phase, chosen from the state alone.

Reads the state, changes nothing. What a proposal sees of the pool are proposals that were over
when it was issued, so that it goes on the same way whenever its answers come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dspy_gepa.core.admission import expected_scores, first_validated
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.comparing import compared
from dspy_gepa.core.components import ComponentView
from dspy_gepa.core.frontier import Scores
from dspy_gepa.core.gate import (
    Gate,
    at_least_as_good,
    examples_to_decide,
    strict_improvement,
    total,
)
from dspy_gepa.core.merge import has_own_text
from dspy_gepa.core.proposal import (
    CheckingMustPass,
    EvaluatingChild,
    EvaluatingParent,
    Evaluation,
    Merge,
    Mutation,
    Phase,
    Proposal,
    Reflecting,
    Remarking,
    Repairing,
    Seed,
    Settled,
    TextsReady,
    Validating,
    Verdict,
    evaluations_of,
)
from dspy_gepa.core.remarking import asked_about
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Evidence, faults_in_words

__all__ = [
    "candidate_of",
    "evaluating_child",
    "evaluating_parent",
    "has_seed",
    "next_phase",
    "validating",
]

_NO_TEXT_AT_FAULT = "the reflection found no text at fault"
_LONGEST_DIAGNOSIS = 300
"""Characters of a diagnosis that a verdict repeats; all of it is in the record of the proposal."""


def next_phase(state: RunState, proposal: Proposal) -> Phase | None:  # noqa: PLR0911 - one for each
    """The phase that a proposal may enter now; None while it waits or is settled."""
    if all(map(state.is_done, evaluations_of(proposal.phase))):
        match proposal.phase:
            case EvaluatingParent(evaluation, drawn_examples):
                return _after_evaluating_parent(state, proposal, evaluation, drawn_examples)
            case Remarking(evaluation, components, remarks):
                is_done = all(remark in state.remarks for remark in remarks)
                return Reflecting(evaluation, components) if is_done else None
            case TextsReady():
                return _after_reflecting(state, proposal, proposal.phase)
            case EvaluatingChild(evaluation, minibatch):
                return _after_evaluating_child(state, proposal, evaluation, minibatch)
            case CheckingMustPass(evaluation, reference):
                return _after_checking_must_pass(state, proposal, evaluation, reference)
            case Validating(evaluation, reference):
                return _after_validating(state, proposal, evaluation, reference)
    return None


def _after_evaluating_parent(
    state: RunState, proposal: Proposal, so_far: Evaluation, drawn_examples: tuple[int, ...]
) -> Phase:
    settings, origin = state.settings, proposal.origin
    assert isinstance(origin, Mutation)
    parent = so_far.candidate
    evaluation = _minibatch(state, so_far, origin.size)
    rollouts = state.rollouts(evaluation)
    # A score above it says that it is not the highest there is, so that there is more to learn.
    if settings.skip_perfect_score and all(r.score == settings.perfect_score for r in rollouts):
        if len(so_far.examples) < len(drawn_examples):
            return evaluating_parent(parent, drawn_examples, origin.size, len(so_far.examples))
        return Settled(parent, Verdict("skipped", "every score on the minibatch is perfect"))
    in_use = {step.component for rollout in rollouts for step in rollout.trace.steps}
    in_use |= {name for name, owners in settings.owners.items() if not in_use.isdisjoint(owners)}
    called = tuple(name for name in parent if name in in_use and name not in settings.frozen)
    if not called:
        reason = "no component that may be rewritten was called on the minibatch"
        return Settled(parent, Verdict("skipped", reason))
    evidence = tuple(map(Evidence, evaluation.examples, rollouts))
    pool = _pool(state, proposal.ticket, origin.visible_proposals)
    is_apart = state.asks_apart(origin.visible_proposals)
    view = ComponentView(
        pool, origin.parent, parent, origin.rewrites_before, called, evidence, is_apart
    )
    chosen = settings.components(view)
    components = tuple(component for component in chosen if component in called)
    if not components:
        reason = f"none of the selected components {list(chosen)} was called on the minibatch"
        return Settled(parent, Verdict("skipped", reason))
    asked = asked_about(state, evaluation, components, origin.visible_proposals)
    return Remarking(evaluation, components, asked) if asked else Reflecting(evaluation, components)


def evaluating_parent(
    parent: Candidate, drawn_examples: tuple[int, ...], size: int, done: int = 0
) -> EvaluatingParent:
    """The next step in looking for a minibatch with something to learn from."""
    step = size or len(drawn_examples)
    return EvaluatingParent(Evaluation(parent, drawn_examples[: done + step]), drawn_examples)


def _minibatch(state: RunState, so_far: Evaluation, size: int) -> Evaluation:
    """What the reflection is shown of what the proposal looked at, failures first.

    Where it looked at more than that, failures are half of them, or more only if successes are too
    few, so that a rewrite that breaks as much as it mends does not pass the gate.
    """
    if not size:
        return so_far
    failed: list[int] = []
    passed: list[int] = []
    for example, rollout in zip(so_far.examples, state.rollouts(so_far), strict=True):
        is_right = rollout.score == state.settings.perfect_score
        (passed if is_right else failed).append(example)
    most = max(-(-size // 2), size - len(passed))
    return Evaluation(so_far.candidate, (*failed[:most], *passed)[:size])


def _after_reflecting(state: RunState, proposal: Proposal, phase: TextsReady) -> Phase:
    parent, reflection = phase.evaluation.candidate, phase.reflection
    if reflection.repairs:
        left = proposal.origin.hold.reflection_calls - proposal.reflection_charge.reflection_calls
        if left > 0:
            return Repairing(phase.evaluation, phase.components, reflection)
        phase = replace(phase, reflection=reflection.unrepaired)
    child = parent.rewritten(reflection.texts)
    if child == parent:
        return Settled(parent, _unchanged(state, proposal, phase))
    if isinstance(proposal.origin, Seed):
        return Validating(Evaluation(child, state.settings.first_examples))
    assert isinstance(proposal.origin, Mutation)
    if duplicate := _duplicate(state, child, proposal.origin.visible_proposals):
        return Settled(child, Verdict("rejected", duplicate))
    parents = [candidate_of(state, proposal.origin.parent)]
    return evaluating_child(state, child, proposal.reflected_examples, parents)


def _unchanged(state: RunState, proposal: Proposal, phase: TextsReady) -> Verdict:
    """What becomes of a proposal whose reflection wrote nothing new."""
    if proposal.mended:
        (rollout,) = state.rollouts(phase.evaluation)
        return Verdict("rejected", f"it was not mended: {rollout.failure}")
    if faults := phase.reflection.shortfalls:
        return Verdict("failed", faults_in_words(faults))
    if phase.reflection.is_unchanged:
        diagnosis = " ".join(phase.reflection.diagnosis.split())[:_LONGEST_DIAGNOSIS]
        return Verdict("skipped", f"{_NO_TEXT_AT_FAULT}: {diagnosis}")
    return Verdict("rejected", "the texts are unchanged")


def _duplicate(state: RunState, child: Candidate, visible_proposals: int) -> str:
    """Why a child is nothing new; empty if it is.

    A member that came later is caught at the commit.
    """
    for position, member in enumerate(state.members):
        if member.ticket < visible_proposals and member.candidate == child:
            return f"member {position} has the same texts"
    return rejected_before(state, child, visible_proposals)


def rejected_before(state: RunState, child: Candidate, visible_proposals: int) -> str:
    """Says that one of the visible proposals tried this child in vain; empty if none did.

    Each trial would be another chance to pass by luck.
    """
    if state.settings.remembers_rejected:
        for ticket, earlier in enumerate(state.history[:visible_proposals]):
            if earlier.verdict.kind == "rejected" and earlier.candidate == child:
                return f"proposal {ticket} had the same texts and was rejected"
    return ""


def evaluating_child(
    state: RunState,
    child: Candidate,
    minibatch: tuple[int, ...],
    parents: Sequence[Candidate],
    done: int = 0,
) -> EvaluatingChild:
    """The next step of the gate, after so many scores of the child: as far as it may be decided."""
    more = len(minibatch) - done
    if state.settings.mends and not done:
        # What does not run shows on the first example, and goes back before more is paid for.
        more = min(more, 1)
    elif state.settings.stops_early:
        more = max(1, _to_decide(state, child, minibatch, parents, done))
    return EvaluatingChild(Evaluation(child, minibatch[: done + more]), minibatch)


def _after_evaluating_child(
    state: RunState, proposal: Proposal, evaluation: Evaluation, minibatch: tuple[int, ...]
) -> Phase:
    child = evaluation.candidate
    parents = [candidate_of(state, parent) for parent in proposal.origin.parents]
    done = len(evaluation.examples)
    if broken := _to_be_mended(state, proposal, evaluation):
        return broken
    if done < len(minibatch) and not state.settings.stops_early:
        return evaluating_child(state, child, minibatch, parents, done)
    more = _to_decide(state, child, minibatch, parents, done)
    if more > 0:
        return evaluating_child(state, child, minibatch, parents, done)
    if more == 0:
        return _checking_must_pass(state, child) or validating(state, proposal, child)
    scores, *rows = _child_and_parents(state, child, minibatch, parents, done)
    own, best = total(scores), max(total(row[:done]) for row in rows)
    better = "not enough better" if own > best else "no better"
    reason = f"{better} on {done} examples: {own} against {best}"
    return Settled(child, Verdict("rejected", reason))


def _to_be_mended(state: RunState, proposal: Proposal, evaluation: Evaluation) -> Reflecting | None:
    """The reflection on a text that does not run, where it may go back; else None."""
    origin = proposal.origin
    if not isinstance(origin, Mutation) or proposal.mended >= origin.mends:
        return None
    child, parent = evaluation.candidate, candidate_of(state, origin.parent)
    for example, rollout in zip(evaluation.examples, state.rollouts(evaluation), strict=True):
        if rollout.failure:
            able = state.settings.mended or tuple(child)
            changed = tuple(n for n, text in child.items() if text != parent[n] and n in able)
            return Reflecting(Evaluation(child, (example,)), changed) if changed else None
    return None


def _gate(state: RunState, child: Candidate, parents: Sequence[Candidate]) -> Gate:
    """What a child has to pass.

    A merge, which has two parents, may combine strengths that lie elsewhere, so it need not beat
    the better one. Our choice: one with a text of its own has to, because that is longer than both
    parents' and is paid for with every call.
    """
    if len(parents) == 1:
        return state.settings.gate
    return strict_improvement if has_own_text(child, parents) else at_least_as_good


def _to_decide(
    state: RunState,
    child: Candidate,
    minibatch: tuple[int, ...],
    parents: Sequence[Candidate],
    done: int,
) -> int:
    """On how many examples more a child must be run to pass; 0 if it passes, -1 if not."""
    settings, gate = state.settings, _gate(state, child, parents)
    scores, *rows = _child_and_parents(state, child, minibatch, parents, done)
    known = [*scores, *(score for row in rows for score in row)]
    # A score beyond what is said to be the lowest or the highest says that neither is.
    lowest = settings.lowest_score if min(known) >= settings.lowest_score else -math.inf
    highest = settings.perfect_score if max(known) <= settings.perfect_score else math.inf
    return examples_to_decide(gate, scores, rows, lowest=lowest, highest=highest)


def _child_and_parents(
    state: RunState,
    child: Candidate,
    minibatch: tuple[int, ...],
    parents: Sequence[Candidate],
    done: int,
) -> list[list[float]]:
    """The first scores of the child, and those of each parent on the whole minibatch."""
    of_parents = (Evaluation(parent, minibatch) for parent in parents)
    return compared(state, Evaluation(child, minibatch[:done]), *of_parents)


def _checking_must_pass(state: RunState, child: Candidate) -> CheckingMustPass | None:
    """How a child is tried on what must keep passing; None if nothing must."""
    anchors = state.settings.anchors
    if not anchors:
        return None
    return CheckingMustPass(
        Evaluation(child, anchors), (Evaluation(candidate_of(state, 0), anchors),)
    )


def _after_checking_must_pass(
    state: RunState, proposal: Proposal, evaluation: Evaluation, reference: tuple[Evaluation, ...]
) -> Phase:
    child, (seed,) = evaluation.candidate, reference
    rows = zip(evaluation.examples, *compared(state, evaluation, seed), strict=True)
    lost = [example for example, score, before in rows if score < before]
    if lost:
        reason = f"worse than the seed on {len(lost)} of the examples that must keep passing"
        return Settled(child, Verdict("rejected", reason))
    return validating(state, proposal, child)


def validating(state: RunState, proposal: Proposal, child: Candidate) -> Validating:
    """How a child is validated: first on a few examples, as its parents are, or on all of them."""
    settings, origin = state.settings, proposal.origin
    if settings.validation_schedule is None:
        return Validating(Evaluation(child, settings.validation))
    assert isinstance(origin, Mutation | Merge)
    view = _pool(state, proposal.ticket, origin.visible_proposals)
    examples = first_validated(settings, view, origin.parents)
    parents = [candidate_of(state, parent) for parent in origin.parents]
    reference = tuple(Evaluation(parent, examples) for parent in parents)
    return Validating(Evaluation(child, examples), reference)


def _after_validating(
    state: RunState,
    proposal: Proposal,
    evaluation: Evaluation,
    reference: tuple[Evaluation, ...],
) -> Phase:
    candidate, settings, origin = evaluation.candidate, state.settings, proposal.origin
    if reference and settings.validation_schedule is not None:
        assert isinstance(origin, Mutation | Merge)
        scores, *of_parents = compared(state, evaluation, *reference)
        beside = np.array([scores, *of_parents])
        view = _pool(state, proposal.ticket, origin.visible_proposals, beside)
        scores, *of_parents = compared(state, evaluation, *reference, beside=view.everything)
        rows = dict(zip(origin.parents, of_parents, strict=True))
        expected = expected_scores(settings, view, rows, evaluation.examples)
        if settings.validation_schedule.is_worse(np.array(scores), expected, span=view.span):
            reason = (
                f"worse on {len(scores)} validation examples: {total(scores)}, and "
                f"{expected.sum():.3g} expected of its parent"
            )
            return Settled(candidate, Verdict("rejected", reason))
    if not isinstance(origin, Merge | Mutation) and proposal.ticket > 0:
        reason = f"run on {len(evaluation.examples)} more validation examples"
        return Settled(candidate, Verdict("measured", reason))
    return Settled(candidate, Verdict("accepted", "validated"))


def _pool(
    state: RunState, ticket: int, visible_proposals: int, beside: Scores | None = None
) -> PoolView:
    """The pool that a proposal may know of; at first, the seed without scores."""
    if visible_proposals:
        return state.pool(ticket, visible_proposals, beside)
    validation, train = len(state.settings.validation), len(state.settings.train)
    unknown = np.full((1, validation), np.nan)
    seed, training = (candidate_of(state, 0),), np.full((1, train), np.nan)
    return PoolView(seed, unknown, unknown, ticket, 0, training, ((),))


def has_seed(state: RunState) -> bool:
    """Whether there are texts to start from, and not only the words that ask for them."""
    return any(proposal.evaluations for proposal in state.live[:1])


def candidate_of(state: RunState, member: int) -> Candidate:
    """A member's texts; those of the seed before it is a member too."""
    if state.members:
        return state.members[member].candidate
    return state.live[0].evaluations[0].candidate

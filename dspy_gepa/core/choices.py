"""How a proposal goes on: its next phase, chosen from the state alone.

Whether its child joins the pool is decided in admission.py.

Reads the state, changes nothing. What a proposal sees of the pool are proposals that were over
when it was issued, so that it goes on the same way whenever its answers come.
"""

from __future__ import annotations

from dataclasses import replace

from dspy_gepa.core.admission import (
    after_checking_must_pass,
    after_evaluating_child,
    after_validating,
    evaluating_child,
)
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.components import ComponentView
from dspy_gepa.core.proposal import (
    CheckingMustPass,
    EvaluatingChild,
    EvaluatingParent,
    Evaluation,
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
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Evidence, faults_in_words

__all__ = ["evaluating_parent", "has_seed", "next_phase", "rejected_before"]

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
                broken = _to_be_mended(state, proposal, evaluation)
                return broken or after_evaluating_child(state, proposal, evaluation, minibatch)
            case CheckingMustPass(evaluation, reference):
                return after_checking_must_pass(state, proposal, evaluation, reference)
            case Validating(evaluation, reference):
                return after_validating(state, proposal, evaluation, reference)
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
    pool = state.pool(proposal.ticket, origin.visible_proposals)
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
    parents = [state.candidate_of(proposal.origin.parent)]
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


def _to_be_mended(state: RunState, proposal: Proposal, evaluation: Evaluation) -> Reflecting | None:
    """The reflection on a text that does not run, where it may go back; else None."""
    origin = proposal.origin
    if not isinstance(origin, Mutation) or proposal.mended >= origin.mends:
        return None
    child, parent = evaluation.candidate, state.candidate_of(origin.parent)
    for example, rollout in zip(evaluation.examples, state.rollouts(evaluation), strict=True):
        if rollout.failure:
            able = state.settings.mended or tuple(child)
            changed = tuple(n for n, text in child.items() if text != parent[n] and n in able)
            return Reflecting(Evaluation(child, (example,)), changed) if changed else None
    return None


def has_seed(state: RunState) -> bool:
    """Whether there are texts to start from, and not only the words that ask for them."""
    return any(proposal.evaluations for proposal in state.live[:1])

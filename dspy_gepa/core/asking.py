"""What a proposal waits for: the requests that follow from its phase, the same at any time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dspy_gepa.core.comparing import comparable
from dspy_gepa.core.lessons import contrasts_of, lessons_of
from dspy_gepa.core.proposal import (
    CheckingMustPass,
    EvaluatingChild,
    EvaluatingParent,
    Evaluation,
    Mutation,
    Proposal,
    Reflecting,
    Remarking,
    Repairing,
    Validating,
    evaluations_of,
)
from dspy_gepa.core.results import place_of
from dspy_gepa.core.rollout import Remark, RolloutKey
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import (
    Evidence,
    ReflectionRequest,
    RemarkRequest,
    Request,
    RolloutRequest,
)

__all__ = ["asked_by"]


def asked_by(state: RunState, proposal: Proposal) -> Iterator[Request]:
    """What a proposal waits for, in order."""
    match proposal.phase:
        case EvaluatingParent() | EvaluatingChild() | CheckingMustPass() | Validating():
            learnable = place_of(state.settings.train)
            for evaluation in evaluations_of(proposal.phase):
                for key, example in zip(evaluation.keys, evaluation.examples, strict=True):
                    if key not in state.known:
                        is_learnable = example in learnable
                        yield RolloutRequest(evaluation.candidate, example, traced=is_learnable)
        case Remarking(evaluation, _, remarks):
            for remark in remarks:
                if remark not in state.remarks:
                    rollout = state.known[RolloutKey(remark.candidate, remark.example)]
                    asked = Evidence(remark.example, rollout)
                    yield RemarkRequest(evaluation.candidate, remark.component, asked)
        case Reflecting(evaluation, components):
            question = _question(state, proposal, evaluation, components)
            begun = proposal.origin
            is_apart = isinstance(begun, Mutation) and state.asks_apart(begun.visible_proposals)
            yield replace(question, room=state.room, asks_apart=is_apart)
        case Repairing(evaluation, components, reflection):
            question = _question(state, proposal, evaluation, components)
            yield replace(question, repairs=reflection.repairs, room=state.room)


def _question(
    state: RunState, proposal: Proposal, evaluation: Evaluation, components: tuple[str, ...]
) -> ReflectionRequest:
    """What the reflection is asked: the same whenever it is asked."""
    rollouts = state.rollouts(evaluation)
    (scores,) = comparable(state.settings, rollouts)
    evidence = tuple(
        Evidence(example, replace(rollout, score=score), _remarks_on(state, proposal, example))
        for example, rollout, score in zip(evaluation.examples, rollouts, scores, strict=True)
    )
    if proposal.mended:
        return ReflectionRequest(
            proposal.ticket, evaluation.candidate, components, evidence, mends=proposal.mended
        )
    return ReflectionRequest(
        proposal.ticket,
        evaluation.candidate,
        components,
        evidence,
        contrasts_of(state, proposal, evaluation),
        lessons_of(state, proposal),
    )


def _remarks_on(state: RunState, proposal: Proposal, example: int) -> dict[str, Remark]:
    """What the metric said of an example, asked by this proposal.

    What others have asked by now depends on timing.
    """
    return {key.component: state.remarks[key] for key in proposal.remarks if key.example == example}

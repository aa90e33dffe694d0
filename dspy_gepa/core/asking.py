"""What a proposal waits for: the requests that follow from its phase, the same at any time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dspy_gepa.core.lessons import contrasts_of, lessons_of
from dspy_gepa.core.proposal import (
    Anchoring,
    Evaluation,
    Gating,
    Proposal,
    Reflecting,
    Repairing,
    Rolling,
    Validating,
    evaluations_of,
)
from dspy_gepa.core.results import place_of
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Evidence, ReflectionRequest, Request, RolloutRequest

__all__ = ["asked_by"]


def asked_by(state: RunState, proposal: Proposal) -> Iterator[Request]:
    """What a proposal waits for, in order."""
    match proposal.phase:
        case Rolling() | Gating() | Anchoring() | Validating():
            learnable = place_of(state.settings.train)
            for evaluation in evaluations_of(proposal.phase):
                for key, example in zip(evaluation.keys, evaluation.examples, strict=True):
                    if key not in state.known:
                        is_learnable = example in learnable
                        yield RolloutRequest(evaluation.candidate, example, traced=is_learnable)
        case Reflecting(evaluation, components):
            question = _question(state, proposal, evaluation, components)
            yield replace(question, room=state.room)
        case Repairing(evaluation, components, reflection):
            question = _question(state, proposal, evaluation, components)
            yield replace(question, repairs=reflection.repairs, room=state.room)


def _question(
    state: RunState, proposal: Proposal, evaluation: Evaluation, components: tuple[str, ...]
) -> ReflectionRequest:
    """What the reflection is asked: the same whenever it is asked."""
    evidence = tuple(map(Evidence, evaluation.examples, state.rollouts(evaluation)))
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

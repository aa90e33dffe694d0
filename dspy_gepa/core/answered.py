"""What an answer adds to the state: what it cost, and what is known from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.events import Remarked, RolledOut
from dspy_gepa.core.proposal import Proposal, Reflecting, Repairing, TextsReady
from dspy_gepa.core.rollout import RemarkKey, RolloutKey
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import ReflectionAnswer, ReflectionKey, RequestKey

__all__ = ["proposal_of", "remarked", "rolled_out", "with_proposal", "with_texts"]


def proposal_of(state: RunState, ticket: int) -> Proposal:
    """The proposal under way with this ticket."""
    return state.live[ticket - state.live[0].ticket]


def with_proposal(state: RunState, changed: Proposal) -> RunState:
    """The state with this proposal in place of what it was."""
    live = tuple(changed if p.ticket == changed.ticket else p for p in state.live)
    return replace(state, live=live)


def with_texts(state: RunState, reflection: ReflectionAnswer) -> RunState:
    """The state after a reflection was answered."""
    proposal = proposal_of(state, reflection.ticket)
    phase = proposal.phase
    assert isinstance(phase, Reflecting | Repairing)
    # No decision reads the exchanges. Kept, they would be written down with every later phase.
    stored = replace(reflection, exchanges=())
    whole = stored.after(phase.reflection) if isinstance(phase, Repairing) else stored
    changed = replace(
        proposal,
        phase=TextsReady(phase.evaluation, phase.components, whole),
        reflection_charge=proposal.reflection_charge + reflection.charge,
        diagnosis=whole.diagnosis,
        lesson=whole.lesson,
        faults=whole.shortfalls,
        naming=whole.naming,
    )
    return replace(
        with_proposal(state, changed),
        tally=state.tally + reflection.charge,
        room=min(filter(None, (state.room, reflection.room)), default=0),
        dearest_reflection=state.dearest_reflection.highest(reflection.usage),
        failed_attempts=_without(state.failed_attempts, ReflectionKey),
    )


def rolled_out(state: RunState, event: RolledOut) -> RunState:
    """The state after a rollout was answered."""
    key, rollout = event.key, event.rollout
    done = Tally.of(rollout.usage, rollouts=1, metric_calls=rollout.metric_calls)
    if not event.is_asked_for:
        state = replace(state, lost=state.lost + done, charged=state.charged.plus(key, -1))
    return replace(
        state,
        known=state.known.plus(key, rollout),
        broken=state.broken + rollout.is_broken,
        tally=state.tally + done,
        uncalled=state.uncalled + rollout.charge.metric_calls - rollout.metric_calls,
        dearest_rollout=state.dearest_rollout.highest(rollout.usage),
        failed_attempts=_without(state.failed_attempts, RolloutKey),
    )


def remarked(state: RunState, event: Remarked) -> RunState:
    """The state after the metric was asked about a component."""
    key, remark = event.key, event.remark
    if not event.is_asked_for:
        state = replace(state, lost=state.lost + remark.charge, charged=state.charged.plus(key, -1))
    return replace(
        state,
        remarks=state.remarks.plus(key, remark),
        tally=state.tally + remark.charge,
        dearest_remark=state.dearest_remark.highest(remark.usage),
        failed_attempts=_without(state.failed_attempts, RemarkKey),
    )


def _without(failed_attempts: Mapping[RequestKey, int], kind: type) -> dict[RequestKey, int]:
    """Without those of a kind of which one was answered.

    Others may be asked of another server, which is no better for this answer.
    """
    return {key: count for key, count in failed_attempts.items() if not isinstance(key, kind)}

"""The search as four verbs over a value: start, requests, decide, evolve.

`decide` is the only function that chooses, `evolve` the only one that changes. What a proposal
sees depends on committed proposals alone, and those are committed in ticket order; so the same
answers give the same run in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.choices import next_phase, next_proposal, obstacle
from dspy_gepa.core.columns import columns, objective_names
from dspy_gepa.core.events import (
    Advanced,
    Committed,
    Ended,
    Event,
    Issued,
    Reflected,
    RolledOut,
)
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
    Seed,
    Settled,
    Validating,
    Verdict,
)
from dspy_gepa.core.state import Member, RunState, Settings, Settlement
from dspy_gepa.core.work import (
    Answer,
    Breakdown,
    Evidence,
    ReflectionAnswer,
    ReflectionRequest,
    Request,
    RequestKey,
    RolloutAnswer,
    RolloutRequest,
    Stop,
)

__all__ = ["decide", "evolve", "requests", "start"]


def start(settings: Settings, seed: Candidate) -> RunState:
    """The state before anything happened: the seed is about to be validated.

    Where the limit is below the size of the validation set, on as many examples as it allows.
    """
    examples = settings.validation[: settings.max_metric_calls]
    phase = Validating(Evaluation(seed, examples))
    return RunState(settings, (_begun(0, Seed(len(examples)), phase),))


def requests(state: RunState) -> tuple[Request, ...]:
    """The work that is outstanding, the lowest ticket's first; each key comes once.

    Nothing once the run is ending.
    """
    if state.ending:
        return ()
    wanted: dict[RequestKey, Request] = {}
    for proposal in state.live:
        for request in _wanted(state, proposal):
            wanted.setdefault(request.key, request)
    return tuple(wanted.values())


def decide(state: RunState, said: Answer | Stop | None) -> tuple[Event, ...]:
    """What follows from an answer (or from nothing, at the start): the events, in order."""
    events: list[Event] = []
    event = _heard(state, said) or _chosen(state)
    while event is not None:
        events.append(event)
        state = evolve(state, event)
        event = _chosen(state)
    return tuple(events)


def evolve(state: RunState, event: Event) -> RunState:
    """The state after an event."""
    match event:
        case Issued(ticket, origin, phase):
            return replace(state, live=(*state.live, _begun(ticket, origin, phase)))
        case Advanced(ticket, phase):
            return _with(state, _entered(_live(state, ticket), phase))
        case RolledOut(key, rollout):
            tally = state.tally.plus(rollouts=1, metric_calls=rollout.metric_calls)
            return replace(state, known=state.known.plus(key, rollout), tally=tally)
        case Reflected(reflection):
            return _drafted(state, reflection)
        case Committed(_, verdict):
            return _committed(state, verdict)
        case Ended(reason, is_breakdown):
            return replace(state, ending=reason, is_broken=is_breakdown)


def _heard(state: RunState, said: Answer | Stop | None) -> Event | None:
    """The event that records what was said; None where it is late, repeated or nothing."""
    match said:
        case RolloutAnswer(key, rollout) if key not in state.known:
            return RolledOut(key, rollout)
        case ReflectionAnswer(ticket):
            live = {proposal.ticket: proposal for proposal in state.live}
            if ticket in live and isinstance(live[ticket].phase, Reflecting):
                return Reflected(said)
        case Breakdown(cause) if not state.is_broken:
            return Ended(cause, is_breakdown=True)
        case Stop(reason) if not state.ending:
            return Ended(reason)
    return None


def _chosen(state: RunState) -> Event | None:
    """The one next event that follows from the state alone; None where the run has to wait."""
    for proposal in state.live:
        phase = next_phase(state, proposal)
        if phase is not None:
            return Advanced(proposal.ticket, phase)
    blocked = state.ending or obstacle(state)
    if not blocked and state.members and len(state.live) < state.settings.window:
        begun = next_proposal(state)
        if begun is not None:
            return Issued(len(state.history) + len(state.live), *begun)
        blocked = (
            f"the budget is used up: {state.tally.metric_calls} of "
            f"{state.settings.max_metric_calls} metric calls made, "
            "and another proposal might need more than is left"
        )
    if state.live:
        return _commitment(state, state.live[0])
    return Ended(blocked) if blocked and not state.ending else None


def _commitment(state: RunState, first: Proposal) -> Committed | None:
    """The commit of the proposal with the lowest ticket; None while it is not settled."""
    if not isinstance(first.phase, Settled):
        return None
    verdict = first.phase.verdict
    if verdict.kind == "accepted":
        for position, member in enumerate(state.members):
            if member.candidate == first.phase.candidate:
                reason = f"member {position} has the same texts"
                return Committed(first.ticket, Verdict("rejected", reason))
    return Committed(first.ticket, verdict)


def _wanted(state: RunState, proposal: Proposal) -> Iterator[Request]:
    match proposal.phase:
        case Rolling(evaluation) | Gating(evaluation) | Validating(evaluation):
            learnable = frozenset(state.settings.train)
            for key, example in zip(evaluation.keys, evaluation.examples, strict=True):
                if key not in state.known:
                    yield RolloutRequest(evaluation.candidate, example, traced=example in learnable)
        case Reflecting(evaluation, components):
            rollouts = state.rollouts(evaluation)
            pairs = zip(evaluation.examples, rollouts, strict=True)
            evidence = tuple(Evidence(example, rollout) for example, rollout in pairs)
            yield ReflectionRequest(proposal.ticket, evaluation.candidate, components, evidence)


def _begun(ticket: int, origin: Seed | Mutation | Merge, phase: Phase) -> Proposal:
    return _entered(Proposal(ticket, origin, phase), phase)


def _entered(proposal: Proposal, phase: Phase) -> Proposal:
    match phase:
        case Rolling(evaluation) | Gating(evaluation) | Validating(evaluation):
            evaluations = (*proposal.evaluations, evaluation)
            return replace(proposal, phase=phase, evaluations=evaluations)
    return replace(proposal, phase=phase)


def _live(state: RunState, ticket: int) -> Proposal:
    return state.live[ticket - state.live[0].ticket]


def _with(state: RunState, changed: Proposal) -> RunState:
    live = tuple(changed if p.ticket == changed.ticket else p for p in state.live)
    return replace(state, live=live)


def _drafted(state: RunState, reflection: ReflectionAnswer) -> RunState:
    proposal = _live(state, reflection.ticket)
    assert isinstance(proposal.phase, Reflecting)
    phase = Drafted(proposal.phase.evaluation, proposal.phase.components, reflection)
    drafted = replace(proposal, phase=phase, feedback_calls=reflection.metric_calls)
    tally = state.tally.plus(
        metric_calls=reflection.metric_calls, reflection_calls=reflection.lm_calls
    )
    return replace(_with(state, drafted), tally=tally)


def _committed(state: RunState, verdict: Verdict) -> RunState:
    first, *rest = state.live
    assert isinstance(first.phase, Settled)
    charged, charge = state.charged, first.feedback_calls
    for evaluation in first.evaluations:
        for key in evaluation.keys:
            if key in state.known and key not in charged:
                charged = charged.plus(key, first.ticket)
                charge += state.known[key].charge
    settlement = Settlement(first.origin, first.phase.candidate, verdict, charge)
    members = state.members
    if verdict.kind == "accepted":
        members = members.plus(_member(state, first, charge))
    return replace(
        state,
        live=tuple(rest),
        history=state.history.plus(settlement),
        members=members,
        charged=charged,
        spent=state.spent + charge,
    )


def _member(state: RunState, accepted: Proposal, charge: int) -> Member:
    *earlier, validation = accepted.evaluations
    rollouts = state.validated(validation.candidate)
    # The first member says which objectives there are.
    names = state.objectives if state.members else objective_names(filter(None, rollouts))
    scores = columns("instance", rollouts, names)
    row = columns(state.settings.frontier, rollouts, names)
    for kept in (scores, row):
        kept.setflags(write=False)
    before = {key for evaluation in earlier for key in evaluation.keys}
    unpaid = sum(
        state.known[key].charge
        for key in validation.keys
        if key not in state.charged and key not in before
    )
    match accepted.origin:
        case Seed():
            turn = 0
        case Mutation(turn=turn):
            turn += 1
        case Merge(parents=parents):
            turn = max(state.members[parent].turn for parent in parents)
    return Member(
        validation.candidate,
        accepted.origin.parents,
        accepted.ticket,
        turn,
        state.spent + charge - unpaid,
        scores,
        row,
    )

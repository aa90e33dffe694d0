"""The search as four verbs over a value: start, requests, decide, evolve.

`decide` is the only function that chooses, `evolve` the only one that changes. What a proposal
sees depends on committed proposals alone, and those are committed in ticket order; so the same
answers give the same run in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from dspy_gepa.core.answered import proposal_of, remarked, rolled_out, with_proposal, with_texts
from dspy_gepa.core.asking import asked_by
from dspy_gepa.core.budget import FREE, NOTHING, Tally, unit_in_words
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.choices import has_seed, next_phase, rejected_before
from dspy_gepa.core.endings import breakdown, stop_reason, trial, useless_reflections
from dspy_gepa.core.events import (
    Advanced,
    Committed,
    Ended,
    Event,
    Issued,
    Reflected,
    Remarked,
    RequestFailed,
    RolledOut,
)
from dspy_gepa.core.issuing import completion, next_proposal
from dspy_gepa.core.membership import new_member, with_new_scores
from dspy_gepa.core.proposal import (
    EvaluatingParent,
    Evaluation,
    Merge,
    Mutation,
    Origin,
    Phase,
    Proposal,
    Reflecting,
    Remarking,
    Repairing,
    Revalidation,
    Seed,
    Settled,
    Validating,
    Verdict,
    evaluations_of,
)
from dspy_gepa.core.rollout import RemarkKey, RolloutKey
from dspy_gepa.core.state import ProposalRecord, RunState, Settings
from dspy_gepa.core.streaks import in_order
from dspy_gepa.core.untaught import untaught
from dspy_gepa.core.work import (
    Answer,
    ReflectionAnswer,
    ReflectionRequest,
    RemarkAnswer,
    RemarkRequest,
    Request,
    RequestFailure,
    RequestKey,
    RolloutAnswer,
    RolloutRequest,
    Stop,
    faults_in_words,
)

__all__ = ["decide", "decisions", "evolve", "requests", "shortage", "start"]


def start(settings: Settings, seed: Candidate, examples: tuple[int, ...] | None = None) -> RunState:
    """The state before anything happened: the seed is about to be validated, or to be written.

    It is validated on these examples; by default on the first few of them or on all, as far as
    the limit allows.
    """
    if examples is None:
        examples = settings.first_examples
    hold = Tally(rollouts=len(examples), metric_calls=len(examples))
    phase: Phase = Validating(Evaluation(seed, examples))
    if settings.writes_seed:
        hold += Tally(reflection_calls=settings.reflection_calls)
        phase = Reflecting(Evaluation(seed, ()), tuple(seed))
    return RunState(settings, (_begun(0, Seed(hold), phase),))


def requests(state: RunState) -> tuple[Request, ...]:
    """The work that is outstanding, the lowest ticket's first; each key comes once.

    Nothing once the run is ending, and a trial alone where there is one: see `endings`. Until the
    first rollout is answered there is one request only, and the seed's validation, which is long,
    comes after other work. So if a model, the program, the metric or the reflection cannot be used
    at all, that shows before much is paid.
    """
    if state.ending:
        return ()
    if (again := trial(state)) is not None:
        return (again,)
    wanted: dict[RequestKey, Request] = {}
    for proposal in sorted(state.live, key=lambda proposal: isinstance(proposal.origin, Seed)):
        most = _validated_meanwhile(state) if isinstance(proposal.origin, Seed) else None
        for request in islice(asked_by(state, proposal), most):
            wanted.setdefault(request.key, request)
    return tuple(wanted.values()) if state.known else tuple(wanted.values())[:1]


def _validated_meanwhile(state: RunState) -> int | None:
    """On how many examples the seed is run before a reflection and a rollout worked; None for all.

    On no example (0) if it looks as if nothing worked.
    """
    first = [proposal.phase for proposal in state.live[1:2]]
    if breakdown(state) is not None:
        return 0
    is_heard = not any(
        isinstance(phase, EvaluatingParent | Remarking | Reflecting | Repairing) for phase in first
    )
    if is_heard and not all(rollout.is_broken for rollout in state.known.values()):
        return None
    # There are none while the seed's own texts are being written.
    begun = (key for evaluation in state.live[0].evaluations for key in evaluation.keys)
    answered = sum(key in state.known for key in begun)
    return max(0, state.settings.max_failures_in_a_row - answered)


def shortage(state: RunState, running: Sequence[Request], following: Request) -> str:
    """Why tokens or USD may not suffice to begin this request now; empty where they do.

    Until it is known what one of its kind costs, one of them runs at a time.
    """
    limits = state.settings.limits
    if not limits.asks_for_usage:
        return ""
    is_first = {
        RolloutRequest: not state.known,
        RemarkRequest: not state.remarks,
        ReflectionRequest: not state.tally.reflection_calls,
    }
    if is_first[type(following)] and any(type(each) is type(following) for each in running):
        return "the first one of its kind shows what it costs"
    expected = sum((state.dearest(request.key) for request in running), FREE)
    unit = limits.afford(state.tally.usage, expected, state.dearest(following.key))
    return _used_up(state, unit) if unit else ""


def decide(state: RunState, message: Answer | Stop | None) -> tuple[Event, ...]:
    """What follows from an answer (or from nothing, at the start): the events, in order."""
    return tuple(decisions(state, message))


def decisions(state: RunState, message: Answer | Stop | None) -> Iterator[Event]:
    """The same, each as soon as it is clear: what was heard holds where a strategy then raises."""
    for event in _heard(state, message):
        yield event
        state = evolve(state, event)
    while (chosen := _chosen(state)) is not None:
        yield chosen
        state = evolve(state, chosen)


def evolve(state: RunState, event: Event) -> RunState:  # noqa: PLR0911 - one for each type
    """The state after an event."""
    match event:
        case Issued(ticket, origin, phase):
            return replace(state, live=(*state.live, _begun(ticket, origin, phase)))
        case Advanced(ticket, phase):
            return with_proposal(state, _entered(proposal_of(state, ticket), phase))
        case RolledOut():
            return rolled_out(state, event)
        case Remarked():
            return remarked(state, event)
        case Reflected(reflection):
            return with_texts(state, reflection)
        case RequestFailed(key, _, lost):
            attempts = state.failed_attempts.get(key, 0) + (not event.is_of_process)
            failed_attempts = {**state.failed_attempts, key: attempts}
            return replace(
                state,
                tally=state.tally + lost,
                lost=state.lost + lost,
                failed_attempts=failed_attempts,
            )
        case Committed(_, verdict):
            return _committed(state, verdict)
        case Ended(reason, is_breakdown, causes):
            return replace(state, ending=reason, is_broken=is_breakdown, causes=causes)


def _heard(state: RunState, message: Answer | Stop | None) -> Iterator[Event]:
    """The events that record what was said; none where it is late, repeated or nothing."""
    match message:
        case RolloutAnswer(key, rollout) if _is_awaited(state, key):
            # No proposal asked for a trial, so that none is charged for it.
            yield RolledOut(key, rollout, is_asked_for=not key.trial)
        case RemarkAnswer(key, remark) if _is_awaited(state, key):
            yield Remarked(key, remark)
        case ReflectionAnswer():
            if _is_awaited(state, message.key):
                yield Reflected(message)
        case RequestFailure(key, cause, is_lasting):
            yield RequestFailed(
                key, cause, message.lost, message.is_of_process, message.pause_seconds
            )
            attempts = state.failed_attempts.get(key, 0) + (not message.is_of_process)
            if state.ending or not _is_awaited(state, key):
                return
            if is_lasting or attempts >= state.settings.max_setbacks_in_a_row:
                tried = f" ({attempts} attempts in a row)" if attempts > 1 else ""
                yield Ended(f"{cause}{tried}", is_breakdown=True)
        case Stop(reason) if not state.ending:
            yield Ended(reason)


def _is_awaited(state: RunState, key: RequestKey) -> bool:
    """Whether there is no answer to this request yet."""
    if isinstance(key, RolloutKey):
        return key not in state.known
    if isinstance(key, RemarkKey):
        return key not in state.remarks
    asking = Repairing if key.is_repair else Reflecting
    return any(
        proposal.ticket == key.ticket
        and proposal.mended == key.mends
        and isinstance(proposal.phase, asking)
        for proposal in state.live
    )


def _chosen(state: RunState) -> Event | None:  # noqa: PLR0911 - one for each reason to wait
    """The one next event that follows from the state alone; None if the run has to wait."""
    if (end := _cut_short(state)) is not None:
        return end
    for proposal in state.live:
        phase = next_phase(state, proposal)
        if phase is not None:
            return Advanced(proposal.ticket, phase)
    # The first proposal does not wait for the seed's validation: its parent can only be the seed.
    window = state.settings.window if state.members else 2
    # What validates a member further leads to no text, so that none is kept waiting for it.
    under_way = sum(not isinstance(proposal.origin, Revalidation) for proposal in state.live)
    has_room = under_way < window and bool(state.members or has_seed(state))
    blocked = state.ending or (stop_reason(state) if has_room else "")
    if has_room and not blocked:
        begun, unit = next_proposal(state)
        if not unit:
            return Issued(len(state.history) + len(state.live), *begun)
        blocked = _used_up(state, unit)
    if state.live:
        return _commitment(state, state.live[0])
    if not blocked or state.ending:
        return None
    if useless_reflections(state):
        return Ended(blocked, is_breakdown=True)
    if (last := completion(state)) is not None:
        return Issued(len(state.history), *last)
    return Ended(blocked)


def _cut_short(state: RunState) -> Ended | None:
    """Why the run ends although proposals are under way; mostly it does not."""
    if state.ending:
        return None
    broken = breakdown(state)
    # The first proposal, which is begun beside the seed, may show that a text can mend it.
    others = () if state.members else state.live[1:]
    if broken is not None and all(isinstance(proposal.phase, Settled) for proposal in others):
        return Ended(broken.reason, is_breakdown=True, causes=broken.causes)
    if (broken := untaught(state)) is not None:
        return Ended(broken.reason, is_breakdown=True, causes=broken.causes)
    unit = _overdrawn(state)
    return Ended(_used_up(state, unit)) if unit else None


def _commitment(state: RunState, first: Proposal) -> Committed | None:
    """The commit of the proposal with the lowest ticket; None while it is not settled.

    Nor while it is open whether what it was settled by are results.
    """
    if not isinstance(first.phase, Settled):
        return None
    if not state.ending and (trial(state) is not None or breakdown(state) is not None):
        return None
    verdict = first.phase.verdict
    if verdict.kind == "accepted":
        for position, member in enumerate(state.members):
            if member.candidate == first.phase.candidate:
                reason = f"member {position} has the same texts"
                return Committed(first.ticket, Verdict("rejected", reason))
        # One that was under way beside it may have had the same texts.
        if reason := rejected_before(state, first.phase.candidate, len(state.history)):
            return Committed(first.ticket, Verdict("rejected", reason))
    if first.faults and verdict.kind != "failed":
        missing = f"{verdict.reason} (not rewritten: {faults_in_words(first.faults)})"
        verdict = replace(verdict, reason=missing)
    return Committed(first.ticket, verdict)


def _begun(ticket: int, origin: Origin, phase: Phase) -> Proposal:
    return _entered(Proposal(ticket, origin, phase), phase)


def _entered(proposal: Proposal, phase: Phase) -> Proposal:
    evaluations = (*proposal.evaluations, *evaluations_of(phase))
    remarks, mended = proposal.remarks, proposal.mended
    reflected_examples = proposal.reflected_examples
    if isinstance(phase, Remarking):
        remarks = (*remarks, *phase.remarks)
    if isinstance(phase, Reflecting):
        # The second time and later it is about a text of its own.
        mended += bool(reflected_examples)
        reflected_examples = reflected_examples or phase.evaluation.examples
    return replace(
        proposal,
        phase=phase,
        evaluations=evaluations,
        remarks=remarks,
        reflected_examples=reflected_examples,
        mended=mended,
    )


def _overdrawn(state: RunState) -> str:
    """The unit of which what was lost has left too little for the work under way; mostly none."""
    if state.lost == NOTHING:
        return ""
    counted = replace(state.committed, total_tokens=0, usd=0.0)
    return state.settings.limits.exceeded_limit(used=counted, more=NOTHING)


def _used_up(state: RunState, unit: str) -> str:
    limit, used = getattr(state.settings.limits, unit), getattr(state.used, unit)
    uncalled = state.uncalled if unit == "metric_calls" else 0
    counted = f" (rollouts that failed before the metric count too: {uncalled})" if uncalled else ""
    return (
        f"the budget is used up: {used:g} of {limit:g} {unit_in_words(unit)}, "
        f"and what comes next might need more than is left{counted}"
    )


def _committed(state: RunState, verdict: Verdict) -> RunState:
    first, *rest = state.live
    assert isinstance(first.phase, Settled)
    is_proposal = isinstance(first.origin, Mutation | Merge)
    done = in_order(first, state.known, state.charged)
    streaks, _ = state.streaks.after(done, state.settings.max_failures_in_a_row)
    charged, charge = state.charged, first.reflection_charge + Tally(proposals=is_proposal)
    for evaluation in first.evaluations:
        for key in evaluation.keys:
            if key in state.known and key not in charged:
                charged = charged.plus(key, first.ticket)
                charge += state.known[key].charge
    for asked in first.remarks:
        if asked in state.remarks and asked not in charged:
            charged = charged.plus(asked, first.ticket)
            charge += state.remarks[asked].charge
    own = [each for each in first.evaluations if each.candidate == first.phase.candidate]
    record = ProposalRecord(
        first.origin,
        first.phase.candidate,
        verdict,
        charge,
        first.reflected_examples,
        tuple(dict.fromkeys(example for each in own for example in each.examples)),
        first.diagnosis,
        first.lesson,
        first.faults,
        first.naming,
    )
    members = with_new_scores(state, first)
    if verdict.kind == "accepted":
        members = (*members, new_member(state, first, charge.metric_calls))
    return replace(
        state,
        live=tuple(rest),
        history=state.history.plus(record),
        members=members,
        charged=charged,
        streaks=streaks,
        spent=state.spent + charge,
        tally=state.tally + Tally(proposals=is_proposal),
    )

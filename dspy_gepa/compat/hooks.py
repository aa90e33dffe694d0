"""What the hooks of the `gepa` package's callbacks are told, derived from our events.

All functions are pure and give calls in the order in which they are to be made. Names and keys
are those of that package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import (
    Advanced,
    Committed,
    Ended,
    Event,
    Issued,
    Reflected,
    Remarked,
    RolledOut,
)
from dspy_gepa.core.frontier import Scores, mean_scores, tops
from dspy_gepa.core.proposal import (
    CheckingMustPass,
    EvaluatingChild,
    EvaluatingParent,
    Evaluation,
    Merge,
    Mutation,
    Proposal,
    Reflecting,
    Settled,
    TextsReady,
)
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import ProposalRecord, RunState
from dspy_gepa.errors import ReflectionError, WorkerError

__all__ = ["HOOKS", "HookCall", "calls_at_end", "calls_at_start", "calls_for"]

HookCall: TypeAlias = tuple[str, dict[str, object]]
"""A hook's name and what it is told."""

HOOKS = (
    "on_optimization_start",
    "on_optimization_end",
    "on_iteration_start",
    "on_iteration_end",
    "on_candidate_selected",
    "on_minibatch_sampled",
    "on_evaluation_start",
    "on_evaluation_end",
    "on_evaluation_skipped",
    "on_valset_evaluated",
    "on_reflective_dataset_built",
    "on_proposal_start",
    "on_proposal_end",
    "on_candidate_accepted",
    "on_candidate_rejected",
    "on_merge_attempted",
    "on_merge_accepted",
    "on_merge_rejected",
    "on_pareto_front_updated",
    "on_budget_updated",
    "on_error",
)
"""The hooks that are called."""


def calls_at_start(state: RunState) -> Iterator[HookCall]:
    """The calls that come before all others, given the first state that is seen."""
    settings = state.settings
    names = (
        *("perfect_score", "seed", "sampler", "window"),
        *("skip_perfect_score", "use_merge", "max_merge_invocations"),
    )
    yield (
        "on_optimization_start",
        {
            "seed_candidate": dict(_seed(state)),
            "trainset_size": len(settings.train),
            "valset_size": len(settings.validation),
            "config": {
                "max_metric_calls": settings.limits.metric_calls,
                **{name: getattr(settings, name) for name in names},
            },
        },
    )


def calls_at_end(state: RunState) -> Iterator[HookCall]:
    """The calls that come after all others, given the last state: iterations left are over too."""
    for proposal in state.live:
        yield from _iteration_end(proposal.ticket, state, is_accepted=False)
    yield (
        "on_optimization_end",
        {
            # Without a member the program is returned as it was: as the seed.
            "best_candidate_idx": state.best if state.members else 0,
            "total_iterations": max(0, len(state.history) - 1),
            "total_metric_calls": state.tally.metric_calls,
            "final_state": state,
        },
    )


def calls_for(
    before: RunState | None, event: Event, state: RunState, examples: Sequence[object]
) -> Iterator[HookCall]:
    """The calls that an event leads to, given the states before and after it.

    `before` is None for the first event. `examples` stand for their ids where they are given.
    """
    match event:
        case Issued(ticket):
            yield from _issued(_under_way(state, ticket), state, examples)
        case RolledOut(_, rollout):
            yield from _budget(rollout.charge.metric_calls, state)
        case Remarked(_, remark):
            yield from _budget(remark.metric_calls, state)
        case Reflected(reflection):
            yield from _budget(reflection.metric_calls, state)
            phase = _under_way(state, reflection.ticket).phase
            # While something is repaired the proposal has not ended.
            if isinstance(phase, TextsReady) and not phase.reflection.repairs:
                texts = dict(phase.reflection.texts)
                fields = {"new_instructions": texts, "prompts": {}, "raw_lm_outputs": {}}
                yield "on_proposal_end", {"iteration": reflection.ticket, **fields}
        case Advanced(ticket):
            if before is not None:
                yield from _evaluation_end(_under_way(before, ticket), state)
            yield from _advanced(_under_way(state, ticket), state, examples)
        case Committed(ticket):
            evaluations = () if before is None else _under_way(before, ticket).evaluations
            yield from _committed(ticket, evaluations, state)
        case Ended(reason, is_breakdown) if is_breakdown:
            yield _error(_oldest(state), WorkerError(reason), will_continue=False)


def _issued(proposal: Proposal, state: RunState, examples: Sequence[object]) -> Iterator[HookCall]:
    origin, train = proposal.origin, state.settings.train
    iteration = {"iteration": proposal.ticket}
    loader = _shown(train, examples)
    yield "on_iteration_start", {**iteration, "state": state, "trainset_loader": loader}
    if isinstance(origin, Mutation):
        # The first proposal is begun while the seed is being validated.
        is_known = bool(state.members)
        parent = state.members[origin.parent].candidate if is_known else _seed(state)
        selected = {
            "candidate_idx": origin.parent,
            "candidate": dict(parent),
            "score": float(mean_scores(state.scores)[origin.parent]) if is_known else math.nan,
        }
        yield "on_candidate_selected", {**iteration, **selected}
        positions = [train.index(example) for example in origin.drawn_examples]
        sampled = {"minibatch_ids": positions, "trainset_size": len(train)}
        yield "on_minibatch_sampled", {**iteration, **sampled}
    elif isinstance(proposal.phase, EvaluatingChild):
        merged = dict(proposal.phase.evaluation.candidate)
        fields = {"parent_ids": list(origin.parents), "merged_candidate": merged}
        yield "on_merge_attempted", {**iteration, **fields}
    yield from _evaluation_start(proposal, state, examples)


def _advanced(
    proposal: Proposal, state: RunState, examples: Sequence[object]
) -> Iterator[HookCall]:
    """The calls for a proposal that is in a new phase."""
    iteration, phase = {"iteration": proposal.ticket}, proposal.phase
    if isinstance(phase, Reflecting):
        rollouts, components = state.rollouts(phase.evaluation), list(phase.components)
        dataset = {component: _records(component, rollouts) for component in components}
        fields = {"candidate_idx": proposal.origin.parents[0], "components": components}
        yield "on_reflective_dataset_built", {**iteration, **fields, "dataset": dataset}
        fields = {"parent_candidate": dict(phase.evaluation.candidate), "components": components}
        yield "on_proposal_start", {**iteration, **fields, "reflective_dataset": dataset}
    elif isinstance(phase, Settled) and phase.verdict.kind == "skipped":
        parent = proposal.origin.parents[0]
        skipped = {
            "candidate_idx": parent,
            "reason": phase.verdict.reason,
            "scores": _scores(state, proposal.evaluations[0]),
            "is_seed_candidate": parent == 0,
        }
        yield "on_evaluation_skipped", {**iteration, **skipped}
    yield from _evaluation_start(proposal, state, examples)


def _evaluation_start(
    proposal: Proposal, state: RunState, examples: Sequence[object]
) -> Iterator[HookCall]:
    """The call for a proposal that has just entered a phase in which a minibatch is run."""
    if isinstance(proposal.phase, (EvaluatingParent, EvaluatingChild, CheckingMustPass)):
        batch = proposal.phase.evaluation.examples
        fields = {
            **_evaluated(proposal, state),
            "batch_size": len(batch),
            "capture_traces": set(batch) <= set(state.settings.train),
            "inputs": _shown(batch, examples),
        }
        yield "on_evaluation_start", fields


def _evaluation_end(proposal: Proposal, state: RunState) -> Iterator[HookCall]:
    """The call for a proposal as it was in a phase in which a minibatch was run."""
    if isinstance(proposal.phase, (EvaluatingParent, EvaluatingChild, CheckingMustPass)):
        rollouts = state.rollouts(proposal.phase.evaluation)
        traces = [rollout.trace for rollout in rollouts]
        has_traces = any(trace.steps for trace in traces)
        objectives = [dict(rollout.objectives) for rollout in rollouts]
        fields = {
            **_evaluated(proposal, state),
            "scores": [rollout.score for rollout in rollouts],
            "has_trajectories": has_traces,
            "outputs": [rollout.output for rollout in rollouts],
            "trajectories": traces if has_traces else None,
            "objective_scores": objectives if any(objectives) else None,
        }
        yield "on_evaluation_end", fields


def _evaluated(proposal: Proposal, state: RunState) -> dict[str, object]:
    """What is run on a minibatch: a member, or a candidate that is none yet."""
    member, parents = None, proposal.origin.parents
    if isinstance(proposal.phase, EvaluatingParent):
        member = parents[0]
        parents = state.members[member].parents if state.members else ()
    return {
        "iteration": proposal.ticket,
        "candidate_idx": member,
        "parent_ids": list(parents),
        "is_seed_candidate": member == 0,
    }


def _committed(
    ticket: int, evaluations: Sequence[Evaluation], state: RunState
) -> Iterator[HookCall]:
    record = state.history[ticket]
    origin, kind, reason = record.origin, record.verdict.kind, record.verdict.reason
    iteration, family = {"iteration": ticket}, {"parent_ids": list(origin.parents)}
    gate = _gate(record, evaluations)
    score = sum(_scores(state, gate)) if gate else math.nan
    if kind == "accepted":
        joined = {"new_candidate_idx": len(state.members) - 1}
        yield from _validated(ticket, state)
        if isinstance(origin, Merge):
            yield "on_merge_accepted", {**iteration, **joined, **family}
        if ticket > 0:
            yield "on_candidate_accepted", {**iteration, **joined, "new_score": score, **family}
    elif isinstance(origin, Merge):
        yield "on_merge_rejected", {**iteration, **family, "reason": reason}
    elif kind == "rejected":
        compared = gate.examples if gate else record.reflected_examples
        parent = evaluations[0].candidate
        old = sum(_scores(state, Evaluation(parent, compared)))
        fields = {"old_score": old, "new_score": score, "reason": reason}
        yield "on_candidate_rejected", {**iteration, **fields}
    elif kind == "failed":
        yield _error(ticket, ReflectionError(reason), will_continue=True)
    yield from _iteration_end(ticket, state, is_accepted=kind == "accepted")


def _gate(record: ProposalRecord, evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The child on its minibatch, as far as it came; None if it was not run."""
    own = [each for each in evaluations if each.candidate == record.candidate]
    if isinstance(record.origin, Mutation):
        own = [each for each in own if {*each.examples} <= {*record.reflected_examples}][::-1]
    return own[0] if own else None


def _validated(ticket: int, state: RunState) -> Iterator[HookCall]:
    """The calls about the newest member's place among all."""
    number, member, scores = len(state.members) - 1, state.members[-1], state.scores
    if number > 0:
        before, after = _front(scores[:-1]), _front(scores)
        displaced = [each for each in before if each not in after]
        front = {"new_front": after, "displaced_candidates": displaced}
        yield "on_pareto_front_updated", {"iteration": ticket, **front}
    columns = np.flatnonzero(~np.isnan(member.scores)).tolist()
    scored = tuple(state.settings.validation[column] for column in columns)
    rollouts = state.rollouts(Evaluation(member.candidate, scored))
    outputs = {column: one.output for column, one in zip(columns, rollouts, strict=True)}
    is_kept = any(output is not None for output in outputs.values())
    yield (
        "on_valset_evaluated",
        {
            "iteration": ticket,
            "candidate_idx": number,
            "candidate": dict(member.candidate),
            "scores_by_val_id": {column: float(scores[number, column]) for column in columns},
            "average_score": float(mean_scores(scores)[number]),
            "num_examples_evaluated": len(columns),
            "total_valset_size": len(state.settings.validation),
            "parent_ids": list(member.parents),
            "is_best_program": state.best == number,
            "outputs_by_val_id": outputs if is_kept else None,
        },
    )


def _iteration_end(ticket: int, state: RunState, *, is_accepted: bool) -> Iterator[HookCall]:
    if ticket > 0:
        fields = {"iteration": ticket, "state": state, "proposal_accepted": is_accepted}
        yield "on_iteration_end", fields


def _budget(metric_calls: int, state: RunState) -> Iterator[HookCall]:
    if metric_calls:
        used, limit = state.used.metric_calls, state.settings.limits.metric_calls
        fields = {
            "iteration": _oldest(state),
            "metric_calls_used": used,
            "metric_calls_delta": metric_calls,
            "metric_calls_remaining": None if limit is None else limit - used,
        }
        yield "on_budget_updated", dict(fields)


def _error(ticket: int, error: Exception, *, will_continue: bool) -> HookCall:
    fields = {"iteration": ticket, "exception": error, "will_continue": will_continue}
    return "on_error", fields


def _front(scores: Scores) -> list[int]:
    """The members that are tied for best somewhere, ascending."""
    members: list[int] = np.flatnonzero(tops(scores).any(axis=1)).tolist()
    return members


def _seed(state: RunState) -> Candidate:
    """The student's own texts."""
    return state.members[0].candidate if state.members else state.live[0].evaluations[0].candidate


def _oldest(state: RunState) -> int:
    """The oldest proposal under way: at a window of 1, the only one. The last one where none is."""
    return state.live[0].ticket if state.live else len(state.history) - 1


def _under_way(state: RunState, ticket: int) -> Proposal:
    return state.live[ticket - state.live[0].ticket]


def _scores(state: RunState, evaluation: Evaluation) -> list[float]:
    return [rollout.score for rollout in state.rollouts(evaluation)]


def _shown(ids: Sequence[int], examples: Sequence[object]) -> list[object]:
    return [examples[example] if examples else example for example in ids]


def _records(component: str, rollouts: Sequence[Rollout]) -> list[dict[str, object]]:
    """Every call of the component, with the feedback on the rollout."""
    return [
        {
            "Inputs": dict(step.inputs),
            "Generated Outputs": step.reply or step.failure or dict(step.outputs),
            "Feedback": "\n".join(filter(None, (step.failure, rollout.failure, rollout.feedback))),
        }
        for rollout in rollouts
        for step in rollout.trace.calls_of(component)
    ]

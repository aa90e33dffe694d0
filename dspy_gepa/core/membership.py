"""What a committed proposal leaves in the pool: a new member, and what is known of older ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.comparing import score_of
from dspy_gepa.core.proposal import Evaluation, Merge, Mutation, Proposal
from dspy_gepa.core.results import Results, place_of
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.state import Member, RunState

__all__ = ["new_member", "with_new_scores", "without_failures"]


def with_new_scores(state: RunState, proposal: Proposal) -> tuple[Member, ...]:
    """The members, with what a proposal found out about those that it comes from."""
    members = list(state.members)
    for number in proposal.origin.parents if members else ():
        member = members[number]
        results = _results(state, proposal, member.candidate, member.results)
        members[number] = replace(member, results=results)
    return tuple(members)


def _results(state: RunState, proposal: Proposal, candidate: Candidate, before: Results) -> Results:
    """What is known of a candidate after a proposal's rollouts."""
    settings = state.settings
    rollouts = {
        key.example: state.known[key]
        for evaluation in proposal.evaluations
        if evaluation.candidate == candidate
        for key in evaluation.keys
        if key in state.known
    }
    validation, train = place_of(settings.validation), place_of(settings.train)
    return before.plus(
        proposal.ticket,
        validation={validation[e]: each for e, each in rollouts.items() if e in validation},
        training={train[e]: each for e, each in rollouts.items() if e in train},
        score_of=partial(score_of, settings),
    )


def without_failures(state: RunState) -> tuple[Member, ...]:
    """The members without those scores that are no results, because something had broken down."""
    sets = (state.settings.validation, state.settings.train)
    members = []
    for member in state.members:
        is_failure = [
            np.array([_is_no_result(state, key) for key in Evaluation(member.candidate, each).keys])
            for each in sets
        ]
        results = member.results.without(validation=is_failure[0], train=is_failure[1])
        members.append(replace(member, results=results))
    return tuple(members)


def _is_no_result(state: RunState, key: RolloutKey) -> bool:
    rollout = state.known.get(key)
    return rollout is not None and rollout.is_broken and rollout.cause in state.causes


def new_member(state: RunState, accepted: Proposal, charge: int) -> Member:
    """What an accepted proposal adds to the pool, given the metric calls that it is charged."""
    *earlier, validation = accepted.evaluations
    settings, candidate = state.settings, validation.candidate
    empty = Results.none(train=len(settings.train), validation=len(settings.validation))
    results = _results(state, accepted, candidate, empty)
    before = {key for evaluation in earlier for key in evaluation.keys}
    unpaid = sum(
        state.known[key].charge.metric_calls
        for key in validation.keys
        if key not in state.charged and key not in before
    )
    match accepted.origin:
        case Mutation(rewrites_before=rewrites_before):
            rewrites_before += 1
        case Merge(parents=parents):
            rewrites_before = max(state.members[parent].rewrites_before for parent in parents)
        case _:
            rewrites_before = 0
    reflected_examples = [
        state.members[parent].reflected_examples
        for parent in accepted.origin.parents
        if state.members
    ]
    return Member(
        candidate,
        accepted.origin.parents,
        accepted.ticket,
        rewrites_before,
        state.spent.metric_calls + charge - unpaid,
        frozenset(accepted.reflected_examples).union(*reflected_examples),
        results,
    )

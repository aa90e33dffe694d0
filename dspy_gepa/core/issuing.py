"""How the next proposal begins, chosen from committed proposals and from what is under way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from dspy_gepa.core.admission import evaluating_child, first_validated
from dspy_gepa.core.budget import Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.choices import evaluating_parent, rejected_before
from dspy_gepa.core.comparing import comparable
from dspy_gepa.core.forecast import fewest_shown, worst_case
from dspy_gepa.core.frontier import survivors, tops
from dspy_gepa.core.merge import Lineage, merge_examples, plan_merge
from dspy_gepa.core.proposal import (
    Evaluation,
    Merge,
    Mutation,
    Phase,
    Proposal,
    Revalidation,
    Validating,
)
from dspy_gepa.core.results import place_of
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.sampling import SampleView
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.sizing import Trial, chosen_size, in_rollouts
from dspy_gepa.core.state import ProposalRecord, RunState
from dspy_gepa.core.streams import stream

__all__ = ["Begun", "completion", "next_proposal"]

Begun = tuple[Mutation | Merge | Revalidation, Phase]


def next_proposal(state: RunState) -> tuple[Begun, str]:
    """How the next proposal begins, and the unit in which its worst case is over the budget.

    The unit is empty if the budget suffices.
    """
    used = state.committed + _reserve(state)
    begun = _due_revalidation(state) or _merge(state) or _mutation(state, used)
    return begun, state.settings.limits.exceeded_limit(used=used, more=begun[0].hold)


def completion(state: RunState) -> Begun | None:
    """A finalist on validation examples that it was not run on, where the search is over.

    None if the finalists were run on all of them, or where that is too much for the budget.
    """
    for member in _finalists(state):
        begun, limits = _revalidation(state, member), state.settings.limits
        if begun is not None and not limits.exceeded_limit(
            used=state.committed, more=begun[0].hold
        ):
            return begun
    return None


def _finalists(state: RunState) -> tuple[int, ...]:
    """Between whom the choice is: the member that ranks highest, and what would be returned now.

    They differ if the lead of the first is not sure; then both have to be known better, the first
    one first. There are none if no member is to be run on the whole validation set.
    """
    if not state.members or not _is_completed(state):
        return ()
    pool, settings = state.pool(len(state.history)), state.settings
    rankings = dict.fromkeys((settings.ranking, settings.caution or settings.ranking))
    return tuple(dict.fromkeys(int(np.argmax(ranking(pool))) for ranking in rankings))


def _is_completed(state: RunState) -> bool:
    """Whether what is returned is to be run on the whole validation set."""
    schedule, most = state.settings.validation_schedule, state.settings.limits.rollouts_at_most
    if schedule is None:
        return False
    return most is None or len(state.settings.validation) <= schedule.completion_share * most


def _reserve(state: RunState) -> Tally:
    """What running the finalists on the whole validation set will take."""
    finalists = [state.members[member].scores for member in _finalists(state)]
    missing = sum(int(np.isnan(scores).sum()) for scores in finalists)
    return Tally(rollouts=missing, metric_calls=missing)


def _due_revalidation(state: RunState) -> Begun | None:
    """A member to be validated further; None if that is not due.

    Which one is drawn by how probably it is the best (Thompson sampling), so that rollouts go
    where they may change what is returned.
    """
    schedule, settings = state.settings.validation_schedule, state.settings
    if schedule is None or not state.members:
        return None
    ticket = len(state.history) + len(state.live)
    revalidated = sum(
        origin.hold.rollouts for origin in state.origins() if isinstance(origin, Revalidation)
    )
    reflecting = sum(isinstance(proposal.origin, Mutation) for proposal in state.live)
    validating = sum(
        proposal.origin.hold.rollouts
        for proposal in state.live
        if isinstance(proposal.origin, Revalidation)
    )
    is_due = schedule.is_due(
        rollouts=state.spent.rollouts,
        under_way=validating,
        revalidated=revalidated,
        reflections=state.spent.reflection_calls + reflecting,
    )
    if ticket <= 2 or not is_due:
        return None
    random = stream(settings.seed, "revalidation", ticket)
    drawn = state.pool(ticket).estimates().drawn(random)
    for member in np.argsort(-drawn, kind="stable").tolist():
        if (begun := _revalidation(state, member)) is not None:
            return begun
    return None


def _revalidation(state: RunState, member: int) -> Begun | None:
    """A member on the next validation examples; None if it was or is run on all."""
    settings = state.settings
    assert settings.validation_schedule is not None
    candidate = state.members[member].candidate
    # Of other proposals it depends on the order of answers how far they have come, and two may have
    # the same child.
    under_way = {
        key
        for proposal in state.live
        if isinstance(proposal.origin, Revalidation)
        for evaluation in proposal.evaluations
        for key in evaluation.keys
    }
    whole, place = Evaluation(candidate, settings.validation_order), place_of(settings.validation)
    scores = state.members[member].scores
    missing = [
        key.example
        for key in whole.keys
        if np.isnan(scores[place[key.example]]) and key not in under_way
    ][: settings.validation_schedule.step]
    if not missing:
        return None
    hold = Tally(rollouts=len(missing), metric_calls=len(missing))
    return Revalidation(hold, member), Validating(Evaluation(candidate, tuple(missing)))


def _mutation(state: RunState, used: Tally) -> Begun:
    """A rewrite, with as many drawn examples as fit beside what is used already."""
    settings = state.settings
    parent, reference = 0, None
    if state.members:
        pool = state.pool(len(state.history) + len(state.live))
        parent = _parent(state, pool)
        if settings.validation_schedule is not None:
            reference = first_validated(settings, pool, (parent,))
    candidate = state.candidate_of(parent)
    earlier = [origin for origin in state.origins() if isinstance(origin, Mutation)]
    same_parent = [origin for origin in earlier if origin.parent == parent]
    rewrites_before = state.members[parent].rewrites_before if state.members else 0
    if same_parent:
        rewrites_before = same_parent[0].rewrites_before + 1
    view = _sample_view(state, parent, earlier[0].mutation_index + 1 if earlier else 0)
    drawn_examples = settings.sampler(view)
    # Fewer examples where not all of them fit into what is left, down to the smallest minibatch.
    fewest = fewest_shown(settings, drawn_examples)
    if state.members and not earlier:
        fewest = 1  # rather one that is small than none at all
    # And before that fewer ways back for what does not run.
    sizes = [(len(drawn_examples), mends) for mends in range(settings.mends, 0, -1)]
    sizes += [(count, 0) for count in range(len(drawn_examples), fewest - 1, -1)]
    for count, mends in sizes:
        hold = _hold(state, candidate, drawn_examples[:count], mends, reference)
        if not settings.limits.exceeded_limit(used=used, more=hold):
            break
    origin = Mutation(
        hold,
        parent,
        drawn_examples[:count],
        view.mutation_index,
        rewrites_before,
        len(state.history),
        mends,
        view.size,
    )
    return origin, evaluating_parent(candidate, drawn_examples[:count], view.size)


def _sample_view(state: RunState, parent: int, mutation_index: int) -> SampleView:
    """What the sampler may know when it draws examples for a rewrite of this parent."""
    settings = state.settings
    member = state.members[parent] if state.members else None
    tried = Counter(
        example
        for record in state.history
        if isinstance(record.origin, Mutation) and record.origin.parent == parent
        for example in record.reflected_examples
    )
    return SampleView(
        settings.train,
        member.results.training if member else np.full(len(settings.train), np.nan),
        settings.perfect_score,
        member.reflected_examples if member else frozenset(),
        tried,
        frozenset(example for live in state.live for example in _drawn_examples(live, parent)),
        mutation_index,
        settings.seed,
        _size(state, len(state.history) + len(state.live)),
    )


def _size(state: RunState, ticket: int) -> int:
    """How many examples the next reflection is shown; 0 if that is the sampler's choice."""
    sizes = state.settings.minibatch_sizes
    if len(sizes) <= 1:
        return sizes[0] if sizes else 0
    if not state.members:
        return chosen_size(sizes, (), stream(state.settings.seed, "size", ticket))
    means = state.pool(ticket).estimates().means
    made = {member.ticket: number for number, member in enumerate(state.members)}
    trials = []
    for position, over in enumerate(state.history):
        if isinstance(over.origin, Mutation) and over.charge.reflection_calls:
            if (child := made.get(position)) is not None:
                gain = float(means[child] - means[over.origin.parent])
            else:
                gain = _lost(state, over, over.origin.parent)
            trials.append(Trial(over.origin.size, gain, in_rollouts(over.charge)))
    return chosen_size(sizes, trials, stream(state.settings.seed, "size", ticket))


def _lost(state: RunState, rejected: ProposalRecord, parent: int) -> float:
    """By how much a rejected child did worse than its parent on the validation examples it came to.

    0 if it did not come so far.
    """
    settings, differences = state.settings, []
    if settings.validation_schedule is None:
        return 0.0
    place, pair = place_of(settings.validation), (rejected.candidate, state.candidate_of(parent))
    for example in rejected.evaluated:
        if example not in place:
            continue
        keys = [RolloutKey(each.digest, example) for each in pair]
        if all(key in state.charged for key in keys):
            (one,), (other,) = comparable(settings, *([state.known[key]] for key in keys))
            differences.append(one - other)
    known = [each for each in differences if math.isfinite(each)]
    # Half of it is luck: it was left out because it did worse on these.
    return min(0.0, sum(known) / (2 * len(known))) if known else 0.0


def _hold(
    state: RunState,
    parent: Candidate,
    drawn_examples: tuple[int, ...],
    mends: int,
    reference: tuple[int, ...] | None,
) -> Tally:
    """The worst case of a mutation that looks at these examples."""
    return worst_case(
        state.settings,
        drawn_examples,
        parent_paid=_paid(state, parent),
        seed_paid=_paid(state, state.candidate_of(0)),
        mends=mends,
        reference=reference,
    )


def _paid(state: RunState, candidate: Candidate) -> Callable[[int], bool]:
    """Whether a candidate's rollout on an example was charged to a proposal that is over."""
    digest = candidate.digest
    return lambda example: RolloutKey(digest, example) in state.charged


def _drawn_examples(proposal: Proposal, parent: int) -> tuple[int, ...]:
    origin = proposal.origin
    return origin.drawn_examples if isinstance(origin, Mutation) and origin.parent == parent else ()


def _parent(state: RunState, view: PoolView) -> int:
    settings = state.settings
    parent = settings.selection(view, stream(settings.seed, "parent", view.ticket))
    if parent not in range(len(view.candidates)):
        raise ValueError(
            f"The candidate selection returned {parent!r}; a member's id is needed, one of 0 to "
            f"{len(view.candidates) - 1}."
        )
    return parent


def _merge(state: RunState) -> Begun | None:
    """A merge, due after a mutation was accepted, where two frontier members can be merged."""
    settings, ticket = state.settings, len(state.history) + len(state.live)
    last = state.history[-1] if state.history else None
    if not settings.use_merge or last is None or last.verdict.kind != "accepted":
        return None
    earlier = [origin for origin in state.origins() if isinstance(origin, Merge)]
    if not isinstance(last.origin, Mutation) or len(earlier) >= settings.max_merge_invocations:
        return None
    scores = state.scores
    means = settings.ranking(state.pool(ticket)).tolist()
    plan = plan_merge(
        [
            Lineage(member.candidate, member.parents, mean)
            for member, mean in zip(state.members, means, strict=True)
        ],
        survivors(tops(state.columns), means),
        [(*origin.parents, origin.ancestor) for origin in earlier],
        stream(settings.seed, "merge", ticket),
        settings.text_merge,
    )
    if plan is None or rejected_before(state, plan.child, len(state.history)):
        return None
    random = stream(settings.seed, "merge examples", ticket)
    examples = merge_examples(
        scores, settings.validation, plan.parents, settings.merge_examples, random
    )
    if not examples:
        return None
    rollouts = len(settings.validation)
    if settings.validation_schedule is not None:
        rollouts = len(examples) + 3 * settings.validation_schedule.first
    is_paid = _paid(state, state.candidate_of(0))
    rollouts += sum(1 + (not is_paid(example)) for example in settings.anchors)
    hold = Tally(rollouts=rollouts, metric_calls=rollouts, proposals=1)
    parents = [state.members[parent].candidate for parent in plan.parents]
    phase = evaluating_child(state, plan.child, examples, parents)
    return Merge(hold, plan.parents, plan.ancestor, len(state.history)), phase

"""Whether a child joins the pool: the gate on a minibatch, what must keep passing, validation.

Our choice in validation: a score is partly luck, and the scores that a parent has stay what they
are. If a parent was lucky on a few examples, and every child were compared with its scores there,
no child would ever join.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.comparing import compared
from dspy_gepa.core.frontier import Vector
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
    Evaluation,
    Merge,
    Mutation,
    Phase,
    Proposal,
    Settled,
    Validating,
    Verdict,
)
from dspy_gepa.core.results import place_of
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.core.streams import stream

__all__ = [
    "after_checking_must_pass",
    "after_evaluating_child",
    "after_validating",
    "evaluating_child",
    "expected_scores",
    "first_validated",
]


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


def after_evaluating_child(
    state: RunState, proposal: Proposal, evaluation: Evaluation, minibatch: tuple[int, ...]
) -> Phase:
    """What follows the rollouts of a child on a part of its minibatch."""
    child = evaluation.candidate
    parents = [state.candidate_of(parent) for parent in proposal.origin.parents]
    done = len(evaluation.examples)
    if done < len(minibatch) and not state.settings.stops_early:
        return evaluating_child(state, child, minibatch, parents, done)
    more = _to_decide(state, child, minibatch, parents, done)
    if more > 0:
        return evaluating_child(state, child, minibatch, parents, done)
    if more == 0:
        return _checking_must_pass(state, child) or _validating(state, proposal, child)
    scores, *rows = _child_and_parents(state, child, minibatch, parents, done)
    own, best = total(scores), max(total(row[:done]) for row in rows)
    better = "not enough better" if own > best else "no better"
    reason = f"{better} on {done} examples: {own} against {best}"
    return Settled(child, Verdict("rejected", reason))


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
        Evaluation(child, anchors), (Evaluation(state.candidate_of(0), anchors),)
    )


def after_checking_must_pass(
    state: RunState, proposal: Proposal, evaluation: Evaluation, reference: tuple[Evaluation, ...]
) -> Phase:
    """What follows its rollouts on what must keep passing."""
    child, (seed,) = evaluation.candidate, reference
    rows = zip(evaluation.examples, *compared(state, evaluation, seed), strict=True)
    lost = [example for example, score, before in rows if score < before]
    if lost:
        reason = f"worse than the seed on {len(lost)} of the examples that must keep passing"
        return Settled(child, Verdict("rejected", reason))
    return _validating(state, proposal, child)


def _validating(state: RunState, proposal: Proposal, child: Candidate) -> Validating:
    """How a child is validated: first on a few examples, as its parents are, or on all of them."""
    settings, origin = state.settings, proposal.origin
    if settings.validation_schedule is None:
        return Validating(Evaluation(child, settings.validation))
    assert isinstance(origin, Mutation | Merge)
    view = state.pool(proposal.ticket, origin.visible_proposals)
    examples = first_validated(settings, view, origin.parents)
    parents = [state.candidate_of(parent) for parent in origin.parents]
    reference = tuple(Evaluation(parent, examples) for parent in parents)
    return Validating(Evaluation(child, examples), reference)


def after_validating(
    state: RunState,
    proposal: Proposal,
    evaluation: Evaluation,
    reference: tuple[Evaluation, ...],
) -> Phase:
    """What follows its rollouts on validation examples."""
    candidate, settings, origin = evaluation.candidate, state.settings, proposal.origin
    if reference and settings.validation_schedule is not None:
        assert isinstance(origin, Mutation | Merge)
        beside = np.array(compared(state, evaluation, *reference))
        view = state.pool(proposal.ticket, origin.visible_proposals, beside)
        scores, *of_parents = compared(state, evaluation, *reference, beside=view.everything)
        rows = dict(zip(origin.parents, of_parents, strict=True))
        expected = expected_scores(settings, view, rows, evaluation.examples)
        # As in the gate, fewer failures come first: what is expected of a parent where it failed is
        # no score, and may be above every honest one.
        fails_less = total(scores).failed < min(total(row).failed for row in of_parents)
        is_worse = settings.validation_schedule.is_worse
        if not fails_less and is_worse(np.array(scores), expected, span=view.span):
            reason = (
                f"worse on {len(scores)} validation examples: {total(scores)}, and "
                f"{expected.sum():.3g} expected of its parent"
            )
            return Settled(candidate, Verdict("rejected", reason))
    if not isinstance(origin, Merge | Mutation) and proposal.ticket > 0:
        reason = f"run on {len(evaluation.examples)} more validation examples"
        return Settled(candidate, Verdict("measured", reason))
    return Settled(candidate, Verdict("accepted", "validated"))


def first_validated(settings: Settings, view: PoolView, parents: Sequence[int]) -> tuple[int, ...]:
    """The validation examples on which a child is compared with its parents.

    They are drawn for every child anew from those that its parents were run on, once these are more
    than the seed's first ones.

    Args:
        settings: Of the run, which has a validation schedule.
        view: The pool as the child's proposal may know it.
        parents: The ids of the child's parents.
    """
    schedule, place = settings.validation_schedule, place_of(settings.validation)
    assert schedule is not None
    runs = (~np.isnan(view.scores[list(parents)])).sum(axis=0)
    known = [example for example in settings.validation_order if runs[place[example]]]
    if len(known) > schedule.seed_examples:
        stream(settings.seed, "first validated", view.ticket).shuffle(known)
    # What all parents were run on comes first: it costs nothing but the child's rollout.
    known.sort(key=lambda example: -int(runs[place[example]]))
    return tuple(dict.fromkeys([*known, *settings.validation_order]))[: schedule.first]


def expected_scores(
    settings: Settings,
    view: PoolView,
    rows: Mapping[int, Sequence[float]],
    examples: Sequence[int],
) -> Vector:
    """What the best of a child's parents would score on some examples, luck apart.

    Args:
        settings: Of the run.
        view: The pool as the child's proposal may know it.
        rows: What each parent did score on these examples, by its id: evidence beside the rest.
        examples: Validation examples.

    Returns:
        One number for each of the examples.
    """
    place, scores = place_of(settings.validation), view.scores.copy()
    columns = [place[example] for example in examples]
    for parent, row in rows.items():
        scores[parent, columns] = row
    estimates = replace(view, scores=scores).estimates()
    best = max(rows, key=lambda parent: float(estimates.means[parent]))
    expected: Vector = estimates.means[best] + estimates.ease[columns]
    return expected

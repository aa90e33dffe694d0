"""Merges agree with `gepa` 0.1.4, but for these differences, each on purpose:

- gepa draws an ancestor with its mean as weight, and so raises where all weights are zero and is
  undefined for negative ones; ours shifts such means.
- gepa gives up after a hundred draws; ours looks at every pair.
- gepa plans a merge again whose texts a member already has; ours does not.
- gepa remembers which member each text came from, so that a pair gives the same texts once even
  under another ancestor; ours remembers the pair with its ancestor.
- gepa counts accepted merges against max_merge_invocations; ours counts attempts, which is what
  costs rollouts.
- gepa fills up the examples of a comparison with repeated ones where there are too few; ours
  compares on fewer. gepa refuses pairs with fewer than five shared examples; ours does not.
"""

from itertools import combinations
from math import isnan
from random import Random

import pytest
from gepa.proposer.merge import (
    MergeProposer,
    filter_ancestors,
    sample_and_attempt_merge_programs_by_common_predictors,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.merge import Lineage, merge_examples, plan_merge
from dspy_gepa.testing.strategies import lineages, score_matrices

POSITIVE = st.integers(1, 8).map(lambda eighths: eighths / 8)


def gepa_plan(members, frontier, tried, seed):
    """What gepa would merge, as (parents, ancestor, texts)."""
    merge = sample_and_attempt_merge_programs_by_common_predictors(
        agg_scores=[member.mean for member in members],
        rng=Random(seed),
        merge_candidates=sorted(frontier),
        merges_performed=(list(tried), []),
        program_candidates=[dict(member.candidate) for member in members],
        parent_program_for_candidate=[list(member.parents) or [None] for member in members],
    )
    if merge is None:
        return None
    child, first, second, ancestor = merge
    texts = {name: child[name] for name in members[0].candidate}
    return (first, second), ancestor, Candidate.of(texts)


def our_plan(members, frontier, tried, seed):
    """What ours would merge, in the same form."""
    plan = plan_merge(members, frontier, tried, Random(seed))
    return plan and (plan.parents, plan.ancestor, plan.child)


def triples_of(members):
    """Every pair of members with every older member."""
    for first, second in combinations(range(len(members)), 2):
        for ancestor in range(second):
            if ancestor != first:
                yield first, second, ancestor


@given(lineages(max_members=6, means=POSITIVE))
@hypothesis_settings(max_examples=hypothesis_settings().max_examples // 2)
def test_the_same_triples_give_the_same_children(members):
    """One triple at a time, all others marked as tried: what gepa can make of it, over many
    seeds, is what ours can make of it, but for texts that a member has already."""
    existing = {member.candidate for member in members}
    triples = list(triples_of(members))
    for triple in triples:
        others = [other for other in triples if other != triple]
        pair, seeds = triple[:2], range(40)
        if gepa_plan(members, pair, others, 0) is None:
            assert our_plan(members, pair, others, 0) is None
            continue
        theirs = {gepa_plan(members, pair, others, seed) for seed in seeds}
        ours = {our_plan(members, pair, others, seed) for seed in seeds}
        assert ours - {None} == {plan for plan in theirs if plan[2] not in existing}


@given(lineages(means=POSITIVE), st.data())
def test_what_is_planned_over_a_whole_frontier(members, data):
    """Every plan of ours passes gepa's own filter; where gepa has only new texts to give, ours
    has a plan."""
    frontier = data.draw(st.sets(st.integers(0, len(members) - 1)))
    existing = {member.candidate for member in members}
    ours = [our_plan(members, frontier, (), seed) for seed in range(10)]
    theirs = [gepa_plan(members, frontier, (), seed) for seed in range(10)]
    means, texts = [m.mean for m in members], [dict(m.candidate) for m in members]
    for plan in filter(None, ours):
        (first, second), ancestor, child = plan
        assert filter_ancestors(first, second, [ancestor], ([], []), means, texts) == [ancestor]
        assert child not in existing
    if all(theirs) and not {plan[2] for plan in theirs} & existing:
        assert all(ours)


def siblings(mean):
    """A seed and two children of it with the same mean, each with another change."""
    texts = ({"a": "x", "b": "x"}, {"a": "y", "b": "x"}, {"a": "x", "b": "y"})
    return [
        Lineage(Candidate.of(t), parents, mean)
        for t, parents in zip(texts, ((), (0,), (0,)), strict=True)
    ]


def test_difference_means_of_zero():
    """Where every ancestor has mean zero, gepa raises; ours merges."""
    with pytest.raises(ValueError, match="greater than zero"):
        gepa_plan(siblings(0.0), (1, 2), (), 0)
    assert our_plan(siblings(0.0), (1, 2), (), 0) is not None


def test_difference_existing_texts():
    """gepa merges again into texts that a member has; ours does not."""
    members = [*siblings(0.5), Lineage(Candidate.of({"a": "y", "b": "y"}), (1, 2), 0.5)]
    assert gepa_plan(members, (1, 2), (), 0) == ((1, 2), 0, members[3].candidate)
    assert our_plan(members, (1, 2), (), 0) is None


def gepa_examples(scores, columns, size, seed):
    """The examples on which gepa would compare the first two rows' merge."""
    proposer = MergeProposer(None, None, None, True, 5, rng=Random(seed))
    rows = [
        {column: score for column, score in zip(columns, row, strict=True) if not isnan(score)}
        for row in scores[:2].tolist()
    ]
    return proposer.select_eval_subsample_for_merged_program(*rows, num_subsample_ids=size)


@given(
    score_matrices(max_members=3).filter(lambda scores: len(scores) > 1),
    st.integers(1, 9),
    st.integers(0, 999),
)
def test_the_examples_of_a_comparison(scores, size, seed):
    """Where there are enough shared examples, the same generator draws the same ones, in the same
    order: groups, shares and the filling up agree. Where there are not, gepa repeats some."""
    columns = range(scores.shape[1])
    theirs = gepa_examples(scores, columns, size, seed)
    ours = merge_examples(scores, columns, (0, 1), size, Random(seed))
    if len(ours) == size:
        assert list(ours) == theirs
    else:
        assert set(theirs) <= set(ours) or not ours

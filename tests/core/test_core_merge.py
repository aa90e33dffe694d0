"""Merges: total on every history, and exactly what the rules allow."""

from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.merge import Lineage, better_text, merge_examples, plan_merge
from dspy_gepa.testing.strategies import lineages, score_matrices

SEEDS = st.integers(0, 999)
EXTREME = st.floats(-1e300, 1e300)


def ancestors_of(members, member):
    """All that a member descends from, by walking up."""
    found, left = set(), list(members[member].parents)
    while left:
        parent = left.pop()
        found.add(parent)
        left += members[parent].parents
    return found


def both(_component, _origin, better, other):
    """A text merge that leaves nothing out."""
    return f"{better} {other}"


def children_of(members, first, second, ancestor, text_merge):
    """Every child that the rules allow for this triple; none where they forbid the merge."""
    origin, one, other = (members[i] for i in (ancestor, first, second))
    choices, is_useful = [], False
    for name in origin.candidate:
        texts = {one.candidate[name], other.candidate[name]}
        changed = texts - {origin.candidate[name]}
        is_useful |= len(texts) == 2 and len(changed) == 1
        if len(changed) == 2:
            high = max(one.mean, other.mean)
            changed = {
                text_merge(name, origin.candidate[name], better.candidate[name], worse)
                for better, worse in (
                    (one, other.candidate[name]),
                    (other, one.candidate[name]),
                )
                if better.mean == high
            }
            is_useful |= not changed <= texts
        choices.append([(name, text) for text in changed or texts])
    allowed = {Candidate(items) for items in product(*choices)}
    return allowed if is_useful and origin.mean <= min(one.mean, other.mean) else set()


def allowed_merges(members, frontier, tried, text_merge=better_text):
    """Every triple that may be merged, with the children that it may give."""
    merges = {}
    for first, second in product(sorted(frontier), repeat=2):
        above, below = ancestors_of(members, first), ancestors_of(members, second)
        if first < second and first not in below and second not in above:
            for ancestor in above & below:
                children = children_of(members, first, second, ancestor, text_merge)
                if children and (first, second, ancestor) not in tried:
                    merges[first, second, ancestor] = children
    return merges


@pytest.mark.parametrize("text_merge", [better_text, both])
@given(members=lineages(), data=st.data(), seed=SEEDS)
def test_a_plan_is_what_the_rules_allow(members, data, seed, text_merge):
    """A plan names an allowed triple that was not tried, and a new child that it may give; there
    is none only where each allowed triple may give texts that a member has already."""
    ids = st.integers(0, len(members) - 1)
    frontier = data.draw(st.sets(ids))
    merges = allowed_merges(members, frontier, (), text_merge)
    tried = data.draw(st.sets(st.sampled_from(sorted(merges)))) if merges else set()
    plan = plan_merge(members, frontier, tried, Random(seed), text_merge)
    merges = {triple: found for triple, found in merges.items() if triple not in tried}
    existing = {member.candidate for member in members}
    if plan is None:
        assert all(children & existing for children in merges.values())
    else:
        assert plan.child in merges[(*plan.parents, plan.ancestor)] - existing


@given(lineages(means=EXTREME), SEEDS)
def test_planning_is_total(members, seed):
    """Whatever the means, planning ends with a plan or with none."""
    plan_merge(members, range(len(members)), (), Random(seed))


@given(lineages(means=st.sampled_from((0.0, -1.0, -1e18))), SEEDS)
def test_equal_and_negative_means_are_means(members, seed):
    """Where all means are equal, zero, negative or huge, merges are planned all the same."""
    level = [Lineage(m.candidate, m.parents, members[0].mean) for m in members]
    merges = allowed_merges(level, range(len(level)), ())
    existing = {member.candidate for member in members}
    plan = plan_merge(level, range(len(level)), (), Random(seed))
    assert (plan is not None) or all(children & existing for children in merges.values())


@given(lineages(), SEEDS)
def test_a_plan_is_a_function_of_its_arguments(members, seed):
    """The same generator gives the same plan, in whatever collection the frontier comes."""
    ids = range(len(members))
    plan = plan_merge(members, ids, (), Random(seed))
    assert plan_merge(members, set(ids), [], Random(seed)) == plan
    assert plan_merge(members, [*reversed(ids)], set(), Random(seed)) == plan


def siblings(*means, texts=("xx", "yx", "xy")):
    """A seed and two children of it; each letter is the text of one component."""
    return [
        Lineage(Candidate.of(dict(zip("abc", letters, strict=False))), parents, mean)
        for letters, parents, mean in zip(texts, ((), (0,), (0,)), means, strict=True)
    ]


def test_two_changes_come_together():
    """Siblings that changed one component each give the child with both changes."""
    plan = plan_merge(siblings(0.1, 0.5, 0.4), (1, 2), (), Random(0))
    assert (plan.parents, plan.ancestor) == ((1, 2), 0)
    assert dict(plan.child) == {"a": "y", "b": "y"}


@pytest.mark.parametrize(
    ("members", "frontier", "tried"),
    [
        (siblings(0.5, 0.5, 0.4), (1, 2), ()),
        (siblings(0.1, 0.5, 0.4), (1, 2), {(1, 2, 0)}),
        (siblings(0.1, 0.5, 0.4), (0, 1), ()),
        (siblings(0.1, 0.5, 0.5, texts=("xxx", "yyx", "zzx")), (1, 2), ()),
        (siblings(0.1, 0.5, 0.5, texts=("xxx", "yyx", "yyx")), (1, 2), ()),
        (siblings(0.1, 0.5, 0.4), (1,), ()),
        (siblings(0.1, 0.5, 0.4), (), ()),
        (
            [*siblings(0.1, 0.5, 0.4), Lineage(Candidate.of({"a": "y", "b": "y"}), (1, 2), 0.2)],
            (1, 2),
            (),
        ),
    ],
    ids=[
        "better ancestor",
        "tried",
        "own ancestor",
        "conflicts only",
        "no difference",
        "alone",
        "nobody",
        "child exists",
    ],
)
def test_no_plan(members, frontier, tried):
    """No merge under a better ancestor, twice, with one's own ancestor, alone, or where nothing new
    that only one of the two changed would come of it."""
    assert [plan_merge(members, frontier, tried, Random(seed)) for seed in range(10)] == [None] * 10


def test_a_conflict_goes_to_the_better_member():
    """Where both changed a component, the higher mean decides, and at a tie chance does."""
    origin = Lineage(Candidate.of({"a": "x", "b": "x"}), (), 0.0)
    one, other = Candidate.of({"a": "y", "b": "y"}), Candidate.of({"a": "z", "b": "x"})
    found = {}
    for means in ((0.5, 0.4), (0.4, 0.5), (0.5, 0.5)):
        members = [origin, *(Lineage(c, (0,), m) for c, m in zip((one, other), means, strict=True))]
        plans = [plan_merge(members, (1, 2), (), Random(seed)) for seed in range(20)]
        found[means] = {dict(plan.child)["a"] for plan in plans if plan}
    # The better member's "y" would give its own texts again, so only "z" is ever planned.
    assert found == {(0.5, 0.4): set(), (0.4, 0.5): {"z"}, (0.5, 0.5): {"z"}}


def test_a_text_merge_brings_two_changes_of_one_component_together():
    """It is given the ancestor's, the better member's and the other one's text; where it takes the
    better one, there is nothing new."""
    members = siblings(0.1, 0.4, 0.5, texts=("x", "y", "z"))
    plan = plan_merge(members, (1, 2), (), Random(0), lambda *texts: " ".join(texts))
    assert dict(plan.child) == {"a": "a x z y"}
    assert plan_merge(members, (1, 2), (), Random(0)) is None


def test_better_ancestors_are_likelier():
    """Of two common ancestors, each is taken in proportion to its mean."""
    texts = ("xxx", "xxy", "zxy", "xwy")
    parents, means = ((), (0,), (1,), (1,)), (0.25, 0.75, 0.75, 0.75)
    members = [
        Lineage(Candidate.of(dict(zip("abc", t, strict=True))), p, mean)
        for t, p, mean in zip(texts, parents, means, strict=True)
    ]
    plans = [plan_merge(members, (2, 3), (), Random(seed)) for seed in range(2000)]
    share = sum(plan.ancestor == 1 for plan in plans) / len(plans)
    assert share == pytest.approx(0.75, abs=0.04)


@given(score_matrices().filter(lambda scores: len(scores) > 1), st.integers(1, 12), SEEDS)
def test_merge_examples_come_from_all_three_groups(scores, size, seed):
    """As many as asked for or as there are, none twice, all scored for both parents; and each
    group (first better, second better, tied) has its third as far as it reaches."""
    columns = [100 + column for column in range(scores.shape[1])]
    taken = merge_examples(scores, columns, (0, 1), size, Random(seed))
    assert merge_examples(scores, columns, (0, 1), size, Random(seed)) == taken
    both = [c for c in columns if not np.isnan(scores[:2, c - 100]).any()]
    assert len(taken) == len(set(taken)) == min(size, len(both))
    assert set(taken) <= set(both)
    groups = {-1: [], 0: [], 1: []}
    for column in both:
        groups[int(np.sign(scores[0, column - 100] - scores[1, column - 100]))].append(column)
    share, room = -(-size // 3), size
    for sign in (1, -1, 0):
        promised = min(share, len(groups[sign]), room)
        room -= promised
        assert len(set(groups[sign]) & set(taken)) >= promised

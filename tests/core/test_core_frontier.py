"""The algebra of the Pareto frontier."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.frontier import coverage, mean_scores, survivors, tops
from dspy_gepa.testing.strategies import score_matrices

NAN = float("nan")


@st.composite
def flags_and_means(draw):
    """Any assignment of columns to members, with distinct means."""
    members, columns = draw(st.integers(0, 7)), draw(st.integers(0, 6))
    row = st.lists(st.booleans(), min_size=columns, max_size=columns)
    flags = draw(st.lists(row, min_size=members, max_size=members))
    means = draw(st.permutations(range(members)))
    return np.array(flags, dtype=bool).reshape(members, columns), list(means)


def test_a_mean_counts_what_was_scored():
    """A mean is over scored columns; a member without any has -inf; negative scores count."""
    scores = np.array([[1.0, NAN, 0.0], [NAN, NAN, NAN], [-1.0, -2.0, NAN], [NAN, 0.75, NAN]])
    assert mean_scores(scores).tolist() == [0.5, -np.inf, -1.5, 0.75]
    assert mean_scores(np.zeros((2, 0))).tolist() == [-np.inf, -np.inf]


def test_tops_of_all_kinds_of_columns():
    """Ties share a column, negative and zero scores can hold one, an unscored one has no holder."""
    scores = np.array([[0.0, -1.0, NAN, 1.0], [0.0, -2.0, NAN, NAN], [0.0, NAN, NAN, 1.0]])
    assert tops(scores).tolist() == [
        [True, True, False, True],
        [True, False, False, False],
        [True, False, False, True],
    ]
    assert tops(np.zeros((0, 3))).shape == (0, 3)


@given(score_matrices())
def test_a_column_is_held_by_those_with_its_best_score(scores):
    """A member holds a column exactly when it was scored there and nobody scored higher."""
    top = tops(scores)
    for column, held in zip(scores.T, top.T, strict=True):
        scored = column[~np.isnan(column)]
        assert held.tolist() == [score == max(scored, default=0) for score in column]


@given(score_matrices(), st.data())
def test_a_new_member_changes_only_the_columns_that_it_reaches(scores, data):
    """Tops after one more row follow from tops before it, column by column."""
    *_, new = scores
    older, before = scores[:-1], tops(scores[:-1])
    after = tops(scores)
    for column, score in enumerate(new):
        best = max([s for s in older[:, column] if not np.isnan(s)], default=-np.inf)
        expected = before[:, column].tolist() if not score > best else [False] * len(older)
        assert after[:, column].tolist() == [*expected, bool(score >= best)]


@given(flags_and_means())
def test_survivors_hold_every_held_column_and_none_can_be_spared(drawn):
    """Every column that somebody holds has a survivor, and each survivor is some column's only."""
    top, means = drawn
    kept = list(survivors(top, means))
    assert kept == sorted(set(kept))
    assert (top[kept].any(axis=0) == top.any(axis=0)).all()
    alone = top[kept].sum(axis=0) == 1
    assert all((top[member] & alone).any() for member in kept)


@given(flags_and_means(), st.randoms(use_true_random=False))
def test_survivors_do_not_depend_on_the_order_of_members(drawn, random):
    """With distinct means, members in another order leave the same survivors, renumbered."""
    top, means = drawn
    order = list(range(len(top)))
    random.shuffle(order)
    moved = survivors(top[order], [means[member] for member in order])
    assert sorted(order[position] for position in moved) == list(survivors(top, means))


@given(flags_and_means())
def test_the_lowest_mean_is_pruned_first(drawn):
    """Whoever is pruned was spared by members that are left and those with a higher mean."""
    top, means = drawn
    kept = survivors(top, means)
    for pruned in (member for member in range(len(top)) if member not in kept):
        others = [m for m in range(len(top)) if m in kept or means[m] > means[pruned]]
        assert (top[others].any(axis=0) | ~top[pruned]).all()


def test_at_equal_means_the_older_is_pruned():
    """Of two members with the same columns and means, the newer survives."""
    assert survivors(np.array([[True], [True]]), [1.0, 1.0]) == (1,)


@given(score_matrices())
def test_coverage_counts_what_survivors_hold(scores):
    """Coverage names exactly the survivors, each with how many columns it is tied for best in."""
    means = mean_scores(scores).tolist()
    held = coverage(tops(scores), means)
    assert tuple(held) == survivors(tops(scores), means)
    assert held == {member: int(tops(scores)[member].sum()) for member in held}
    assert all(count > 0 for count in held.values())
    assert bool(held) == (not np.isnan(scores).all())


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from((0.0, 1.0, -1.0)))
def test_equal_members_leave_one(members, columns, score):
    """Where all members score the same everywhere, one survives, with every column."""
    scores = np.full((members, columns), score)
    assert coverage(tops(scores), mean_scores(scores).tolist()) == {members - 1: columns}


@given(score_matrices())
def test_nothing_is_changed_in_place(scores):
    """The matrix and the flags that are passed in stay as they were."""
    before = scores.copy()
    top = tops(scores)
    flags = top.copy()
    coverage(top, mean_scores(scores).tolist())
    np.testing.assert_array_equal(scores, before)
    np.testing.assert_array_equal(top, flags)

"""Parent selection: inside the pool, deterministic, with the weights that are claimed."""

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.frontier import coverage, mean_scores, tops
from dspy_gepa.core.selection import (
    SELECTIONS,
    ClimbOrWalk,
    EpsilonGreedy,
    PoolView,
    ProbablyBest,
    TopKPareto,
    current_best,
    pareto,
)
from dspy_gepa.testing.conformance import check_selection
from dspy_gepa.testing.strategies import pool_views


class Fixed(Random):
    """A generator whose every draw from [0, 1) is the same."""

    def __new__(cls, _value):
        return super().__new__(cls)

    def __init__(self, value):
        super().__init__(0)
        self._value = value

    def random(self):
        return self._value


def chances(selection, view, parts):
    """How many of so many equal parts of [0, 1) select each member."""
    draws = (Fixed((part + 0.5) / parts) for part in range(parts))
    return dict(Counter(selection(view, draw) for draw in draws))


def pool(*rows):
    """A pool with these scores."""
    names = tuple(Candidate.of({"only": str(number)}) for number in range(len(rows)))
    scores = np.array(rows, dtype=float)
    return PoolView(names, scores, scores, ticket=1, spent=len(rows))


@pytest.mark.parametrize("name", SELECTIONS)
@given(view=pool_views(), seed=st.integers(0, 999))
def test_every_strategy_keeps_the_promises_of_a_selection(name, view, seed):
    """A strategy names a member of the pool, and the same one for the same generator."""
    check_selection(SELECTIONS[name], view, seed)


@given(pool_views())
def test_pareto_weighs_survivors_by_their_columns(view):
    """A member's probability is its share of the columns that survivors hold."""
    held = coverage(tops(view.scores), mean_scores(view.scores).tolist())
    assert chances(pareto, view, sum(held.values())) == held


@given(pool_views(), st.integers(0, 999))
def test_the_best_is_the_oldest_with_the_highest_mean(view, seed):
    """No member has a higher mean than the current best, and no older one an equal mean."""
    means = mean_scores(view.scores).tolist()
    assert current_best(view, Random(seed)) == means.index(max(means))


@given(pool_views(), st.integers(0, 999))
def test_epsilon_bounds(view, seed):
    """With epsilon 0 it is the current best, with epsilon 1 any member."""
    best = current_best(view, Random(0))
    assert EpsilonGreedy(0.0)(view, Random(seed)) == best
    seen = {EpsilonGreedy(1.0)(view, Random(other)) for other in range(200)}
    assert seen == set(range(len(view.scores)))


def test_epsilon_is_a_probability():
    """The share of draws that explore is epsilon."""
    view = pool([1.0], [0.0])
    explored = [EpsilonGreedy(0.3)(view, Random(seed)) == 1 for seed in range(4000)]
    assert sum(explored) / 4000 == pytest.approx(0.3 / 2, abs=0.02)


@given(pool_views())
def test_a_k_of_the_whole_pool_is_pareto(view):
    """With k as large as the pool, top-k weighs members as `pareto` does."""
    held = coverage(tops(view.scores), mean_scores(view.scores).tolist())
    assert chances(TopKPareto(len(view.scores)), view, sum(held.values())) == held


@given(pool_views(), st.integers(1, 4), st.integers(0, 99))
def test_top_k_stays_among_the_best_k(view, k, seed):
    """The chosen member's mean has fewer than k strictly higher ones."""
    means = mean_scores(view.scores).tolist()
    chosen = TopKPareto(k)(view, Random(seed))
    assert sum(mean > means[chosen] for mean in means) < k


def test_top_k_falls_back_on_the_best_mean():
    """Where none of the k best holds a column, it is the best of them."""
    view = pool([0.75, 0.75], [1.0, 0.0], [0.0, 1.0])
    assert chances(TopKPareto(1), view, 8) == {0: 8}


def test_a_parent_is_mostly_the_best_and_sometimes_another_that_may_be_it():
    """Where its lead is about as large as what is not known of it; where it is clear, always."""
    seed = [0.0, 1.0] * 20
    family = {"parents": ((), (0,)), "training": np.empty((2, 0))}
    unsure = replace(pool(seed, [1.0] * 3 + seed[3:]), **family)
    clear = replace(pool(seed, [1.0] * 40), **family)
    estimates = unsure.estimates()
    assert 0.5 < np.diff(estimates.means)[0] / estimates.lead_deviations[1] < 1.1
    others = [
        sum(ProbablyBest()(view, Random(draw)) == 0 for draw in range(400))
        for view in (unsure, clear)
    ]
    assert 2 < others[0] < 60
    assert others[1] == 0


def line(*scores, parents):
    """A pool of one problem, whose members were made one from another."""
    view = pool(*([score] for score in scores))
    return replace(view, parents=((), *((parent,) for parent in parents)))


def taken(view):
    """Every member that a search which climbs or walks may go on from."""
    return {ClimbOrWalk()(view, Random(seed)) for seed in range(200)}


@pytest.mark.parametrize(
    ("scores", "parents", "expected"),
    [
        ((0.0,), (), {0}),
        ((0.0, 1.0, 2.0), (0, 1), {2}),
        # One step of 1 and one of 0.4: a step down of up to half the median change is gone on from.
        ((0.0, 1.0, 0.7), (0, 1), {1, 2}),
        ((0.0, 1.0, -1.0), (0, 1), {1}),
        ((0.0, 1.0, 0.7, 0.6), (0, 1, 2), {1, 3}),
        # What is made from the best while a walk is elsewhere is no step of the walk.
        ((0.0, 1.0, 0.7, 0.9), (0, 1, 1), {1, 2}),
        # A new best ends it, and a failure that was mended is no change of a score.
        ((0.0, 1.0, 0.7, 1.5), (0, 1, 2), {3}),
        ((-np.inf, 5.0, 3.0), (0, 0), {1}),
        ((-np.inf, 5.0, 5.0), (0, 1), {1, 2}),
    ],
)
def test_a_walk_goes_on_through_what_is_little_worse(scores, parents, expected):
    """From the best it leads to children that changes as they usually are account for."""
    assert taken(line(*scores, parents=parents)) == expected


def test_what_has_paid_is_done_more_often():
    """Where climbing brings every new best, hardly any walk is gone on with."""
    scores = [float(n) for n in range(20)] + [18.9]
    view = line(*scores, parents=[*range(19), 19])
    tips = Counter(ClimbOrWalk()(view, Random(seed)) for seed in range(200))
    assert tips[19] > 4 * tips[20] > 0


def test_a_walk_leaves_a_local_optimum():
    """One whose neighbors are all a little worse, where climbing stays for ever."""

    def height(place):
        return place - 1.3 * (place % 4 == 3)

    def reached(selection):
        places, parents = [0], [()]
        for ticket in range(60):
            scores = [height(place) for place in places]
            view = line(*scores, parents=[each[0] for each in parents[1:]])
            parent = selection(view, Random(ticket))
            places.append(places[parent] + (1, 1, -1)[ticket % 3])
            parents.append((parent,))
        return max(map(height, places))

    assert reached(current_best) == height(2)
    assert reached(ClimbOrWalk()) > 2 * height(2)

"""The frontier and the selections agree with `gepa` 0.1.4.

Where means are tied, gepa prunes in the order in which a set gives its members, which is nobody's
intention; ours prunes the older first. So gepa is given distinct means, or the ranks of the means
with ties broken by age, which changes nothing else: it only sorts by them.
"""

from collections import Counter
from operator import attrgetter
from random import Random

import numpy as np
import pytest
from gepa.core.state import GEPAState, ValsetEvaluation
from gepa.gepa_utils import (
    remove_dominated_programs,
    select_program_candidate_from_pareto_front,
)
from gepa.strategies.candidate_selector import (
    CurrentBestCandidateSelector,
    EpsilonGreedyCandidateSelector,
    TopKParetoCandidateSelector,
)
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.compat.strategies import SearchView
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.columns import columns
from dspy_gepa.core.frontier import coverage, mean_scores, survivors, tops
from dspy_gepa.core.results import Results
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.selection import EpsilonGreedy, PoolView, TopKPareto, current_best
from dspy_gepa.testing.strategies import pool_views, score_matrices

SEEDS = st.integers(0, 999)


class Urn:
    """A generator that gives away the list that it is to draw from."""

    def __init__(self):
        self.drawn_from = []

    def choice(self, items):
        self.drawn_from = list(items)
        return items[0]


def gepa_state(scores):
    """gepa's own state after it was given these rows of scores, NaN left out."""
    rows = [
        {column: float(score) for column, score in enumerate(row) if not np.isnan(score)}
        for row in scores
    ]
    state = GEPAState({"only": "0"}, ValsetEvaluation({}, rows[0]))
    for number, row in enumerate(rows[1:], 1):
        state.update_state_with_new_program(
            [0], {"only": str(number)}, ValsetEvaluation({}, row), None, 0
        )
    return state


def ranks(means):
    """Every member's rank by mean, of those tied the older lower."""
    ordered = sorted(range(len(means)), key=lambda member: (means[member], member))
    return [ordered.index(member) for member in range(len(means))]


@given(score_matrices())
def test_tops_and_means(scores):
    """gepa's fronts are the columns' holders, and its means ours."""
    state = gepa_state(scores)
    top = tops(scores)
    fronts = {c: set(np.flatnonzero(top[:, c]).tolist()) for c in np.flatnonzero(top.any(axis=0))}
    assert state.get_pareto_front_mapping() == fronts
    assert state.per_program_tracked_scores == mean_scores(scores).tolist()


@given(pool_views())
def test_the_view_of_the_pool(view):
    """What gepa's selectors read of its state, they read of ours."""
    state, shown = gepa_state(view.scores), SearchView(view)
    for name in ("per_program_tracked_scores", "program_full_scores_val_set"):
        assert getattr(shown, name) == getattr(state, name)
    assert shown.get_pareto_front_mapping() == state.get_pareto_front_mapping()


@given(score_matrices(holes=False, distinct_means=True))
def test_pruning_with_distinct_means(scores):
    """Where no means are tied, the same members survive."""
    state = gepa_state(scores)
    kept = remove_dominated_programs(
        state.get_pareto_front_mapping(), scores=state.per_program_tracked_scores
    )
    means = mean_scores(scores).tolist()
    assert set().union(*kept.values()) == set(survivors(tops(scores), means))


@given(score_matrices().filter(lambda scores: not np.isnan(scores).all()))
def test_pruning_with_ties(scores):
    """Where means are tied, ours is gepa's with the older of them pruned first."""
    means = mean_scores(scores).tolist()
    fronts = gepa_state(scores).get_pareto_front_mapping()
    kept = remove_dominated_programs(fronts, scores=ranks(means))
    assert set().union(*kept.values()) == set(survivors(tops(scores), means))


@given(score_matrices().filter(lambda scores: not np.isnan(scores).all()))
def test_the_odds_of_pareto_selection(scores):
    """gepa draws from a list in which each member stands as often as our weights say."""
    means = mean_scores(scores).tolist()
    urn = Urn()
    fronts = gepa_state(scores).get_pareto_front_mapping()
    select_program_candidate_from_pareto_front(fronts, ranks(means), urn)
    assert Counter(urn.drawn_from) == coverage(tops(scores), means)


@given(score_matrices(holes=False, distinct_means=True), st.integers(1, 9))
def test_the_odds_of_top_k_selection(scores, k):
    """With distinct means, top-k draws from the same members with the same weights."""
    urn, ours = Urn(), Urn()
    chosen = TopKParetoCandidateSelector(k, urn).select_candidate_idx(gepa_state(scores))

    class Weights(Random):
        def choices(self, population, weights):
            ours.drawn_from = [
                m for m, w in zip(population, weights, strict=True) for _ in range(w)
            ]
            return [population[0]]

    pool = tuple(Candidate.of({"only": str(member)}) for member in range(len(scores)))
    fallback = TopKPareto(k)(PoolView(pool, scores, scores, 1, 0), Weights())
    assert Counter(ours.drawn_from) == Counter(urn.drawn_from)
    if not urn.drawn_from:
        assert fallback == chosen


@given(pool_views())
def test_the_current_best(view):
    """The best is the same member, at ties the oldest."""
    best = CurrentBestCandidateSelector().select_candidate_idx(gepa_state(view.scores))
    assert current_best(view, Random(0)) == best


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
@given(view=pool_views(), seed=SEEDS)
def test_epsilon_greedy(epsilon, view, seed):
    """From the same generator the same member is drawn."""
    theirs = EpsilonGreedyCandidateSelector(epsilon, Random(seed))
    expected = theirs.select_candidate_idx(gepa_state(view.scores))
    assert EpsilonGreedy(epsilon)(view, Random(seed)) == expected


@st.composite
def objective_runs(draw):
    """Members' scores and objective scores on a few validation examples; seldom one is missing."""
    names = ["clarity", "cost", "truth"][: draw(st.integers(1, 3))]
    size, examples = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    score = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    return names, [
        [(draw(score), {name: draw(score) for name in names}) for _ in range(examples)]
        for _ in range(size)
    ]


@pytest.mark.parametrize("kind", ["instance", "objective", "hybrid", "cartesian"])
@given(run=objective_runs())
def test_every_kind_of_frontier_holds_the_same_members(kind, run):
    """Column by column, who is best is the same in gepa's fronts and in ours."""
    names, rows = run

    def evaluation(row):
        return ValsetEvaluation(
            {}, dict(enumerate(s for s, _ in row)), dict(enumerate(o for _, o in row))
        )

    state = GEPAState({"only": "0"}, evaluation(rows[0]), frontier_type=kind)
    for number, row in enumerate(rows[1:], 1):
        state.update_state_with_new_program([0], {"only": str(number)}, evaluation(row), None, 0)
    theirs = Counter(frozenset(front) for front in state.get_pareto_front_mapping().values())

    none = Results.none(train=0, validation=len(rows[0]))
    members = [
        none.plus(
            0,
            validation={i: Rollout(s, objectives=o) for i, (s, o) in enumerate(row)},
            training={},
            score_of=attrgetter("score"),
        )
        for row in rows
    ]
    top = tops(columns(kind, members, names))
    ours = Counter(frozenset(column.nonzero()[0].tolist()) for column in top.T)
    assert ours == theirs

"""The default search: validation in rungs, failures first, and estimates."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.components import every
from dspy_gepa.core.estimate import estimated, standings
from dspy_gepa.core.gate import Margin, at_least_as_good, examples_to_decide, strict_improvement
from dspy_gepa.core.proposal import Mutation, Revalidation
from dspy_gepa.core.rungs import Rungs
from dspy_gepa.core.sampling import Looks, SampleView
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import SoftEstimate, by_estimate
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.orders import VirtualTimeExecutor, durations
from dspy_gepa.testing.strategies import score_matrices, scores
from dspy_gepa.testing.witness import Recording, Witness, outcome
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(rules=16, names=("a", "b"), pass_or_fail=True)
SETTINGS = Settings(
    train=tuple(range(40)),
    validation=tuple(range(40, 80)),
    limits=Limits(metric_calls=300),
    sampler=Looks(),
    failures_shown=4,
    stops_early=True,
    rungs=Rungs(),
    ranking=by_estimate,
    selection=SoftEstimate(),
    components=every,
    gate=Margin(),
)


def view(examples, known, **others):
    """What a sampler sees where these scores are known."""
    row = np.array([known.get(example, np.nan) for example in examples])
    given = {"shown": frozenset(), "tried": {}, "under_way": frozenset(), **others}
    return SampleView(examples, row, 1.0, draw=0, seed=0, **given)


def test_a_run_in_rungs_ends_with_a_winner_that_was_run_on_all():
    """The seed begins with one rung; the winner is completed where that fits into the budget."""
    witness = Witness(WORLD)
    state = run(start(SETTINGS, WORLD.student), SerialExecutor(witness)).state
    assert len(witness.rolled_out) == len(set(witness.rolled_out)) == state.tally.rollouts <= 300
    counts = [standing.examples for standing in state.standings]
    assert counts[state.best] == len(SETTINGS.validation)
    assert min(counts) == SETTINGS.rungs.first
    assert any(isinstance(each.origin, Revalidation) for each in state.history)


@pytest.mark.parametrize("window", [1, 3])
def test_the_order_of_answers_changes_nothing(window):
    """Rungs, early stops and revalidations included: one request at a time, or many at once."""
    settings = replace(SETTINGS, window=window, sampler=Looks(shares_order=window == 1))
    expected = run(start(settings, WORLD.student), SerialExecutor(WORLD)).state
    for seed in range(3):
        executor = VirtualTimeExecutor(WORLD, 7, durations(seed))
        assert outcome(run(start(settings, WORLD.student), executor).state) == outcome(expected)


def test_a_proposal_runs_the_parent_only_until_it_has_its_failures():
    """No look more than it takes; what the reflection sees are failures alone."""
    recording = Recording()
    state = run(start(SETTINGS, WORLD.student), SerialExecutor(WORLD), [recording]).state
    for settlement in state.history:
        if isinstance(settlement.origin, Mutation) and settlement.shown:
            parent = state.members[settlement.origin.parent].candidate
            found = [WORLD.rollout(parent, example).score for example in settlement.shown]
            assert set(found) == {0.0}
            assert len(found) <= SETTINGS.failures_shown


def test_known_failures_come_first_and_shown_ones_last():
    """Then those that were not run, as many as are allowed; passed ones never."""
    examples = tuple(range(8))
    known = {0: 0.0, 1: 1.0, 2: 0.5, 3: 0.0}
    ranked = Looks(unknown=2)(view(examples, known, shown=frozenset({3}), tried={2: 1}))
    assert ranked[0] == 0
    assert set(ranked[1:3]) < {4, 5, 6, 7}
    assert ranked[3:] == (3, 2)
    assert set(Looks()(view(examples, known, under_way=frozenset({0, 4})))) == {2, 3, 5, 6, 7}


@given(st.lists(scores(), min_size=1, max_size=6), st.data())
def test_a_gate_that_stops_early_says_what_it_would_have_said(parent, data):
    """Whatever the scores, as long as they lie within their span."""
    child = data.draw(st.lists(scores(), min_size=len(parent), max_size=len(parent)))
    lowest, highest = min([*parent, *child]), max([*parent, *child])
    gate = data.draw(st.sampled_from((strict_improvement, at_least_as_good, Margin())))
    seen = 0
    while True:
        more = examples_to_decide(gate, child[:seen], [parent], lowest=lowest, highest=highest)
        if more <= 0:
            break
        seen += more
    assert (more == 0) == gate(child, [parent])


def test_a_margin_asks_for_a_share_of_what_can_be_gained():
    """One of eight failures is luck; two are a quarter. Of partial credit a quarter of the rest."""
    nothing = [0.0] * 8
    assert not Margin()([1.0, *nothing[1:]], [nothing])
    assert Margin()([1.0, 1.0, *nothing[2:]], [nothing])
    assert Margin()([0.85, 0.85], [[0.8, 0.8]])
    assert not Margin()([0.84, 0.84], [[0.8, 0.8]])
    assert not Margin()([1.0], [[1.0]])


@given(score_matrices(holes=False))
def test_estimates_rank_as_means_do_where_all_is_known(matrix):
    """Siblings that were run on the same examples."""
    parents = [(), *[(0,)] * (len(matrix) - 1)]
    found = estimated(matrix, parents, span=1.0)
    means = matrix.mean(axis=1)
    siblings = range(1, len(matrix))
    for one in siblings:
        for other in siblings:
            if means[one] > means[other] + 1e-9:
                assert found.means[one] > found.means[other] - 1e-9
    assert (found.deviations > 0).all()


def test_more_examples_make_an_interval_narrower_and_luck_counts_less():
    """A child with five of five is not yet better than its parent with 38 of 40."""
    parent, child = np.full(40, 1.0), np.full(40, np.nan)
    parent[:2] = 0.0
    child[10:15] = 1.0
    found = standings(estimated(np.array([parent, child]), [(), (0,)]), np.array([parent, child]))
    assert [each.examples for each in found] == [40, 5]
    assert found[1].high - found[1].low > found[0].high - found[0].low
    assert abs(found[1].estimate - found[0].estimate) < 0.05


def test_rungs_are_due_by_share_and_by_pace():
    """Half of what comes after a head start validates further, and reflections do not run away."""
    rungs = Rungs(share=0.5, pace=8.0, head_start=100)
    assert not rungs.is_due(rollouts=100, revalidated=0, reflections=10)
    assert rungs.is_due(rollouts=130, revalidated=10, reflections=10)
    assert not rungs.is_due(rollouts=130, revalidated=20, reflections=10)
    assert rungs.is_due(rollouts=50, revalidated=50, reflections=19)

"""The default search: validation in steps, minibatches with something to learn, estimates."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.caution import Cautious
from dspy_gepa.core.components import every
from dspy_gepa.core.estimate import estimated
from dspy_gepa.core.gate import Margin, at_least_as_good, examples_to_decide, strict_improvement
from dspy_gepa.core.proposal import Mutation, Revalidation
from dspy_gepa.core.sampling import FailureFirstSampler, SampleView, epoch_minibatch
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import PoolView, SoftEstimate, by_estimate
from dspy_gepa.core.sizing import Trial, chosen_size
from dspy_gepa.core.standing import Scale, standings
from dspy_gepa.core.state import Settings
from dspy_gepa.core.streams import stream
from dspy_gepa.run.loop import run_loop
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
    sampler=FailureFirstSampler(),
    minibatch_sizes=(4,),
    stops_early=True,
    validation_schedule=ValidationSchedule(),
    ranking=by_estimate,
    selection=SoftEstimate(),
    components=every,
    gate=Margin(),
)


def text(wording):
    """A candidate with one text."""
    return Candidate.of({"only": wording})


def view(examples, known, **others):
    """What a sampler sees where these scores are known."""
    row = np.array([known.get(example, np.nan) for example in examples])
    given = {"reflected_examples": frozenset(), "tried": {}, "under_way": frozenset(), **others}
    return SampleView(examples, row, 1.0, mutation_index=0, seed=0, **given)


def test_a_run_that_validates_in_steps_ends_with_a_winner_that_was_run_on_all():
    """The seed begins with the first examples; the winner is completed if the budget allows it."""
    witness = Witness(WORLD)
    state = run_loop(start(SETTINGS, WORLD.student), SerialExecutor(witness)).state
    assert len(witness.rolled_out) == len(set(witness.rolled_out)) == state.tally.rollouts <= 300
    counts = [standing.examples for standing in state.standings]
    assert counts[state.best] == len(SETTINGS.validation)
    assert min(counts) == SETTINGS.validation_schedule.first
    further = [each for each in state.history if isinstance(each.origin, Revalidation)]
    assert further
    assert all(each.origin.hold.rollouts == each.charge.rollouts for each in further)


@pytest.mark.parametrize("window", [1, 3])
def test_the_order_of_answers_changes_nothing(window):
    """Early stops and revalidations included: one request at a time, or many at once."""
    settings = replace(SETTINGS, window=window)
    expected = run_loop(start(settings, WORLD.student), SerialExecutor(WORLD)).state
    for seed in range(3):
        executor = VirtualTimeExecutor(WORLD, 7, durations(seed))
        assert outcome(run_loop(start(settings, WORLD.student), executor).state) == outcome(
            expected
        )


def test_a_minibatch_holds_failures_and_successes():
    """It is what was looked at, failures first; where all of that is right, more is looked at. What
    was right all through is never reflected on."""
    recording = Recording()
    state = run_loop(start(SETTINGS, WORLD.student), SerialExecutor(WORLD), [recording]).state
    kinds = set()
    for record in state.history:
        if isinstance(record.origin, Mutation) and record.reflected_examples:
            parent = state.members[record.origin.parent].candidate
            found = [WORLD.rollout(parent, example).score for example in record.reflected_examples]
            assert len(found) == SETTINGS.minibatch_sizes[0]
            assert found == sorted(found)
            assert found[0] == 0.0
            first = record.origin.drawn_examples[: SETTINGS.minibatch_sizes[0]]
            if set(record.reflected_examples) != set(first):
                assert {WORLD.rollout(parent, example).score for example in first} == {1.0}
            kinds.add(tuple(found))
    assert len(kinds) > 2


def test_the_epochs_minibatch_comes_first_and_then_what_is_known_to_fail():
    """Then those that were not run, as many as are allowed; known successes never again."""
    examples = tuple(range(10))
    known = {0: 0.0, 1: 1.0, 2: 0.5, 3: 0.0}
    sampler = FailureFirstSampler(unknown=2)
    seen = view(
        examples, known, reflected_examples=frozenset({3}), tried={2: 1}, under_way=frozenset({9})
    )
    for draw in range(6):
        looks = sampler(replace(seen, mutation_index=draw))
        batch = looks[:3]
        assert batch == epoch_minibatch(examples, 3, draw, seed=0)
        ranked = [example for example in (0, 3, 2) if example not in batch]
        assert list(looks[3 : 3 + len(ranked)]) == ranked
        unknown = looks[3 + len(ranked) :]
        assert len(unknown) == 2
        assert set(unknown) < {4, 5, 6, 7, 8}


def test_the_size_that_gained_most_is_chosen_most_and_others_still():
    """By gain for what it costs; by chance alone before anything was gained."""
    even = Counter(chosen_size((3, 5, 8), [Trial(3, 0.0, 20.0)], stream(0, n)) for n in range(300))
    assert min(even.values()) > 70
    trials = [Trial(3, 0.0, 20.0), Trial(5, 0.02, 20.0), Trial(8, 0.08, 20.0)] * 5
    sizes = Counter(chosen_size((3, 5, 8), trials, stream(0, n)) for n in range(300))
    assert sizes[8] > 250
    few = [Trial(8, 0.08, 20.0), Trial(3, 0.0, 20.0)]
    assert 0 < sum(chosen_size((3, 8), few, stream(0, n)) == 3 for n in range(300)) < 150


def test_a_size_of_which_children_lose_less_is_chosen_more():
    """What rejected children lost tells sizes apart before anything was gained, and so does what
    was paid for the same gain."""
    lost = [Trial(3, -0.01, 20.0), Trial(5, -0.2, 20.0), Trial(8, -0.2, 20.0)] * 6
    sizes = Counter(chosen_size((3, 5, 8), lost, stream(0, n)) for n in range(300))
    assert sizes[3] > 200
    paid = [Trial(3, 0.05, 15.0), Trial(8, 0.05, 45.0)] * 6
    assert sum(chosen_size((3, 8), paid, stream(0, n)) == 3 for n in range(300)) > 200


def test_a_run_shows_as_many_examples_as_were_chosen():
    """Of the sizes that it may choose from each at some time; the order of answers is no matter."""
    settings = replace(SETTINGS, minibatch_sizes=(2, 5), window=3)
    state = run_loop(start(settings, WORLD.student), SerialExecutor(WORLD)).state
    mutations = [each for each in state.history if isinstance(each.origin, Mutation)]
    assert {each.origin.size for each in mutations} == {2, 5}
    shown = [(len(each.reflected_examples), each.origin) for each in mutations]
    # Fewer only where fewer fitted into what was left.
    assert all(count in (0, origin.size, len(origin.drawn_examples)) for count, origin in shown)
    executor = VirtualTimeExecutor(WORLD, 7, durations(1))
    assert outcome(run_loop(start(settings, WORLD.student), executor).state) == outcome(state)


@pytest.mark.parametrize("limit", range(30, 120, 10))
def test_what_is_left_is_spent_on_a_rewrite_that_is_shown_fewer_examples(limit):
    """Where a minibatch of eight no longer fits, one of two may: less is left than that needs."""
    settings = replace(SETTINGS, minibatch_sizes=(2, 8), limits=Limits(metric_calls=limit))
    state = run_loop(start(settings, WORLD.student), SerialExecutor(WORLD)).state
    most = 2 * (2 + ValidationSchedule().first)  # the parent and the child, gate and validation
    assert 0 <= limit - state.tally.metric_calls < most


def test_a_lead_over_the_seed_counts_as_far_as_it_is_sure():
    """Luck on two examples does not rank above the seed; the same rate on twenty does."""
    few, many = np.full((2, 40), np.nan), np.full((2, 40), np.nan)
    for matrix, count in ((few, 2), (many, 20)):
        matrix[0, :] = np.tile((0.0, 1.0), 20)
        matrix[1, :count] = 1.0
    for matrix, best in ((few, 0), (many, 1)):
        pool = PoolView(tuple(map(text, "ab")), matrix, matrix, 1, 0, parents=((), (0,)))
        pool = replace(pool, training=np.empty((2, 0)))
        assert by_estimate(pool)[1] > by_estimate(pool)[0]
        assert Cautious()(pool)[0] == pytest.approx(by_estimate(pool)[0])
        assert np.argmax(Cautious()(pool)) == best


def test_an_equal_child_is_as_probably_worse_as_better_on_a_minibatch():
    """Because it holds the parent's successes as well: of failures alone, luck is always a gain."""
    random = np.random.default_rng(0)
    for rate in (0.2, 0.5, 0.8):
        parent, child = (random.random((4000, 3)) < rate for _ in range(2))
        pairs = list(zip(child.tolist(), parent.tolist(), strict=True))
        better = sum(strict_improvement(one, [other]) for one, other in pairs)
        worse = sum(strict_improvement(other, [one]) for one, other in pairs)
        assert abs(better - worse) < 200


def test_a_score_beyond_the_bounds_takes_them_away():
    """A gate is not decided early by a highest score that a score has exceeded: of 0 to 100 with
    the usual perfect score of 1, a child that is worse on one example may still be better."""

    @dataclass(frozen=True)
    class Percent(RuleWorld):
        def rollout(self, candidate, example):
            found = super().rollout(candidate, example)
            worse_on_one = example % 4 == 0 and "rule" in candidate["a"] + candidate["b"]
            return replace(found, score=50.0 if worse_on_one else 60 + 40 * found.score)

    settings = replace(SETTINGS, gate=strict_improvement)
    state = run_loop(
        start(settings, WORLD.student), SerialExecutor(Percent(names=("a", "b")))
    ).state
    rejected = [each.verdict.reason for each in state.history if each.verdict.kind == "rejected"]
    assert not [reason for reason in rejected if "better on 1 examples" in reason]


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
    assert (np.diag(found.covariance) > 0).all()


def test_more_examples_make_an_interval_narrower_and_luck_counts_less():
    """A child with five of five is not yet better than its parent with 38 of 40."""
    parent, child = np.full(40, 1.0), np.full(40, np.nan)
    parent[:2] = 0.0
    child[10:15] = 1.0
    scores = np.array([parent, child])
    means = estimated(scores, [(), (0,)]).means
    found = standings(means, scores, Scale.of(scores, 0.0, 1.0))
    assert [each.examples for each in found] == [40, 5]
    assert found[1].high - found[1].low > found[0].high - found[0].low
    assert abs(found[1].estimate - found[0].estimate) < 0.05


def test_revalidations_are_due_by_share_and_by_pace():
    """Half of what comes after a head start validates further, and reflections do not run away."""
    schedule = ValidationSchedule()
    assert not schedule.is_due(rollouts=100, revalidated=0, reflections=10)
    assert schedule.is_due(rollouts=130, revalidated=10, reflections=10)
    assert not schedule.is_due(rollouts=130, revalidated=20, reflections=10)
    assert schedule.is_due(rollouts=50, revalidated=50, reflections=19)

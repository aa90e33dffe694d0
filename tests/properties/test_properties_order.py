"""The run is the same in whatever order its answers come, in one thread or in many."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.proposal import Merge
from dspy_gepa.core.sampling import EpochSampler
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import decide, start
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.testing.orders import (
    OrderedExecutor,
    VirtualTimeExecutor,
    durations,
    newest_first,
    oldest_first,
    shuffled,
)
from dspy_gepa.testing.strategies import settings, worlds
from dspy_gepa.testing.witness import Witness, outcome
from dspy_gepa.testing.worlds import ChanceWorld, RuleWorld

CASES = worlds().flatmap(lambda world: st.tuples(st.just(world), settings(world)))


def finished(world, settings, executor):
    """What the run comes to."""
    try:
        return outcome(run_loop(start(settings, world.student), executor).state)
    finally:
        executor.close()


@given(CASES, st.integers(0, 999))
def test_the_order_of_answers_changes_nothing(case, seed):
    """First in first out, last in first out, shuffled, and by simulated durations: one run, over
    all windows, budgets, overlaps of the sets, with and without merges."""
    world, settings = case
    expected = finished(world, settings, OrderedExecutor(world, oldest_first))
    executors = [
        SerialExecutor(world),
        OrderedExecutor(world, newest_first),
        OrderedExecutor(world, shuffled(seed)),
        VirtualTimeExecutor(world, 3, durations(seed)),
    ]
    for executor in executors:
        assert finished(world, settings, executor) == expected


@given(CASES, st.integers(0, 999))
def test_late_and_repeated_answers_change_nothing(case, seed):
    """Where every answer comes three times, the second and third at any later moment, the run is
    the one in which it comes once, and the work is done once."""
    world, settings = case
    expected = finished(world, settings, SerialExecutor(world))
    witness = Witness(world)
    executor = OrderedExecutor(witness, shuffled(seed), copies=3)
    assert finished(world, settings, executor) == expected
    assert len(witness.rolled_out) == len(set(witness.rolled_out))


@given(CASES, st.integers(0, 999))
def test_no_answer_is_of_use_to_an_ended_run(case, seed):
    """When a run has ended by itself, every answer that it ever got decides nothing any more."""
    world, settings = case
    witness = Witness(world)
    state = run_loop(start(settings, world.student), OrderedExecutor(witness, shuffled(seed))).state
    assert {decide(state, answer) for answer in witness.answers} <= {()}


def nosy_selection(view, random):
    """A parent that depends on everything that a selection may look at."""
    known = view.ticket + view.spent + len(view.candidates) + int(np.nansum(view.scores))
    return (known + random.randrange(3)) % len(view.candidates)


def nosy_components(view):
    """A component that depends on everything that a component selector may look at."""
    pool = view.pool
    known = (
        pool.ticket + pool.spent + len(pool.candidates) + len(pool.scores) + view.rewrites_before
    )
    return (view.called[(known + view.parent) % len(view.called)],)


@given(CASES, st.integers(0, 999))
def test_strategies_see_nothing_that_depends_on_timing(case, seed):
    """Whatever strategies look at, the order of answers does not show in it."""
    world, settings = case
    settings = replace(settings, selection=nosy_selection, components=nosy_components)
    expected = finished(world, settings, SerialExecutor(world))
    for order in (newest_first, shuffled(seed)):
        assert finished(world, settings, OrderedExecutor(world, order)) == expected


@pytest.mark.parametrize("num_threads", [1, 2, 8])
@hypothesis_settings(max_examples=hypothesis_settings().max_examples // 3)
@given(case=CASES)
def test_real_threads_change_nothing(num_threads, case):
    """One, two or eight threads give the run of the serial executor."""
    world, settings = case
    expected = finished(world, settings, SerialExecutor(world))
    assert finished(world, settings, ThreadedExecutor(world, num_threads)) == expected


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("names", [("only",), ("a", "b", "c")])
def test_a_run_that_learns_is_the_same_in_every_order(window, names):
    """The same holds on a task on which the search makes progress and merges."""
    world = RuleWorld(names=names)
    settings = Settings(
        train=tuple(range(8)),
        validation=tuple(range(4, 14)),
        limits=Limits(metric_calls=250),
        window=window,
    )
    expected = finished(world, settings, SerialExecutor(world))
    for seed in range(4):
        assert finished(world, settings, OrderedExecutor(world, shuffled(seed))) == expected
    members, history, *_ = expected
    assert len(members) > 3
    assert len(names) == 1 or any(isinstance(s.origin, Merge) for s in history)


def test_a_child_that_a_member_has_too_changes_nothing_that_is_issued():
    """How far a proposal with the texts of a member has come does not choose what that member is
    run on next."""
    world = ChanceWorld(
        names=("first", "second"),
        scores=(0.0, 1.0),
        words=2,
        silence=0.0,
        refusal=0.0,
        crashes=0.0,
        feedback_calls=0,
        seed=381,
    )
    settings = Settings(
        train=(0, 1),
        validation=(0, 1),
        limits=Limits(metric_calls=9),
        frozen=("first",),
        sampler=EpochSampler(1),
        validation_schedule=ValidationSchedule(
            seed_examples=1, first=1, step=1, pace=1.0, head_start=0
        ),
        window=2,
        skip_perfect_score=False,
        use_merge=False,
    )
    expected = finished(world, settings, SerialExecutor(world))
    assert finished(world, settings, OrderedExecutor(world, shuffled(1), copies=3)) == expected

"""A run is its events: it can be replayed, and carried on from any of them."""

from dataclasses import replace
from functools import reduce

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dspy_gepa.core.proposal import Merge, Mutation
from dspy_gepa.core.search import decide, evolve, requests, start
from dspy_gepa.core.work import Stop
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.orders import OrderedExecutor, VirtualTimeExecutor, durations, shuffled
from dspy_gepa.testing.strategies import settings, worlds
from dspy_gepa.testing.witness import Recording, Witness, outcome

EXAMPLES = hypothesis_settings().max_examples
CASES = worlds().flatmap(
    lambda world: st.tuples(st.just(world), settings(world, max_metric_calls=50))
)


@given(CASES, st.integers(0, 999))
def test_replaying_gives_every_state_again(case, seed):
    """Applying the events one by one to the start gives the state after each of them."""
    world, settings = case
    recording = Recording()
    run_loop(start(settings, world.student), OrderedExecutor(world, shuffled(seed)), [recording])
    state = start(settings, world.student)
    for event, expected in zip(recording.events, recording.states, strict=True):
        state = evolve(state, event)
        assert state == expected
        assert outcome(state) == outcome(expected)


@hypothesis_settings(max_examples=EXAMPLES // 3)
@given(CASES, st.integers(0, 999))
def test_a_run_can_be_carried_on_from_any_event(case, seed):
    """Whenever a run breaks off, replaying its events and asking again for what is outstanding
    ends in the same run, and pays only for what was not answered. Of each run, every third
    moment is tried, or every one if many cases are asked for."""
    world, settings = case
    recording = Recording()
    begun = start(settings, world.student)
    executor = VirtualTimeExecutor(world, 3, durations(seed))
    expected = run_loop(begun, executor, [recording]).state
    every = 1 if EXAMPLES > 100 else 3
    for count in range(seed % every, len(recording.events) + 1, every):
        state = reduce(evolve, recording.events[:count], begun)
        witness = Witness(world)
        rest = Recording()
        resumed = run_loop(state, OrderedExecutor(witness, shuffled(count)), [rest]).state
        assert outcome(resumed) == outcome(expected)
        assert len(state.known) + len(witness.rolled_out) == len(expected.known)
        assert reduce(evolve, [*recording.events[:count], *rest.events], begun) == resumed


@given(CASES, st.data())
def test_a_state_can_be_branched(case, data):
    """Carrying on from an old state leaves the run that went on from it as it was."""
    world, settings = case
    recording = Recording()
    expected = run_loop(start(settings, world.student), SerialExecutor(world), [recording]).state
    before = outcome(expected)
    for _ in range(3):
        old = data.draw(st.sampled_from(recording.states))
        stopped = reduce(evolve, decide(old, Stop("branch")), old)
        assert requests(stopped) == ()
        assert outcome(run_loop(old, SerialExecutor(world)).state) == before
    assert outcome(expected) == before


@given(CASES, st.integers(0, 999), st.data())
def test_a_stop_at_any_moment_asks_for_nothing_more(case, seed, data):
    """After a stop nothing is requested or issued; answers still in flight are counted, and may
    complete a proposal."""
    world, settings = case
    recording = Recording()
    run_loop(start(settings, world.student), OrderedExecutor(world, shuffled(seed)), [recording])
    state = data.draw(st.sampled_from(recording.states))
    in_flight = requests(state)
    tally, issued = state.tally, len(state.history) + len(state.live)
    for event in decide(state, Stop("enough")):
        state = evolve(state, event)
    witness = Witness(world)
    for request in in_flight:
        assert requests(state) == ()
        for event in decide(state, witness(request)):
            state = evolve(state, event)
    assert replace(state.tally, proposals=0) == replace(tally, proposals=0) + witness.tally
    assert state.tally.proposals == sum(
        isinstance(each.origin, Mutation | Merge) for each in state.history
    )
    assert len(state.history) + len(state.live) == issued
    assert state.tally.metric_calls <= settings.limits.metric_calls
    assert state.ending

"""What the search says that it spent is what was done, and never more than was allowed."""

from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.events import Advanced, Ended
from dspy_gepa.core.proposal import Validating
from dspy_gepa.core.search import start
from dspy_gepa.run.loop import run
from dspy_gepa.testing.orders import OrderedExecutor, VirtualTimeExecutor, durations, shuffled
from dspy_gepa.testing.strategies import settings, worlds
from dspy_gepa.testing.witness import Recording, Witness

CASES = worlds().flatmap(lambda world: st.tuples(st.just(world), settings(world)))


@given(CASES, st.integers(0, 999))
def test_the_tally_is_the_workers_own_count(case, seed):
    """Rollouts, metric calls and reflection calls are as many as the worker counted; no pair of
    candidate and example is carried out twice; all of it was charged to some proposal."""
    world, settings = case
    witness = Witness(world)
    state = run(start(settings, world.student), OrderedExecutor(witness, shuffled(seed))).state
    assert state.tally == witness.tally
    assert len(witness.rolled_out) == len(set(witness.rolled_out)) == len(state.known)
    assert set(state.charged) == set(state.known)
    feedback = sum(getattr(answer, "metric_calls", 0) for answer in witness.answers)
    charges = sum(rollout.charge for rollout in state.known.values()) + feedback
    assert state.spent == charges == sum(settlement.charge for settlement in state.history)


@given(CASES, st.integers(0, 999))
def test_the_limit_holds_after_every_event(case, seed):
    """What is spent and what live proposals hold never exceed the limit together, nor does what
    was really done; and no proposal ever costs more than it held."""
    world, settings = case
    recording = Recording()
    executor = VirtualTimeExecutor(world, 4, durations(seed))
    run(start(settings, world.student), executor, [recording])
    for state in recording.states:
        held = sum(proposal.origin.hold for proposal in state.live)
        assert state.spent + held <= settings.max_metric_calls
        assert state.available == settings.max_metric_calls - state.spent - held
        assert state.tally.metric_calls <= settings.max_metric_calls
        assert state.tally.rollouts <= state.spent + held
        assert len(state.live) <= settings.window
    final = recording.states[-1]
    assert all(settlement.charge <= settlement.origin.hold for settlement in final.history)


@given(CASES)
def test_a_run_ends_for_a_reason(case):
    """Every run ends, saying why, and the last event says it."""
    world, settings = case
    recording = Recording()
    state = run(start(settings, world.student), OrderedExecutor(world), [recording]).state
    assert recording.events[-1] == Ended(state.ending)
    assert [event for event in recording.events if isinstance(event, Ended)] == [
        Ended(state.ending)
    ]


@given(CASES)
def test_tickets_are_issued_and_committed_in_order(case):
    """Live proposals follow on the history without a gap, at any moment."""
    world, settings = case
    recording = Recording()
    run(start(settings, world.student), OrderedExecutor(world, shuffled(1)), [recording])
    for state in recording.states:
        first = len(state.history)
        tickets = list(range(first, first + len(state.live)))
        assert [proposal.ticket for proposal in state.live] == tickets


@given(CASES)
def test_a_discovery_counts_what_was_paid_before_its_validation(case):
    """With one proposal at a time, a member's count is all that was charged when it went into
    validation."""
    world, settings = case
    recording = Recording()
    state = run(start(settings, world.student), OrderedExecutor(world), [recording]).state
    feedback, paid = 0, {0: 0}
    for event, after in zip(recording.events, recording.states, strict=True):
        feedback += getattr(getattr(event, "reflection", None), "metric_calls", 0)
        if isinstance(event, Advanced) and isinstance(event.phase, Validating):
            paid[event.ticket] = feedback + sum(r.charge for r in after.known.values())
    if settings.window == 1:
        for member in state.members:
            assert member.discovery_metric_calls == paid[member.ticket]

"""What the search says that it spent is what was done, and never more than was allowed."""

from dataclasses import astuple, replace

from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.budget import NOTHING, Tally
from dspy_gepa.core.events import Advanced, Ended
from dspy_gepa.core.proposal import Merge, Mutation, Revalidation, Validating
from dspy_gepa.core.search import start
from dspy_gepa.core.work import ReflectionAnswer, RemarkAnswer
from dspy_gepa.run.loop import run_loop
from dspy_gepa.testing.orders import OrderedExecutor, VirtualTimeExecutor, durations, shuffled
from dspy_gepa.testing.strategies import settings, worlds
from dspy_gepa.testing.witness import Recording, Witness


def attempts(history):
    """How many proposals are attempts at a new candidate."""
    return sum(isinstance(each.origin, Mutation | Merge) for each in history)


def is_within(one, other):
    """Whether a tally is at most the other, in every unit."""
    return all(a <= b for a, b in zip(astuple(one), astuple(other), strict=True))


CASES = worlds().flatmap(lambda world: st.tuples(st.just(world), settings(world)))


@given(CASES, st.integers(0, 999))
def test_the_tally_is_the_workers_own_count(case, seed):
    """Rollouts, metric calls and reflection calls are as many as the worker counted; no pair of
    candidate and example is carried out twice; all of it was charged to some proposal."""
    world, settings = case
    witness = Witness(world)
    state = run_loop(start(settings, world.student), OrderedExecutor(witness, shuffled(seed))).state
    assert replace(state.tally, proposals=0) == witness.tally
    assert state.tally.proposals == attempts(state.history)
    assert len(witness.rolled_out) == len(set(witness.rolled_out)) == len(state.known)
    assert set(state.charged) == {*state.known, *state.remarks}
    remarked = [answer.key for answer in witness.answers if isinstance(answer, RemarkAnswer)]
    assert len(remarked) == len(set(remarked)) == len(state.remarks)
    reflections = [answer for answer in witness.answers if isinstance(answer, ReflectionAnswer)]
    done = (*state.known.values(), *state.remarks.values(), *reflections)
    charges = [each.charge for each in done]
    assert state.spent == sum(charges, Tally(proposals=state.tally.proposals))
    assert state.spent == sum((record.charge for record in state.history), NOTHING)


@given(CASES, st.integers(0, 999))
def test_limit_order_and_ending_hold_after_every_event(case, seed):
    """What is spent and what live proposals hold never exceed the limit together, nor does what
    was really done; no proposal ever costs more than it held; live proposals follow on the history
    without a gap; and the run ends, saying why, with its last event alone."""
    world, settings = case
    recording = Recording()
    executor = VirtualTimeExecutor(world, 4, durations(seed))
    final = run_loop(start(settings, world.student), executor, [recording]).state
    limit = settings.limits.metric_calls
    for state in recording.states:
        held = sum((proposal.origin.hold for proposal in state.live), NOTHING)
        assert state.committed == state.spent + held
        assert state.committed.metric_calls <= limit
        assert is_within(replace(state.tally, metric_calls=0), state.committed)
        assert state.tally.metric_calls <= limit
        # What validates a member further runs beside the window.
        begun = [each for each in state.live if not isinstance(each.origin, Revalidation)]
        assert len(begun) <= (settings.window if state.members else 2)
        first = len(state.history)
        tickets = list(range(first, first + len(state.live)))
        assert [proposal.ticket for proposal in state.live] == tickets
    for record in final.history:
        assert is_within(record.charge, record.origin.hold)
    assert final.ending
    ended = Ended(final.ending, final.is_broken, final.causes)
    assert recording.events[-1] == ended
    assert [event for event in recording.events if isinstance(event, Ended)] == [ended]


@given(CASES)
def test_a_discovery_counts_what_was_paid_before_its_validation(case):
    """With one proposal at a time, a member's count is all that was paid when it went into
    validation, and the seed's whole validation, beside which the first proposal is tried."""
    world, settings = case
    recording = Recording()
    state = run_loop(start(settings, world.student), OrderedExecutor(world), [recording]).state
    feedback, paid = 0, {0: 0}
    for event, after in zip(recording.events, recording.states, strict=True):
        feedback += getattr(getattr(event, "remark", None), "metric_calls", 0)
        if isinstance(event, Advanced) and isinstance(event.phase, Validating):
            begun = [key for p in after.live if p.ticket == 0 for key in p.evaluations[0].keys]
            unknown = sum(key not in after.known for key in begun)
            paid[event.ticket] = feedback + len(after.known) + unknown
    if settings.window == 1:
        for member in state.members:
            assert member.discovery_metric_calls == paid[member.ticket]

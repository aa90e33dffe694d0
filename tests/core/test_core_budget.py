"""Limits: what fits, what does not, and that a run keeps to any mix of them."""

from dataclasses import astuple, replace

import pytest
from faltering import Faltering
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dspy_gepa.core.budget import FREE, NOTHING, Limits, Tally, Usage
from dspy_gepa.core.events import Ended
from dspy_gepa.core.proposal import Merge, Mutation
from dspy_gepa.core.search import start
from dspy_gepa.core.work import RequestFailure
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.pace import Pace
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.orders import OrderedExecutor, newest_first, shuffled
from dspy_gepa.testing.strategies import settings, worlds
from dspy_gepa.testing.witness import Recording, Witness, outcome

COUNTED = ("metric_calls", "rollouts", "reflection_calls", "proposals")
MIXES = st.builds(
    Limits,
    metric_calls=st.none() | st.integers(1, 80),
    rollouts=st.none() | st.integers(1, 80),
    reflection_calls=st.none() | st.integers(0, 20),
    proposals=st.none() | st.integers(0, 20),
).filter(lambda limits: limits != Limits())


def attempts(history):
    """How many proposals are attempts at a new candidate."""
    return sum(isinstance(each.origin, Mutation | Merge) for each in history)


@st.composite
def cases(draw):
    """A world, and settings with a mix of limits."""
    world = draw(worlds())
    return world, replace(draw(settings(world)), limits=draw(MIXES))


def must_end(state):
    """A stopper that fails where a run goes on for ever."""
    assert len(state.history) < 500, "the run does not end"
    return ""


def finished(case, worker, *, order=0):
    """The end of a run, and what was recorded on the way."""
    world, settings = case
    recording, executor = Recording(), OrderedExecutor(worker, shuffled(order))
    pace = Pace(executor.slots, pauses_seconds=())
    begun = start(settings, world.student)
    return run_loop(begun, executor, [recording], [must_end], pace).state, recording


def over(limits, tally):
    """The units of which a tally has more than is allowed."""
    return [
        unit
        for unit in COUNTED
        if getattr(limits, unit) is not None and getattr(tally, unit) > getattr(limits, unit)
    ]


@pytest.mark.parametrize("unit", COUNTED)
def test_what_can_be_counted_may_be_used_to_the_last(unit):
    """Exactly the limit fits, one more does not, and the unit is named; other units are free."""
    limits, used = Limits(**{unit: 10}), Tally(100, 100, 100, 100, 100, 100.0)
    used = replace(used, **{unit: 7})
    assert limits.exceeded_limit(used=used, more=Tally(**{unit: 3})) == ""
    assert limits.exceeded_limit(used=used, more=Tally(**{unit: 4})) == unit


@given(
    st.dictionaries(st.sampled_from(COUNTED), st.integers(0, 40), min_size=1),
    st.tuples(*[st.integers(0, 30)] * 4),
    st.tuples(*[st.integers(0, 30)] * 4),
)
def test_the_unit_that_lacks_most_is_named(given_limits, used, more):
    """Whatever others lack too: 26 of 30 rollouts end a run, and not 26 of 300 metric calls."""
    units = dict(
        zip(("rollouts", "metric_calls", "reflection_calls", "proposals"), used, strict=True)
    )
    following = dict(zip(units, more, strict=True))
    unit = Limits(**given_limits).exceeded_limit(used=Tally(**units), more=Tally(**following))
    shares = {
        name: (units[name] + following[name]) / limit if limit else float("inf")
        for name, limit in given_limits.items()
        if units[name] + following[name] > limit
    }
    assert (unit in shares) == bool(shares)
    if unit:
        assert shares[unit] == max(shares.values())


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(rollouts=30), "30 rollouts"),
        (Limits(metric_calls=300, rollouts=30), "30 rollouts"),
        (Limits(metric_calls=20, rollouts=30), "20 metric calls"),
    ],
)
def test_the_most_rollouts_are_told_in_the_unit_that_limits_them(limits, words):
    """Also where another one was given beside it."""
    assert limits.rollouts_in_words == words


@pytest.mark.parametrize("unit", ["total_tokens", "usd"])
def test_of_what_is_known_afterwards_something_must_be_left(unit):
    """A proposal may begin with any amount left, however little, and not with nothing."""
    limits = Limits(**{unit: 10})
    assert limits.exceeded_limit(used=Tally(**{unit: 9}), more=Tally(1, 1, 1, 1)) == ""
    assert limits.exceeded_limit(used=Tally(**{unit: 10}), more=NOTHING) == unit


def test_without_a_limit_there_is_no_exceeded_limit():
    """Nothing is asked for that was not given."""
    everything = Tally(10**9, 10**9, 10**9, 10**9, 10**9, 1e9)
    assert Limits().exceeded_limit(used=everything, more=everything) == ""
    assert Limits().afford(Usage(10**9, 1e9), FREE, Usage(10**9, 1e9)) == ""


@pytest.mark.parametrize(
    ("used", "running", "following", "unit"),
    [
        (Usage(5, 0.5), Usage(3, 0.25), Usage(2, 0.25), ""),
        (Usage(6, 0.5), Usage(3, 0.25), Usage(2, 0.25), "total_tokens"),
        (Usage(5, 0.5), Usage(4, 0.25), Usage(2, 0.25), "total_tokens"),
        (Usage(5, 0.5), Usage(3, 0.25), Usage(2, 0.5), "usd"),
        (Usage(10, 0.0), FREE, FREE, "total_tokens"),
        (Usage(0, 1.0), FREE, FREE, "usd"),
        (Usage(9, 0.9), FREE, FREE, ""),
    ],
)
def test_what_runs_and_what_follows_must_be_affordable(used, running, following, unit):
    """Their expected cost and what is used may reach the limit; of a limit that is reached already
    not even what is free is begun."""
    assert Limits(total_tokens=10, usd=1.0).afford(used, running, following) == unit


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), ""),
        (Limits(metric_calls=30), "20/30 metric calls"),
        (
            Limits(rollouts=9, reflection_calls=8, proposals=7),
            "10/9 rollouts, 3/8 reflection calls, 4/7 proposals",
        ),
        (
            Limits(total_tokens=10**6, usd=2.5, seconds=7200.0),
            "123456/1000000 tokens, 0.125/2.5 USD, 61.5/7200 seconds",
        ),
    ],
)
def test_limits_are_shown_with_what_is_used(limits, expected):
    """Units without a limit are not shown."""
    used = Tally(10, 20, 3, 4, 123_456, 0.125)
    assert limits.shown(used, seconds=61.5) == expected


def test_limits_are_listed():
    """Those that were given."""
    assert Limits(metric_calls=400, usd=1.5).listed() == "400 metric calls, 1.5 USD"
    assert Limits().listed() == "none"


def test_seconds_are_shown_where_they_are_known():
    """Who cannot say how long it took does not say it."""
    assert Limits(metric_calls=5, seconds=60.0).shown(NOTHING) == "0/5 metric calls"


@given(cases(), st.integers(0, 999))
def test_no_limit_is_exceeded_after_any_event(case, order):
    """In any mix of units, under any order of answers: what was done, and what is spent, held and
    lost together; and the ledger is the worker's own count."""
    world, settings = case
    witness = Witness(world)
    state, recording = finished(case, witness, order=order)
    for each in recording.states:
        assert over(settings.limits, each.tally) == over(settings.limits, each.committed) == []
    assert replace(state.tally, proposals=0) == witness.tally
    assert state.tally.proposals == attempts(state.history)
    assert (state.lost, state.live) == (NOTHING, ())


@given(cases(), st.integers(0, 999))
def test_no_limit_is_exceeded_by_what_is_lost(case, order):
    """The same where requests are carried out in vain and cost metric calls all the same. More than
    the limit is promised only where the run ends in that very moment."""
    world, settings = case
    faltering = Faltering(world, seed=order)
    witness = Witness(faltering)
    state, recording = finished(case, witness, order=order)
    ended = next(i for i, event in enumerate(recording.events) if isinstance(event, Ended))
    for position, each in enumerate(recording.states):
        assert over(settings.limits, each.tally) == []
        if position < ended - 1:
            assert over(settings.limits, each.committed) == []
    assert replace(state.tally, proposals=0) == witness.tally
    setbacks = [answer for answer in witness.answers if isinstance(answer, RequestFailure)]
    assert state.lost == sum((setback.lost for setback in setbacks), NOTHING)
    assert len(witness.rolled_out) == len(set(witness.rolled_out)) == len(state.known)


@hypothesis_settings(max_examples=hypothesis_settings().max_examples // 2)
@given(cases(), st.integers(0, 999))
def test_limits_do_not_depend_on_the_order_of_answers(case, order):
    """Whatever the mix, the run is that of the serial executor."""
    world, settings = case
    begun = start(settings, world.student)
    expected = outcome(run_loop(begun, SerialExecutor(world), stoppers=[must_end]).state)
    for chosen in (newest_first, shuffled(order)):
        executor = OrderedExecutor(world, chosen)
        assert outcome(run_loop(begun, executor, stoppers=[must_end]).state) == expected


@given(cases())
def test_a_run_that_a_limit_ends_names_its_unit(case):
    """With what is used and allowed, and never a unit that has no limit."""
    world, settings = case
    state, _ = finished(case, world)
    if not state.ending.startswith("the budget is used up"):
        return
    named = [
        unit
        for unit in COUNTED
        if (limit := getattr(settings.limits, unit)) is not None
        and f": {getattr(state.used, unit)} of {limit} {unit.replace('_', ' ')}," in state.ending
    ]
    assert len(named) == 1


@given(cases())
def test_every_proposal_costs_at_most_what_it_held(case):
    """Unit by unit, costs that are known afterwards left out."""
    state, _ = finished(case, case[0])
    for record in state.history:
        pairs = zip(astuple(record.charge), astuple(record.origin.hold), strict=True)
        assert all(charge <= hold for charge, hold in pairs)


def test_what_is_left_of_limits():
    """By unit what was not used, never below 0; what is not limited stays so."""
    limits = Limits(metric_calls=30, rollouts=5, usd=1.0, seconds=60.0)
    used = Tally(metric_calls=10, rollouts=9, reflection_calls=3, usd=0.25)
    left = Limits(metric_calls=20, rollouts=0, usd=0.75, seconds=45.0)
    assert limits.left(used, seconds=15.0) == left
    assert limits.left(NOTHING) == limits

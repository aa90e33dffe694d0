"""Resuming: wherever a run broke off, it goes on as if it had not."""

import contextlib
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from journals import SETTINGS, WORLD, carried_on, recorded

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.caution import Cautious
from dspy_gepa.core.events import Ended, Reflected, RolledOut
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import decide, evolve, requests, start
from dspy_gepa.core.selection import by_estimate
from dspy_gepa.core.work import ReflectionKey, RequestFailure, Stop
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.store.resume import reopening, replayed, unanswered
from dspy_gepa.store.run_dir import RunDir, read_run
from dspy_gepa.testing.orders import OrderedExecutor, VirtualTimeExecutor, durations, shuffled
from dspy_gepa.testing.strategies import settings, worlds
from dspy_gepa.testing.witness import Witness, outcome
from dspy_gepa.testing.worlds import RuleWorld

CASES = worlds().flatmap(
    lambda world: st.tuples(st.just(world), settings(world, max_metric_calls=50))
)
EXAMPLES = hypothesis_settings().max_examples
THOROUGH = EXAMPLES > 100


class Plugged(VirtualTimeExecutor):
    """An executor in which, after so many answers, one is a breakdown or Ctrl-C is pressed; after
    so many more the process is as good as dead."""

    def __init__(self, worker, seed, answers, more, said):
        super().__init__(worker, 8, durations(seed))
        self._answers, self._more, self._said = answers, more, said

    def next_answer(self, timeout_seconds=None):
        self._answers -= 1
        if self._answers == -1:
            if isinstance(self._said, RequestFailure):
                super().next_answer(timeout_seconds)
                return self._said
            raise KeyboardInterrupt
        if self._answers < -1 - self._more:
            raise Dead
        return super().next_answer(timeout_seconds)


class Dead(BaseException):
    """Stands for a signal that nothing can catch."""


@hypothesis_settings(max_examples=EXAMPLES // 2)
@given(CASES, st.integers(0, 999), st.data())
def test_a_file_that_ends_at_any_byte_can_be_carried_on(tmp_path_factory, case, seed, data):
    """However much of the journal reached the file, in whatever order answers come then, the run
    ends the same, pays for nothing that it knows, and its journal holds it from begin to end."""
    world, settings = case
    folder = tmp_path_factory.mktemp("run")
    expected = carried_on(folder, world, settings, VirtualTimeExecutor(world, 3, durations(seed)))
    journal = folder / "events.jsonl"
    content = journal.read_bytes()
    # The header is on the disk before anything else is.
    header = content.index(b"\n") + 1
    journal.write_bytes(content[: data.draw(st.integers(header, len(content)))])
    known = {event.key for event in read_run(folder).events if hasattr(event, "key")}
    witness = Witness(world)
    executor = data.draw(
        st.sampled_from(
            [
                SerialExecutor(witness),
                OrderedExecutor(witness, shuffled(seed)),
                ThreadedExecutor(witness, 3),
            ]
        )
    )
    found = carried_on(folder, world, settings, executor)
    executor.close()
    assert outcome(found) == outcome(expected)
    assert len(witness.rolled_out) == len(set(witness.rolled_out))
    assert set(witness.rolled_out) == set(expected.known) - known
    assert outcome(read_run(folder).state) == outcome(expected)


def test_every_prefix_of_a_run_that_learns_can_be_carried_on(tmp_path):
    """On a task with merges and traces: from the file that holds any number of its events."""
    expected = carried_on(tmp_path / "whole")
    lines = (tmp_path / "whole" / "events.jsonl").read_bytes().splitlines(keepends=True)
    manifest = (tmp_path / "whole" / "manifest.json").read_bytes()
    assert len(expected.members) > 2
    for count in range(1, len(lines) + 1, 7):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(manifest)
        (folder / "events.jsonl").write_bytes(b"".join(lines[:count]))
        assert outcome(carried_on(folder)) == outcome(expected)


@given(CASES, st.integers(0, 999), st.data())
def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path_factory, case, seed, data):
    """Ctrl-C or a broken server at any moment, any number of answers afterwards, perhaps killed
    before they are all in; again and again: at last the run is the one that nothing disturbed."""
    world, settings = case
    folder = tmp_path_factory.mktemp("run")
    _, expected = recorded(world, settings)
    # Where no reflection ever gives a text, they are asked again each time.
    assume(not expected.is_broken)
    witness = Witness(world)
    for said in data.draw(
        st.lists(st.sampled_from([None, RequestFailure(RolloutKey("none", 0), "away")]), max_size=3)
    ):
        answers, more = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 9))
        with contextlib.suppress(Dead):
            carried_on(folder, world, settings, Plugged(witness, seed, answers, more, said))
    found = carried_on(folder, world, settings)
    assert outcome(found) == outcome(expected)
    assert outcome(read_run(folder).state) == outcome(expected)


def test_a_run_that_came_to_its_end_is_left_as_it_is(tmp_path):
    """Carrying it on asks for nothing and writes nothing."""
    expected = carried_on(tmp_path)
    before = (tmp_path / "events.jsonl").read_bytes()
    witness = Witness(WORLD)
    assert outcome(carried_on(tmp_path, executor=SerialExecutor(witness))) == outcome(expected)
    assert witness.answers == []
    assert (tmp_path / "events.jsonl").read_bytes() == before


def stopped(state):
    """The events of a run that is stopped now, everything in flight being answered."""
    events = []
    for said in [Stop("enough"), *(WORLD(request) for request in requests(state))]:
        for event in decide(state, said):
            events.append(event)
            state = evolve(state, event)
    return events


def test_what_was_decided_while_ending_is_taken_back():
    """Stopped after any event: the answers that still came are kept. What was committed then is
    committed anew, because without the stop another proposal would have been issued in between:
    merely going on after it leads to another run."""
    begun = start(SETTINGS, WORLD.student)
    events, expected = recorded()
    others = 0
    for count in range(0, len(events), 1 if THOROUGH else 3):
        state = replayed(begun, events[:count])
        told = [*events[:count], *stopped(state)]
        found = reopening(begun, told)
        if decide(state, None):
            continue  # a stop is heard between decisions only
        assert found is not None
        assert found.kept == count
        assert found.state == replayed(begun, [*told[:count], *found.events])
        answered = {event.key for event in told if isinstance(event, RolledOut)}
        assert answered == set(found.state.known)
        assert outcome(run_loop(found.state, SerialExecutor(WORLD)).state) == outcome(expected)
        merely = replayed(begun, [event for event in told if not isinstance(event, Ended)])
        others += outcome(run_loop(merely, SerialExecutor(WORLD)).state) != outcome(expected)
    assert others


class JudgedWorld(RuleWorld):
    """A task with objectives, one of which the last validation example alone is judged by."""

    def rollout(self, candidate, example):
        rollout = super().rollout(candidate, example)
        names = ("exact", "late") if example == 9 else ("exact",)
        return replace(rollout, objectives=dict.fromkeys(names, rollout.score))


MEANS = replace(SETTINGS, window=1)
SCHEDULE = ValidationSchedule(seed_examples=5, first=2, step=2)
BY_SEARCH = {
    "means": (WORLD, MEANS),
    "objectives": (JudgedWorld(names=WORLD.names), replace(MEANS, frontier="objective")),
    "validation_schedule": (
        WORLD,
        replace(MEANS, validation_schedule=SCHEDULE, ranking=by_estimate),
    ),
    "cautious": (
        WORLD,
        replace(MEANS, validation_schedule=SCHEDULE, ranking=by_estimate, caution=Cautious(0.7)),
    ),
}
LARGER = {"adopt": ["limits.metric_calls"]}


def with_calls(settings, metric_calls):
    return replace(settings, limits=Limits(metric_calls=metric_calls))


@pytest.mark.parametrize(("world", "settings"), BY_SEARCH.values(), ids=BY_SEARCH)
def test_a_budget_that_was_used_up_by_the_seed_can_be_raised(tmp_path, world, settings):
    """Step by step: the run is the one that had the largest budget from the beginning, all members
    run on the same examples where their means are compared; each pair is paid once."""
    _, expected = recorded(world, settings)
    witness = Witness(world)
    for calls in (1, 3, 4):
        small = carried_on(
            tmp_path, world, with_calls(settings, calls), SerialExecutor(witness), **LARGER
        )
        assert small.tally.metric_calls == len(witness.rolled_out) == calls
        assert small.ending.startswith("the budget is used up")
        assert outcome(read_run(tmp_path).state) == outcome(small)
    found = carried_on(tmp_path, world, settings, SerialExecutor(witness), **LARGER)
    assert len(found.members) > 1
    assert outcome(found) == outcome(expected)
    assert outcome(read_run(tmp_path).state) == outcome(expected)
    assert len(witness.rolled_out) == len(set(witness.rolled_out))


def test_a_small_budget_that_is_used_up_stays_so(tmp_path):
    """The same call again asks for nothing and writes nothing."""
    settings = with_calls(SETTINGS, 3)
    expected = carried_on(tmp_path, settings=settings)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    witness = Witness(WORLD)
    found = carried_on(tmp_path, settings=settings, executor=SerialExecutor(witness))
    assert outcome(found) == outcome(expected)
    assert witness.answers == []
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_smaller_budget_ends_a_run_as_it_is(tmp_path):
    """Also one that would not have been enough for its seed: what was found stays."""
    expected = carried_on(tmp_path)
    for calls in (3, 90):
        found = carried_on(tmp_path, settings=with_calls(SETTINGS, calls), **LARGER)
        assert outcome(found)[:-1] == outcome(expected)[:-1]


@pytest.mark.parametrize(("world", "settings"), BY_SEARCH.values(), ids=BY_SEARCH)
def test_killed_while_a_budget_is_raised_a_run_goes_on(tmp_path, world, settings, monkeypatch):
    """Between the two files in which that is written down: it can be read, and carried on."""
    _, expected = recorded(world, settings)
    carried_on(tmp_path, world, with_calls(settings, 3))

    def die(*_):
        raise Dead

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "_write", die)
        with pytest.raises(Dead):
            carried_on(tmp_path, world, settings, **LARGER)
    assert read_run(tmp_path).state.tally.metric_calls == 3
    assert outcome(carried_on(tmp_path, world, settings, **LARGER)) == outcome(expected)
    assert outcome(read_run(tmp_path).state) == outcome(expected)


@given(CASES, st.integers(0, 999), st.data())
def test_any_budget_can_be_raised(tmp_path_factory, case, seed, data):
    """By however much, and whatever came of it before: no pair is paid twice, and the directory
    holds the run."""
    world, settings = case
    folder, witness = tmp_path_factory.mktemp("run"), Witness(world)
    budgets = data.draw(st.lists(st.integers(1, 20), max_size=3))
    for calls in [*sorted(budgets), max([50, *budgets])]:
        executor = VirtualTimeExecutor(witness, 3, durations(seed))
        found = carried_on(folder, world, with_calls(settings, calls), executor, **LARGER)
        assert found.tally.metric_calls <= calls
        assert found.tally.metric_calls == witness.tally.metric_calls
        assert outcome(read_run(folder).state) == outcome(found)
    assert len(witness.rolled_out) == len(set(witness.rolled_out))


def test_replaying_is_applying():
    """The state after the events is the state of the run that made them."""
    events, state = recorded()
    assert replayed(start(SETTINGS, WORLD.student), events) == state


def test_a_server_that_was_away_is_asked_as_often_again():
    """A run that gave up after so many vain attempts at a request does not give up at the first
    one when it is carried on."""
    state = start(SETTINGS, WORLD.student)
    key = requests(reduce(evolve, decide(state, None), state))[0].key
    busy, events = RequestFailure(key, "busy", is_lasting=False), list(decide(state, None))
    for _ in range(SETTINGS.max_setbacks_in_a_row):
        events += decide(replayed(state, events), busy)
    assert replayed(state, events).is_broken
    resumed = reopening(state, events).state
    for _ in range(SETTINGS.max_setbacks_in_a_row - 1):
        assert resumed.ending == ""
        resumed = replayed(resumed, decide(resumed, busy))
    assert resumed.ending == ""


@pytest.mark.parametrize("calls", [20, 31, 48])
def test_a_larger_budget_makes_the_published_search_the_one_that_had_it(tmp_path, calls):
    """One proposal at a time, the whole set for every child: a budget says only when it ends."""
    settings = replace(SETTINGS, window=1)
    _, expected = recorded(settings=settings)
    small = carried_on(tmp_path, settings=with_calls(settings, calls))
    assert 0 < len(small.history) < len(expected.history)
    found = carried_on(tmp_path, settings=settings, **LARGER)
    assert outcome(found) == outcome(expected)


@pytest.mark.parametrize(("trial_calls", "expected"), [(0, [1, 1]), (4, [5, 1])])
def test_rollouts_that_a_kill_took_count_as_what_they_may_have_cost(trial_calls, expected):
    """One each, so that a limit holds for what is paid for and not for what is answered. Where the
    metric is tried first, the first rollout may have made those calls too."""
    begun = start(SETTINGS, WORLD.student)
    keys = [RolloutKey(WORLD.student.digest, example) for example in SETTINGS.validation[:2]]
    lost = [each.lost for each in unanswered(begun, [], keys, trial_calls=trial_calls)]
    assert [(each.rollouts, each.metric_calls) for each in lost] == [(1, n) for n in expected]
    assert not any(each.reflection_calls for each in lost)


@pytest.mark.parametrize(("made", "expected"), [(1, 2), (7, 7)])
def test_a_reflection_that_a_kill_took_counts_as_the_dearest_before(made, expected):
    """A proposer of somebody's own may make more calls than are held for it."""
    events = [
        Reflected(replace(event.reflection, lm_calls=made))
        if isinstance(event, Reflected)
        else event
        for event in recorded()[0]
    ]
    begun = start(replace(SETTINGS, reflection_calls=2), WORLD.student)
    (lost,) = unanswered(begun, events, [ReflectionKey(99)])
    assert lost.lost.reflection_calls == expected

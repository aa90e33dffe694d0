"""Resuming: wherever a run broke off, it goes on as if it had not."""

import contextlib
import os
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from journals import SETTINGS, WORLD, carried_on, recorded

from dspy_gepa.core.events import Ended, RolledOut
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.search import decide, evolve, requests, start
from dspy_gepa.core.work import Setback, Stop
from dspy_gepa.run.loop import run
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.store.resume import reopening, replayed
from dspy_gepa.store.run_dir import read_run
from dspy_gepa.testing.orders import OrderedExecutor, VirtualTimeExecutor, durations, shuffled
from dspy_gepa.testing.strategies import settings, worlds
from dspy_gepa.testing.witness import Witness, outcome

CASES = worlds().flatmap(
    lambda world: st.tuples(st.just(world), settings(world, max_metric_calls=50))
)
EXAMPLES = hypothesis_settings().max_examples


@pytest.fixture(autouse=True, scope="module")
def _quick_disk():
    """Flushing matters when the power fails, which does not happen here, and takes most of the
    time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


class Plugged(VirtualTimeExecutor):
    """An executor in which, after so many answers, one is a breakdown or Ctrl-C is pressed; after
    so many more the process is as good as dead."""

    def __init__(self, worker, seed, answers, more, said):
        super().__init__(worker, 8, durations(seed))
        self._answers, self._more, self._said = answers, more, said

    def next_answer(self, timeout_seconds=None):
        self._answers -= 1
        if self._answers == -1:
            if isinstance(self._said, Setback):
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
    journal.write_bytes(content[: data.draw(st.integers(0, len(content)))])
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
    """On a task with merges and traces: from the file that holds any number of its lines."""
    expected = carried_on(tmp_path / "whole")
    lines = (tmp_path / "whole" / "events.jsonl").read_bytes().splitlines(keepends=True)
    manifest = (tmp_path / "whole" / "manifest.json").read_bytes()
    assert len(expected.members) > 2
    for count in range(0, len(lines) + 1, 7):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(manifest)
        (folder / "events.jsonl").write_bytes(b"".join(lines[:count]))
        assert outcome(carried_on(folder)) == outcome(expected)


@hypothesis_settings(max_examples=EXAMPLES)
@given(CASES, st.integers(0, 999), st.data())
def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path_factory, case, seed, data):
    """Ctrl-C or a broken server at any moment, any number of answers afterwards, perhaps killed
    before they are all in; again and again: at last the run is the one that nothing disturbed."""
    world, settings = case
    folder = tmp_path_factory.mktemp("run")
    _, expected = recorded(world, settings)
    witness = Witness(world)
    for said in data.draw(
        st.lists(st.sampled_from([None, Setback(RolloutKey("none", 0), "away")]), max_size=3)
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
    for count in range(len(events)):
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
        assert outcome(run(found.state, SerialExecutor(WORLD)).state) == outcome(expected)
        merely = replayed(begun, [event for event in told if not isinstance(event, Ended)])
        others += outcome(run(merely, SerialExecutor(WORLD)).state) != outcome(expected)
    assert others


def test_replaying_is_applying():
    """The state after the events is the state of the run that made them."""
    events, state = recorded()
    assert replayed(start(SETTINGS, WORLD.student), events) == state


def test_a_server_that_was_away_is_asked_as_often_again():
    """A run that gave up after so many vain attempts at a request does not give up at the first
    one when it is carried on."""
    state = start(SETTINGS, WORLD.student)
    key = requests(reduce(evolve, decide(state, None), state))[0].key
    busy, events = Setback(key, "busy", is_lasting=False), list(decide(state, None))
    for _ in range(SETTINGS.max_setbacks_in_a_row):
        events += decide(replayed(state, events), busy)
    assert replayed(state, events).is_broken
    resumed = reopening(state, events).state
    for _ in range(SETTINGS.max_setbacks_in_a_row - 1):
        assert resumed.ending == ""
        resumed = replayed(resumed, decide(resumed, busy))
    assert resumed.ending == ""

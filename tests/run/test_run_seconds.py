"""A limit in seconds: after that nothing is begun, and what runs is finished."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import RequestFailure
from dspy_gepa.run import loop
from dspy_gepa.run.pace import Pace
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.testing.witness import Witness
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(names=("a", "b"))
SETTINGS = Settings(
    train=tuple(range(6)),
    validation=tuple(range(4, 10)),
    limits=Limits(metric_calls=150, seconds=60.0),
)


class Clock:
    """Time that passes while work is carried out."""

    def __init__(self, monkeypatch):
        self.now_seconds = 1000.0
        monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: self.now_seconds))

    def taking(self, seconds, worker=WORLD):
        """A worker that takes so long for a request."""

        def slow(request):
            self.now_seconds += seconds
            return worker(request)

        return slow


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_after_so_many_seconds_nothing_is_begun(clock):
    """Six requests of ten seconds fit into sixty; the reason names the seconds."""
    witness = Witness(clock.taking(10.0))
    finish = loop.run_loop(start(SETTINGS, WORLD.student), SerialExecutor(witness))
    assert len(witness.answers) == 6
    assert finish.state.ending == "the budget is used up: 60 seconds have passed"
    assert (finish.state.is_broken, finish.error, finish.seconds) == (False, None, 60.0)


def test_what_runs_is_finished(clock):
    """A request that began in time is answered and counted, however long it takes."""
    witness = Witness(clock.taking(61.0))
    executor = ThreadedExecutor(witness, 4)
    state = loop.run_loop(start(SETTINGS, WORLD.student), executor).state
    executor.close()
    assert (len(witness.answers), len(state.known), state.tally.metric_calls) == (1, 1, 1)
    assert state.ending.endswith("60 seconds have passed")


def test_each_call_has_its_own_seconds(clock):
    """A run that is carried on begins to count anew, and comes to what it would have come to."""
    state = start(SETTINGS, WORLD.student)
    calls = 0
    while not state.ending or "seconds" in state.ending:
        state = loop.run_loop(replace(state, ending=""), SerialExecutor(clock.taking(2.0))).state
        calls += 1
    without = replace(SETTINGS, limits=Limits(metric_calls=150))
    expected = loop.run_loop(start(without, WORLD.student), SerialExecutor(WORLD)).state
    assert calls > 2
    assert (list(state.history), state.ending) == (list(expected.history), expected.ending)


def test_other_limits_end_it_before(clock):
    """Whatever is used up first."""
    settings = replace(SETTINGS, limits=Limits(metric_calls=60, seconds=60.0))
    state = loop.run_loop(start(settings, WORLD.student), SerialExecutor(clock.taking(0.01))).state
    assert " of 60 metric calls, " in state.ending


def test_a_pause_ends_with_the_seconds(clock):
    """Who waits for a busy server does not wait longer than the run may take."""
    waits = []

    class Waiting(SerialExecutor):
        def next_answer(self, timeout_seconds=None):
            if self.in_flight:
                return super().next_answer()
            waits.append(timeout_seconds)
            clock.now_seconds += timeout_seconds
            return None

    def busy(request):
        return RequestFailure(request.key, "busy", is_lasting=False)

    pace = Pace(1, (45.0,), clock=lambda: clock.now_seconds)
    state = loop.run_loop(start(SETTINGS, WORLD.student), Waiting(busy), pace=pace).state
    assert waits == [45.0, 15.0]
    assert state.ending.endswith("60 seconds have passed")

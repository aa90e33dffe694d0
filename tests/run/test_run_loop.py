"""The loop: listeners, interrupts and breakdowns."""

import threading
from collections import Counter
from dataclasses import replace
from functools import reduce

import pytest

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.events import Ended, Issued, RolledOut
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.search import evolve, start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import (
    ReflectionAnswer,
    ReflectionRequest,
    RequestFailure,
    RolloutAnswer,
    RolloutRequest,
    Stop,
)
from dspy_gepa.run.loop import RunOutcome, run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.testing.orders import OrderedExecutor, VirtualTimeExecutor
from dspy_gepa.testing.witness import Recording, Witness, outcome
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(names=("a", "b"))
SETTINGS = Settings(
    train=tuple(range(6)), validation=tuple(range(4, 10)), limits=Limits(metric_calls=150), window=3
)


def begin():
    """A run that has not begun."""
    return start(SETTINGS, WORLD.student)


class Interrupted(VirtualTimeExecutor):
    """An executor in which Ctrl-C is pressed while it waits for the given answers."""

    def __init__(self, worker, at):
        super().__init__(worker, 3, lambda _request: 1.0)
        self._at = set(at)
        self.waits = 0
        self.submitted = []

    def submit(self, request):
        self.submitted.append(request.key)
        super().submit(request)

    def next_answer(self, timeout_seconds=None):
        self.waits += 1
        if self.waits in self._at:
            raise KeyboardInterrupt
        return super().next_answer(timeout_seconds)


def test_listeners_are_told_everything_in_order():
    """Each listener gets every event with the state after it, the first listener first."""
    one, other, order = Recording(), Recording(), []
    listeners = [
        one,
        lambda *_: order.append("one"),
        other,
        lambda *_: order.append("other"),
    ]
    finish = run_loop(begin(), SerialExecutor(WORLD), listeners)
    assert one.events == other.events
    assert one.states[-1] is finish.state
    assert reduce(evolve, one.events, begin()) == finish.state
    assert order == ["one", "other"] * len(one.events)


def test_each_request_is_submitted_once():
    """However long it takes to be answered, a request is handed out once."""
    executor = Interrupted(WORLD, at=())
    finish = run_loop(begin(), executor)
    assert len(executor.submitted) == len(set(executor.submitted))
    rollouts = [key for key in executor.submitted if isinstance(key, RolloutKey)]
    assert set(rollouts) == set(finish.state.known)


@pytest.mark.parametrize("reflects_beside", [False, True])
def test_no_more_runs_at_once_than_there_are_slots(reflects_beside):
    """Reflections take none of them where the executor says so, and are then begun at once."""
    running, most = Counter(), Counter()

    class Counting(VirtualTimeExecutor):
        def submit(self, request):
            running[isinstance(request, ReflectionRequest)] += 1
            most["rollouts"] = max(most["rollouts"], running[False])
            most["all"] = max(most["all"], running.total())
            super().submit(request)

        def next_answer(self, timeout_seconds=None):
            answer = super().next_answer(timeout_seconds)
            running[isinstance(answer, ReflectionAnswer)] -= 1
            return answer

    executor = Counting(WORLD, 2, lambda request: 1.0 + isinstance(request, ReflectionRequest))
    executor.reflects_beside = reflects_beside
    run_loop(begin(), executor)
    assert most["rollouts"] == 2
    assert (most["all"] > 2) == reflects_beside


def test_an_answer_that_comes_after_its_loss_is_not_asked_for_again():
    """A cluster that begins lost work again tells of the loss first: what was lined up once more
    is not carried out a second time."""

    class Late(SerialExecutor):
        held = None
        losses = 3

        def next_answer(self, timeout_seconds=None):
            if self.held is not None:
                answer, self.held = self.held, None
                return answer
            answer = super().next_answer(timeout_seconds)
            if not self.losses or not isinstance(answer, RolloutAnswer):
                return answer
            self.losses, self.held = self.losses - 1, answer
            lost = {"rollouts": 1, "metric_calls": 1, "is_of_process": True}
            return RequestFailure(answer.key, "lost", is_lasting=False, **lost)

        @property
        def in_flight(self):
            return super().in_flight + (self.held is not None)

    witness = Witness(WORLD)
    state = run_loop(begin(), Late(witness)).state
    assert state.lost.rollouts > 0
    assert len(witness.rolled_out) == len(set(witness.rolled_out))


def test_what_an_executor_was_told_ends_the_run():
    """Whoever told it, from whatever thread."""
    executor = SerialExecutor(WORLD)
    executor.interrupt(Stop("enough"))
    finish = run_loop(begin(), executor)
    assert (finish.state.ending, finish.is_stopped) == ("enough", True)


@pytest.mark.parametrize("wait", [1, 2, 7, 20, 33])
def test_the_first_interrupt_finishes_what_runs(wait):
    """After Ctrl-C nothing new is begun, what runs is counted, and the run has a result."""
    witness = Witness(WORLD)
    executor = Interrupted(witness, at=[wait])
    recording = Recording()
    finish = run_loop(begin(), executor, [recording])
    assert finish.state.ending == "interrupted from the keyboard"
    assert (finish.state.is_broken, finish.error, executor.in_flight) == (False, None, 0)
    assert replace(finish.state.tally, proposals=0) == witness.tally
    ended = recording.events.index(Ended("interrupted from the keyboard"))
    assert sum(isinstance(event, RolledOut) for event in recording.events[ended:]) <= 3


def test_an_interrupted_run_can_be_carried_on():
    """The events of an interrupted run without its end lead to the run that nobody interrupted."""
    recording = Recording()
    run_loop(begin(), Interrupted(WORLD, at=[25]), [recording])
    events = [event for event in recording.events if not isinstance(event, Ended)]
    resumed = run_loop(reduce(evolve, events, begin()), SerialExecutor(WORLD)).state
    assert outcome(resumed) == outcome(run_loop(begin(), SerialExecutor(WORLD)).state)


def test_the_second_interrupt_is_raised_at_once():
    """Who presses Ctrl-C again does not wait for what runs."""
    with pytest.raises(KeyboardInterrupt):
        run_loop(begin(), Interrupted(WORLD, at=[20, 21]))


def test_an_interrupt_inside_the_serial_worker_is_a_stop():
    """One that a worker raises itself: the request is lost, the run ends in order."""
    calls = []

    def worker(request):
        calls.append(request)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return WORLD(request)

    finish = run_loop(begin(), SerialExecutor(worker))
    assert finish.state.ending == "interrupted from the keyboard"
    assert (len(calls), len(finish.state.members) > 0) == (25, True)


@pytest.mark.parametrize("num_threads", [None, 2])
def test_a_breakdown_ends_the_run_with_its_cause(num_threads):
    """The first breakdown's words and error are kept, and no work is begun after it."""
    errors = [ConnectionError("first"), ConnectionError("second")]

    def worker(request):
        if isinstance(request, ReflectionRequest):
            error = errors[min(request.ticket - 1, 1)]
            return RequestFailure(request.key, f"the server said {error}", error=error)
        return WORLD(request)

    executor = ThreadedExecutor(worker, num_threads) if num_threads else SerialExecutor(worker)
    finish = run_loop(begin(), executor)
    executor.close()
    assert finish.state.is_broken
    assert finish.error in errors
    assert finish.state.ending == f"the server said {finish.error}"
    assert finish.state.tally.reflection_calls == 0
    assert executor.in_flight == 0


def test_a_breakdown_of_the_seed_leaves_no_member():
    """Where the very first rollout breaks, the run ends without a pool."""
    finish = run_loop(
        begin(), SerialExecutor(lambda request: RequestFailure(request.key, "no key"))
    )
    assert (len(finish.state.members), finish.state.ending, finish.error) == (0, "no key", None)


def test_a_stopper_ends_the_run_after_a_commit():
    """As soon as a stopper gives a reason the run ends with it; what runs is still counted, and
    what was committed stays."""
    witness, recording = Witness(WORLD), Recording()
    finish = run_loop(
        begin(),
        Interrupted(witness, at=()),
        [recording],
        [lambda _state: "", lambda state: "three are enough" if len(state.members) > 2 else ""],
    )
    state = finish.state
    assert (state.ending, state.is_broken, finish.error) == ("three are enough", False, None)
    assert len(state.members) == 3
    assert replace(state.tally, proposals=0) == witness.tally
    ended = recording.events.index(Ended("three are enough"))
    assert not [event for event in recording.events[ended:] if isinstance(event, Issued)]


def test_the_first_stopper_with_a_reason_is_the_one_that_is_told():
    """Stoppers are asked in order, for the first time when the seed is in the pool."""
    asked = []

    def never(state):
        asked.append(len(state.members))
        return ""

    reasons = [never, lambda _state: "one", lambda _state: "other"]
    finish = run_loop(begin(), SerialExecutor(WORLD), stoppers=reasons)
    # One after the other, the first proposal is over when the seed is.
    assert (finish.state.ending, asked, len(finish.state.history)) == ("one", [2], 2)


def test_stoppers_are_asked_once_a_commit_at_most():
    """A stopper sees every growth of the history, and a run that it never stops is unchanged."""
    seen = []
    finish = run_loop(
        begin(), SerialExecutor(WORLD), stoppers=[lambda state: seen.append(state) or ""]
    )
    lengths = [len(state.history) for state in seen]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] <= len(finish.state.history)
    assert outcome(finish.state) == outcome(run_loop(begin(), SerialExecutor(WORLD)).state)


def test_a_run_that_has_ended_is_finished_at_once():
    """Carrying on an ended run does nothing and asks nobody."""
    ended = run_loop(begin(), SerialExecutor(WORLD)).state

    def nobody(_request):
        raise AssertionError

    recording = Recording()
    assert run_loop(ended, SerialExecutor(nobody), [recording]) == RunOutcome(ended)
    assert recording.events == []


def test_an_answer_that_nobody_asked_for_does_no_harm():
    """Answers from elsewhere are kept if they are new rollouts, and the run is the same run."""
    stray = WORLD(RolloutRequest(WORLD.student, 99, traced=False))

    class Stray(OrderedExecutor):
        strays = 3

        def next_answer(self, timeout_seconds=None):
            if self.strays:
                self.strays -= 1
                return stray
            return super().next_answer(timeout_seconds)

    expected = run_loop(begin(), SerialExecutor(WORLD)).state
    found = run_loop(begin(), Stray(WORLD)).state
    assert list(found.history) == list(expected.history)
    assert set(found.known) == {*expected.known, stray.key}


def test_it_is_told_whether_somebody_ended_the_run():
    """A stopper, Ctrl-C and the seconds do; the budget and a breakdown are the run's own end."""
    by_stopper = run_loop(begin(), SerialExecutor(WORLD), stoppers=[lambda _state: "enough"])
    by_keyboard = run_loop(begin(), Interrupted(WORLD, at=[7]))
    hurried = replace(SETTINGS, limits=Limits(metric_calls=150, seconds=0.0))
    by_time = run_loop(start(hurried, WORLD.student), SerialExecutor(WORLD))
    assert (by_stopper.is_stopped, by_keyboard.is_stopped, by_time.is_stopped) == (True,) * 3
    broken = run_loop(
        begin(), SerialExecutor(lambda request: RequestFailure(request.key, "no key"))
    )
    finished = run_loop(begin(), SerialExecutor(WORLD))
    again = run_loop(finished.state, SerialExecutor(WORLD))
    assert (broken.is_stopped, finished.is_stopped, again.is_stopped) == (False,) * 3
    assert by_keyboard.was_interrupted
    others = (by_stopper, by_time, broken, finished, again)
    assert not any(each.was_interrupted for each in others)


def test_a_run_in_another_thread_hears_no_ctrl_c():
    """And says that nobody stopped it."""
    finishes = []
    thread = threading.Thread(
        target=lambda: finishes.append(run_loop(begin(), SerialExecutor(WORLD)))
    )
    thread.start()
    thread.join()
    (finish,) = finishes
    assert (finish.is_stopped, finish.was_interrupted) == (False, False)


@pytest.mark.parametrize("num_threads", [2, 3])
def test_a_reflection_takes_no_rollouts_place(num_threads):
    """While one waits for its model, as many rollouts run at once as were asked for."""
    together = threading.Barrier(num_threads + 1, timeout=60)
    begun = threading.Event()

    def worker(request):
        if isinstance(request, ReflectionRequest):
            if request.ticket == 3:
                begun.set()
                together.wait()
        elif begun.is_set() and not met.is_set():
            together.wait()
            met.set()
        return WORLD(request)

    met = threading.Event()
    state = start(replace(SETTINGS, window=8), WORLD.student)
    finish = run_loop(state, ThreadedExecutor(worker, num_threads))
    assert met.is_set()
    assert not finish.state.is_broken
    assert outcome(finish.state) == outcome(run_loop(state, SerialExecutor(WORLD)).state)

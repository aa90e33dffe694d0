"""Patience: what hangs is left behind, is counted as what it was, and is not heard later."""

import threading
from contextvars import ContextVar

import dspy
import label_task
import pytest
from scripted_engine import scripted_lm
from small_worker import SEED, Counted, Program, echo, exact, rolled, worker

from dspy_gepa import GEPA
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import Evidence, ReflectionAnswer, ReflectionRequest
from dspy_gepa.models.catching import Failed
from dspy_gepa.models.timeouts import TimedOut, call_with_timeout

SOON_SECONDS = 0.05


class Hanging:
    """Something that hangs until it is let go."""

    def __init__(self, hangs):
        self.hangs = hangs
        self.has_gone = threading.Event()

    def hang(self):
        self.hangs.hang()

    def let_go(self):
        self.hangs.let_go()
        assert self.has_gone.wait(600)


@pytest.mark.parametrize("timeout_seconds", [None, 60.0])
def test_what_is_quick_enough_is_what_it_is(timeout_seconds):
    """A value, None, or what was raised; in the caller's context, interrupts included."""
    house = ContextVar("house", default="none")
    house.set("ours")
    error = ValueError("wrong")

    def fails():
        raise error

    def interrupts():
        raise KeyboardInterrupt

    assert call_with_timeout(timeout_seconds, house.get) == "ours"
    assert call_with_timeout(timeout_seconds, lambda: None) is None
    raised = call_with_timeout(timeout_seconds, fails)
    assert isinstance(raised, Failed)
    assert raised.error is error
    with pytest.raises(KeyboardInterrupt):
        call_with_timeout(timeout_seconds, interrupts)


def test_without_a_limit_the_caller_does_it_himself():
    """No thread is begun where none is needed."""
    assert call_with_timeout(None, threading.current_thread) is threading.current_thread()


def test_what_takes_longer_is_left_behind(hangs):
    """In a thread that does not keep the process alive; what it says later is not heard."""
    hanging, threads = Hanging(hangs), []

    def call():
        threads.append(threading.current_thread())
        hanging.hang()
        hanging.has_gone.set()
        return "too late"

    said = call_with_timeout(SOON_SECONDS, call)
    assert isinstance(said, Failed)
    assert isinstance(said.error, TimedOut)
    assert str(said.error) == "it took longer than 0.05 seconds"
    assert (threads[0].daemon, hanging.has_gone.is_set()) == (True, False)
    hanging.let_go()
    assert isinstance(said, Failed)


def test_a_program_that_hangs_is_a_failed_rollout(hangs):
    """With the reason as its failure, and no metric call, then or when it is done at last."""
    hanging, counted = Hanging(hangs), Counted(exact)

    class Slow(Program):
        def forward(self, question):
            hanging.hang()
            try:
                return super().forward(question)
            finally:
                hanging.has_gone.set()

    made = worker(Slow(), counted, timeout_seconds=SOON_SECONDS, failure_score=-1.0)
    rollout = rolled(made, traced=True).rollout
    assert (rollout.score, rollout.metric_calls, rollout.charge.metric_calls) == (-1.0, 0, 1)
    assert rollout.failure == "TimedOut: it took longer than 0.05 seconds"
    hanging.let_go()
    assert counted.calls == 0


def test_a_metric_that_hangs_was_called_once(hangs):
    """The rollout has the failure score and says that it was the metric."""
    hanging = Hanging(hangs)

    def slow(gold, pred):
        hanging.hang()
        hanging.has_gone.set()
        return 1.0

    counted = Counted(slow)
    rollout = rolled(worker(metric=counted, timeout_seconds=SOON_SECONDS)).rollout
    assert (rollout.score, rollout.metric_calls) == (0.0, 1)
    assert rollout.failure == "The metric raised TimedOut: it took longer than 0.05 seconds"
    hanging.let_go()
    assert counted.calls == 1


def test_a_reflection_that_hangs_gives_no_text(hangs):
    """Its problem says so; one call of the reflection LM is counted."""
    hanging = Hanging(hangs)

    def reflect(request, descriptions, feedback):
        hanging.hang()
        hanging.has_gone.set()
        return ReflectionAnswer(request.ticket, {"final": "too late"}, lm_calls=1)

    made = worker(reflect=reflect, timeout_seconds=SOON_SECONDS)
    request = ReflectionRequest(7, SEED, ("final",), (Evidence(0, Rollout(0.0)),))
    with dspy.context(lm=scripted_lm(echo)):
        answered = made(request)
    problem = "The reflection raised TimedOut: it took longer than 0.05 seconds"
    assert answered == ReflectionAnswer(7, problem=problem, lm_calls=1)
    hanging.let_go()


@pytest.mark.parametrize("num_threads", [1, 4])
def test_one_hanging_example_does_not_hang_the_run(hangs, num_threads):
    """The run ends, each candidate runs on that example once, and it scores the failure score."""
    runs, lock = [], threading.Lock()

    class Student(dspy.Module):
        def __init__(self):
            super().__init__()
            self.code = dspy.Predict("message -> code")

        def forward(self, message):
            if message.endswith("case 9."):
                with lock:
                    runs.append(self.code.signature.instructions)
                hangs.hang()
            return self.code(message=message)

    optimizer = GEPA(
        label_task.metric,
        max_metric_calls=120,
        num_threads=num_threads,
        reflection_lm=label_task.reflection_lm(),
        timeout_seconds=0.3,
    )
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(Student(), label_task.examples(8), label_task.examples(14)[8:])
    result = optimizer.result
    assert result.stop_reason
    assert result.improved
    assert len(runs) == len(set(runs))
    known = result.state.known
    hung = [rollout for key, rollout in known.items() if key.example == 9]
    assert hung == [rollout for rollout in known.values() if "TimedOut" in rollout.failure]
    assert len(hung) == len(runs)
    assert {(rollout.score, rollout.metric_calls) for rollout in hung} == {(0.0, 0)}

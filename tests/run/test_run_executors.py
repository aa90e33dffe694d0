"""Executors: what each promises beyond the protocol."""

import contextvars
import threading

import pytest

from dspy_gepa.core.work import RolloutRequest
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.testing.conformance import check_executor
from dspy_gepa.testing.orders import (
    OrderedExecutor,
    VirtualTimeExecutor,
    durations,
    newest_first,
    oldest_first,
    shuffled,
)
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld()


def rollout(example):
    """A request that is told from others by its example."""
    return RolloutRequest(WORLD.student, example, traced=False)


def examples_of(executor, examples):
    """The order in which requests for these examples are answered."""
    for example in examples:
        executor.submit(rollout(example))
    return [executor.next_answer().key.example for _ in examples]


@pytest.mark.parametrize(
    "make",
    [
        SerialExecutor,
        lambda worker: ThreadedExecutor(worker, 1),
        lambda worker: ThreadedExecutor(worker, 4),
        lambda worker: OrderedExecutor(worker, newest_first),
        lambda worker: OrderedExecutor(worker, shuffled(3)),
        lambda worker: VirtualTimeExecutor(worker, 3, durations(0)),
    ],
    ids=["serial", "one thread", "four threads", "newest first", "shuffled", "virtual time"],
)
def test_every_executor_keeps_the_protocol(make):
    """Each request is answered once, an interruption is passed on, and the run is the same."""
    check_executor(make)


def test_orders():
    """Requests are answered in the order that is asked for; a shuffled one can be had again."""
    examples = list(range(6))
    assert examples_of(SerialExecutor(WORLD), examples) == examples
    assert examples_of(ThreadedExecutor(WORLD, 1), examples) == examples
    assert examples_of(OrderedExecutor(WORLD, oldest_first), examples) == examples
    assert examples_of(OrderedExecutor(WORLD, newest_first), examples) == examples[::-1]
    mixed = examples_of(OrderedExecutor(WORLD, shuffled(1)), examples)
    assert mixed == examples_of(OrderedExecutor(WORLD, shuffled(1)), examples) != examples


def test_repeated_answers_come_after_the_first():
    """With copies, each answer is given so often, and the work is carried out once."""
    world = RuleWorld()
    executor = OrderedExecutor(world, shuffled(2), copies=3)
    for example in (1, 2):
        executor.submit(rollout(example))
    answers = []
    while executor.in_flight:
        answers.append(executor.next_answer().key.example)
    assert sorted(answers) == [1, 1, 1, 2, 2, 2]
    assert len(world.calls) == 2


def test_virtual_time_runs_requests_side_by_side():
    """Answers come when they would be ready, and the clock shows how long all of it takes."""
    executor = VirtualTimeExecutor(WORLD, 2, lambda request: float(request.example))
    assert examples_of(executor, [5, 1]) == [1, 5]
    assert examples_of(executor, [3, 2]) == [2, 3]
    assert (executor.now_seconds, executor.busy_seconds) == (8.0, 11.0)


def test_threads_see_the_context_in_which_the_executor_was_made():
    """A context variable that was set around the run is set in every thread, and what a request
    sets there stays its own."""
    style = contextvars.ContextVar("style", default="none")
    seen = []

    def worker(request):
        seen.append(style.get())
        style.set("changed by a request")
        return WORLD(request)

    style.set("set by the caller")
    executor = ThreadedExecutor(worker, 2)
    style.set("set too late")
    examples_of(executor, range(6))
    executor.close()
    assert seen == ["set by the caller"] * 6


def test_a_thread_that_hangs_is_not_waited_for():
    """Closing returns while a request is still being carried out."""
    begun, may_end = threading.Event(), threading.Event()

    def worker(request):
        begun.set()
        may_end.wait(timeout=60)
        return WORLD(request)

    executor = ThreadedExecutor(worker, 1)
    executor.submit(rollout(0))
    begun.wait(timeout=60)
    executor.close()
    assert executor.in_flight == 1
    may_end.set()
    assert executor.next_answer(60).key.example == 0


def test_so_many_threads_run_at_once():
    """With three threads, three requests are under way at the same time."""
    all_here = threading.Barrier(3)

    def worker(request):
        all_here.wait(timeout=60)
        return WORLD(request)

    executor = ThreadedExecutor(worker, 3)
    assert sorted(examples_of(executor, range(3))) == [0, 1, 2]
    executor.close()


def test_there_are_no_more_threads_than_were_asked_for_and_they_end():
    """However many requests there are; closing the executor lets them end."""
    seen = set()

    def worker(request):
        seen.add(threading.current_thread())
        return WORLD(request)

    executor = ThreadedExecutor(worker, 2)
    examples_of(executor, range(9))
    executor.close()
    for thread in seen:
        thread.join(timeout=60)
    assert len(seen) <= 2
    assert not any(thread.is_alive() for thread in seen)


def test_an_interrupt_in_a_thread_reaches_the_caller():
    """A KeyboardInterrupt that a worker raises is raised where its answer is asked for."""

    def worker(_request):
        raise KeyboardInterrupt

    executor = ThreadedExecutor(worker, 1)
    executor.submit(rollout(0))
    with pytest.raises(KeyboardInterrupt):
        executor.next_answer()
    assert executor.in_flight == 0
    executor.close()

"""Limits in tokens and USD: what model calls cost is known afterwards only."""

import threading
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.budget import FREE, Limits, Usage
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.streams import stream
from dspy_gepa.core.work import ReflectionRequest, RequestFailure, RolloutAnswer, RolloutRequest
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.pace import Pace
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.testing.orders import OrderedExecutor, VirtualTimeExecutor, durations
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(names=("a", "b"))
SETTINGS = Settings(
    train=tuple(range(6)), validation=tuple(range(4, 10)), limits=Limits(), window=3
)
ROLLOUT, REFLECTION = Usage(100, 0.25), Usage(1000, 2.0)


@dataclass
class Paid:
    """A worker whose model calls cost something, and who counts that himself."""

    rollout: object = lambda request: ROLLOUT
    reflection: object = lambda request: REFLECTION
    total: Usage = FREE
    lock: object = field(default_factory=threading.Lock)

    def __call__(self, request):
        answer = WORLD(request)
        if isinstance(answer, RolloutAnswer):
            cost = self.rollout(request)
            answer = replace(answer, rollout=replace(answer.rollout, usage=cost))
        else:
            cost = self.reflection(request)
            answer = replace(answer, usage=cost)
        with self.lock:
            self.total += cost
        return answer


def finished(limits, worker, executor):
    begun = start(replace(SETTINGS, limits=limits), WORLD.student)
    made = executor(worker)
    state = run_loop(begun, made).state
    made.close()
    return state


def by_threads(worker):
    return ThreadedExecutor(worker, 4)


EXECUTORS = pytest.mark.parametrize(
    "executor", [SerialExecutor, by_threads], ids=["serial", "threads"]
)


@EXECUTORS
@pytest.mark.parametrize(
    ("limits", "unit"),
    [
        (Limits(usd=10.0), "USD"),
        (Limits(total_tokens=5000), "tokens"),
        (Limits(usd=1000.0, total_tokens=4321), "tokens"),
        (Limits(usd=7.3, total_tokens=10**9), "USD"),
    ],
)
def test_where_costs_are_equal_no_limit_is_exceeded(executor, limits, unit):
    """The run ends before the rollout or reflection that would exceed it, and says in which unit;
    less than the dearest of them is left. What it says that it cost is what it cost."""
    worker = Paid()
    state = finished(limits, worker, executor)
    assert worker.total == state.tally.usage
    assert state.ending.startswith("the budget is used up: ")
    assert f" {unit}, " in state.ending
    assert not state.is_broken
    for limit, used, dearest in (
        (limits.usd, state.tally.usd, REFLECTION.usd),
        (limits.total_tokens, state.tally.total_tokens, REFLECTION.total_tokens),
    ):
        assert limit is None or used <= limit
        if unit == ("USD" if limit == limits.usd else "tokens"):
            assert used > limit - dearest


@EXECUTORS
def test_one_rollout_may_cost_more_than_there_is(executor):
    """Nobody knows before it is answered; then the run ends."""
    state = finished(Limits(usd=5.0), Paid(rollout=lambda request: Usage(0, 99.0)), executor)
    assert (state.tally.rollouts, state.tally.usd) == (1, 99.0)


class Accountant(VirtualTimeExecutor):
    """Notes, whenever something is begun, what was used and what all that runs should cost."""

    def __init__(self, worker, slots, seed):
        super().__init__(worker, slots, durations(seed))
        self.worker, self.running, self.expected = worker, [], []
        self.dearest = {RolloutRequest: 0.0, ReflectionRequest: 0.0}
        self.surprises = []
        self.unknown = []
        """How many of the same kind run, where it is not known yet what one costs."""

    def submit(self, request):
        super().submit(request)
        self.running.append(request)
        kinds = [type(each) for each in self.running]
        self.unknown += [kinds.count(kind) for kind, usd in self.dearest.items() if not usd]
        costs = [self.dearest[type(each)] for each in self.running]
        self.expected.append(self.worker.total.usd + sum(costs))
        # What it will have cost more than that, if nothing else is begun.
        self.surprises.append(
            sum(
                max(0.0, cost(each).usd - expected)
                for each, expected in zip(self.running, costs, strict=True)
            )
        )

    def next_answer(self, timeout_seconds=None):
        answer = super().next_answer(timeout_seconds)
        request = next(each for each in self.running if each.key == key_of(answer))
        self.running.remove(request)
        kind = type(request)
        self.dearest[kind] = max(self.dearest[kind], cost(request).usd)
        return answer


def key_of(answer):
    return answer.key


def cost(request):
    """Some amount, the same for the same request."""
    return Usage(0, round(stream("cost", str(request.key)).lognormvariate(0, 1), 3))


@given(st.integers(0, 999), st.integers(1, 6), st.floats(1.0, 60.0))
def test_a_limit_is_exceeded_only_by_what_was_dearer_than_all_before(seed, slots, limit):
    """Whenever something is begun, what was used and what all that runs is expected to cost, each
    as much as the dearest of its kind so far, is within the limit. So more than the limit is spent
    only by what runs at that moment, and no more than it costs above that."""
    executor = Accountant(Paid(cost, cost), slots, seed)
    state = finished(Limits(usd=limit), executor.worker, lambda _worker: executor)
    assert state.tally.usd == pytest.approx(executor.worker.total.usd)
    assert max(executor.unknown) == 1
    assert max(executor.expected) <= limit + 1e-9
    assert state.tally.usd <= limit + executor.surprises[-1] + 1e-9


@EXECUTORS
def test_what_is_free_is_not_limited(executor):
    """Where a cache answers everything, a limit in USD ends nothing."""
    worker = Paid(lambda request: FREE, lambda request: FREE)
    state = finished(Limits(usd=0.01, metric_calls=60), worker, executor)
    assert " metric calls, " in state.ending
    assert state.tally.usage == FREE


def test_what_was_lost_is_part_of_what_was_used():
    """A vain attempt that had to be paid all the same brings the end nearer."""
    paid, attempts = Paid(), []

    def worker(request):
        attempts.append(request.key)
        if isinstance(request, RolloutRequest) and attempts.count(request.key) == 1:
            return RequestFailure(request.key, "busy", is_lasting=False, usage=ROLLOUT)
        return paid(request)

    begun = start(replace(SETTINGS, limits=Limits(usd=20.0)), WORLD.student)
    executor = OrderedExecutor(worker)
    state = run_loop(begun, executor, pace=Pace(executor.slots, pauses_seconds=())).state
    assert state.lost.usage == ROLLOUT.times(state.tally.rollouts)
    assert state.tally.usage == state.lost.usage + paid.total
    assert state.tally.usd <= 20.0

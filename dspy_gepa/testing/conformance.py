"""Checks that an executor or a strategy of your own keeps the promises that the search relies on.

Each raises AssertionError where a promise is broken, and returns nothing if all is well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.components import ComponentSelector, ComponentView
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import PoolView, Selection
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import RolloutRequest, Stop
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.worker import Worker
from dspy_gepa.testing.witness import Witness, outcome
from dspy_gepa.testing.worlds import ChanceWorld

__all__ = ["check_component_selector", "check_executor", "check_selection"]


def check_executor(make: Callable[[Worker], Executor]) -> None:
    """An executor gives every answer once, passes on an interruption, and changes no run."""
    world = ChanceWorld(names=("a", "b"), feedback_calls=1)
    settings = Settings(
        train=tuple(range(6)),
        validation=tuple(range(4, 10)),
        limits=Limits(metric_calls=200),
        window=3,
        feedback_calls=1,
        asked_about=world.names,
    )
    expected = run_loop(start(settings, world.student), SerialExecutor(world)).state
    witness = Witness(world)
    executor = make(witness)
    state = run_loop(start(settings, world.student), executor).state
    executor.close()
    assert outcome(state) == outcome(expected), "the run differs from that of SerialExecutor"
    done = replace(state.tally, proposals=0)
    assert witness.tally == done, "the work that was done differs from what was answered"

    executor = make(world)
    asked = [RolloutRequest(world.student, example, traced=False) for example in range(6)]
    asked = asked[: executor.slots]
    answers = [world(request) for request in asked]
    for request in asked:
        executor.submit(request)
    assert executor.in_flight == len(asked), "in_flight is not what was submitted"
    for remaining in range(len(asked) - 1, -1, -1):
        answer = executor.next_answer()
        assert answer in answers, "an answer comes twice, or is not one that was asked for"
        answers.remove(answer)
        assert executor.in_flight == remaining, "in_flight does not fall by one an answer"
    assert executor.next_answer(0) is None, "an answer comes from nowhere"
    stop = Stop("enough")
    executor.interrupt(stop)
    assert executor.next_answer() == stop, "an interruption is not passed on"
    executor.close()


def check_selection(selection: Selection, view: PoolView, seed: int) -> None:
    """A selection names a member, the same one for the same view and generator."""
    chosen = selection(view, Random(seed))
    assert isinstance(chosen, int), f"{chosen!r} is no member's id"
    assert 0 <= chosen < len(view.scores), f"there is no member {chosen}"
    assert selection(view, Random(seed)) == chosen, "the same view gives another member"


def check_component_selector(selector: ComponentSelector, view: ComponentView) -> None:
    """A selector names components that were called, none twice, at least one."""
    chosen = selector(view)
    assert chosen, "no component is named"
    assert set(chosen) <= set(view.called), f"{chosen} were not all called: {view.called}"
    assert len(set(chosen)) == len(chosen), f"{chosen} names a component twice"
    assert selector(replace(view)) == chosen, "the same view gives other components"

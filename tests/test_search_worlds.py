"""The default search keeps what it reaches in fixed simulated worlds: a quick gate.

The five worlds were picked because in them each constant that is changed below is worth something;
in the mean over worlds most are not, one by one. So the scores claim nothing about other worlds:
claims are made on fresh draws, by `benchmarks/fresh_draws.py`. What makes the search better there
may change the score that is stated here, and the worlds with it.
"""

import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

from dspy_gepa.core import estimate
from dspy_gepa.core.proposal import Mutation, Revalidation
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import ProbablyBest
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from families import Simulated, Worker, by_ours, by_reference, draw, settings_in

WORLDS = (17, 24, 26, 55, 56)
COST = 800
STATED = 0.51


def reached(way=by_ours, **given):
    """The mean expected score, on unseen cases, of what is returned at that cost."""
    return sum(way(draw(number), cost=COST, **given)[-1].score for number in WORLDS) / len(WORLDS)


def test_the_default_search_reaches_the_stated_score():
    """And is above the engine of dspy.GEPA at the same cost."""
    score = reached()
    assert score >= STATED
    assert score > reached(by_reference)


def test_its_calls_go_where_they_are_meant_to_go():
    """A reflection sees three examples or more, a child is validated only if it did better on them
    than its parent, and after a head start about half of the rollouts tell which member is best."""
    task = Simulated(draw(9))
    begun = start(settings_in(task.world, metric_calls=400, seed=0), task.student)
    state = run_loop(begun, SerialExecutor(Worker(task))).state

    def total(candidate, examples):
        keys = [RolloutKey(candidate.digest, example) for example in examples]
        # A child is not run on the last ones where it passes even if it fails on those.
        return sum(state.known[key].score for key in keys if key in state.known)

    reflected = [each for each in state.history if each.reflected_examples]
    assert min(len(each.reflected_examples) for each in reflected) >= 3
    joined = [each for each in reflected if each.verdict.kind == "accepted"]
    assert len(joined) > 5
    for each in joined:
        assert isinstance(each.origin, Mutation)
        parent = state.members[each.origin.parent].candidate
        assert total(each.candidate, each.reflected_examples) > total(
            parent, each.reflected_examples
        )
    further = sum(
        each.charge.rollouts for each in state.history if isinstance(each.origin, Revalidation)
    )
    assert 0.35 < further / (state.spent.rollouts - 100) < 0.65


def test_changed_constants_do_not(monkeypatch):
    """The gate would fail: where parents are drawn ten times as wide, with five times fewer
    revalidations, and with other variances. Runs differ with the last digit of a score, and so with
    the version of numpy, so that three of the five are enough. The variance of steps is not among
    them, because the run learns it: `tests/core/test_core_estimate.py` notices that one."""

    def scores():
        for change in (
            lambda settings: replace(settings, selection=ProbablyBest(5.0)),
            lambda settings: replace(settings, validation_schedule=ValidationSchedule(share=0.1)),
        ):
            yield reached(change=change)
        for name, value in (("_NOISE", 0.06), ("_SEED", 0.04), ("_DRIFT", 2.0)):
            with monkeypatch.context() as changed:
                changed.setattr(estimate, name, value)
                yield reached()

    # Searched no further than that.
    assert len(list(islice((score for score in scores() if score < STATED), 3))) == 3

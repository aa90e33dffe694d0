"""When a run ends by itself, and what it does not try twice."""

from dataclasses import replace

import pytest
from test_core_choices import Task, play

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.proposal import Revalidation
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.sampling import FailureFirstSampler, epoch_minibatch
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import SoftEstimate, by_estimate
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import ReflectionAnswer, RolloutAnswer, RolloutRequest
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.orders import OrderedExecutor, newest_first, oldest_first, shuffled
from dspy_gepa.testing.worlds import ChanceWorld, RuleWorld

LARGE = Settings(
    train=tuple(range(40)),
    validation=tuple(range(40, 240)),
    limits=Limits(metric_calls=2_000),
    sampler=FailureFirstSampler(),
    minibatch_sizes=(4,),
)
"""A search with 200 validation examples."""


class Repeating(RuleWorld):
    """A world whose reflection always gives the same text, which is no better."""

    def reflection(self, request):
        return ReflectionAnswer(request.ticket, {"only": "rule999"}, lm_calls=1)


def test_a_rejected_text_is_not_tried_again():
    """It is run for the gate once; whoever writes it again is told which proposal had it."""
    settings = Settings(
        train=tuple(range(40)),
        validation=tuple(range(40, 60)),
        limits=Limits(metric_calls=400, proposals=12),
        sampler=FailureFirstSampler(),
        minibatch_sizes=(4,),
        remembers_rejected=True,
    )
    world = Repeating(rules=16, luck=0.0, pass_or_fail=True)
    state = run_loop(start(settings, world.student), SerialExecutor(world)).state
    reasons = [each.verdict.reason for each in state.history if each.verdict.kind == "rejected"]
    assert "no better" in reasons[0]
    assert len(reasons) > 1
    assert set(reasons[1:]) == {"proposal 1 had the same texts and was rejected"}


class FallingSilent(RuleWorld):
    """A world whose reflection gives a text three times and then none any more."""

    def reflection(self, request):
        if request.ticket <= 3:
            return super().reflection(request)
        return ReflectionAnswer(request.ticket, problem="no text", lm_calls=1)


def test_useless_reflections_end_the_run_whatever_is_measured_in_between():
    """Ten in a row, not counting members that were run on more examples meanwhile."""
    settings = replace(
        LARGE,
        validation_schedule=ValidationSchedule(pace=1.0, head_start=0),
        ranking=by_estimate,
        selection=SoftEstimate(),
    )
    world = FallingSilent(rules=16, pass_or_fail=True)
    state = run_loop(start(settings, world.student), SerialExecutor(world)).state
    last = [each for each in state.history if each.verdict.kind == "failed"]
    between = state.history[state.history.index(last[0]) :]
    assert any(isinstance(each.origin, Revalidation) for each in between)
    assert len(last) == 10
    assert "10 reflections in a row failed" in state.ending


def test_a_text_that_is_rejected_meanwhile_does_not_pass_beside():
    """Where two proposals that are under way at once have the same new text, the first verdict on
    it holds."""
    train = (0, 1, 2, 3)
    lucky = set(epoch_minibatch(train, 2, 1, seed=0)) | {10, 11}

    def score(candidate, example):
        return 0.5 if candidate["a"] == "a0" else float(example in lucky)

    def verdicts(**settings):
        state = play(
            Task(score, lambda *_: "new", lambda *_: "a"),
            train=train,
            window=2,
            limit=40,
            **settings,
        )
        return [each.verdict for each in state.history if each.candidate["a"] == "new"]

    first, second, *_ = verdicts(remembers_rejected=True)
    assert (first.kind, second.kind) == ("rejected", "rejected")
    assert second.reason == "proposal 1 had the same texts and was rejected"
    assert [each.kind for each in verdicts(remembers_rejected=False)][:2] == [
        "rejected",
        "accepted",
    ]


def test_a_metric_that_scores_objectives_is_not_said_to_score_none():
    """Where the program fails on the seed's first validation example, and the metric has scored
    another one that was run ahead."""
    world = ChanceWorld(words=1, silence=0.0, refusal=0.0, crashes=0.5, objectives=("clear",))
    settings = Settings(
        train=(0,),
        validation=(0, 1, 2, 3, 4),
        limits=Limits(proposals=2),
        validation_schedule=ValidationSchedule(
            seed_examples=1, first=1, step=1, pace=1.0, head_start=0
        ),
        window=3,
        frontier="objective",
        skip_perfect_score=False,
    )
    assert world.rollout(world.student, 0).failure
    executor = OrderedExecutor(world, newest_first)
    state = run_loop(start(settings, world.student), executor).state
    assert state.ending.startswith("the budget is used up: 2 of 2 proposals")


@pytest.mark.parametrize("order", [oldest_first, newest_first, *map(shuffled, range(4))])
def test_where_nothing_works_the_seeds_first_examples_and_a_minibatch_are_all_that_is_tried(order):
    """Whichever of them fails last, of 200 examples."""

    def worker(request):
        if isinstance(request, RolloutRequest):
            return RolloutAnswer(
                request.key, Rollout(0.0, failure="no", is_broken=True, cause="no")
            )
        return ReflectionAnswer(request.ticket, problem="no text", lm_calls=1)

    state = run_loop(start(LARGE, RuleWorld().student), OrderedExecutor(worker, order)).state
    assert "it failed on each of the first 10 examples" in state.ending
    assert state.tally.rollouts == 10 + 4

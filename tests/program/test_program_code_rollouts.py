"""Rollouts of programs that hold code: traces, failures, outages and what a metric is told."""

from __future__ import annotations

import dspy
import pytest
from flex_programs import (
    BASELINE,
    BROKEN,
    CRASHING,
    EXAMPLES,
    SHOUTING,
    Both,
    echo,
    flex,
    runs_code,
    source,
)
from recorded_run import called
from scripted_engine import AuthError, scripted_lm
from small_worker import exact, unasked

from dspy_gepa import GEPA
from dspy_gepa.core.rollout import Step, Trace
from dspy_gepa.core.work import (
    RequestFailure,
    RolloutRequest,
)
from dspy_gepa.program.program import components_of
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.program.worker import ProgramWorker, WorkerSettings


def worker(student, metric=exact, reflect=unasked, **settings):
    return ProgramWorker(student, Metric(metric), EXAMPLES, reflect, WorkerSettings(**settings))


def answered(student, *, metric=exact, lm=None, texts=None, made=None):
    """The answer to a traced rollout on the first example."""
    made = made or worker(student, metric)
    candidate = components_of(student).rewritten(texts or {})
    with dspy.context(lm=lm or scripted_lm(echo)):
        return made(RolloutRequest(candidate, 0, traced=True))


def rolled(student, **settings):
    """The rollout."""
    return answered(student, **settings).rollout


@runs_code
def test_a_call_of_code_is_a_step():
    """With what the module was given and answered, after what was called before it."""
    rollout = rolled(Both(), texts={"code": SHOUTING})
    assert rollout.score == 1.0
    assert rollout.trace == Trace(
        {"question": "a"},
        {"answer": "A"},
        (
            Step("draft", {"question": "a"}, {"answer": "a"}),
            Step("code", {"question": "a"}, {"answer": "A"}),
        ),
    )


@runs_code
def test_predictors_that_code_makes_are_not_the_programs():
    """Also where a component has the same signature: it was called once, by the program."""
    rollout = rolled(Both())
    assert called(rollout.trace) == ["draft", "code"]
    asked = []
    fading = scripted_lm(lambda prompt: "no" if asked else asked.append(1) or echo(prompt))
    assert called(rolled(Both(), lm=fading).trace) == ["draft", "code"]


@runs_code
def test_code_that_crashes_is_a_failure_of_its_candidate():
    """The failure score, a failed step, and a text that says what went wrong."""
    rollout = rolled(Both(), texts={"code": CRASHING}, made=worker(Both(), failure_score=-1.0))
    assert (rollout.score, rollout.metric_calls) == (-1.0, 0)
    assert "ZeroDivisionError" in rollout.failure
    assert called(rollout.trace) == ["draft", "code"]
    assert "ZeroDivisionError" in rollout.trace.steps[-1].failure


@runs_code
def test_a_copy_of_the_code_is_the_component():
    """BestOfN calls deep copies of what it is given."""

    class Best(dspy.Module):
        def __init__(self):
            super().__init__()
            self.code = flex(SHOUTING)

        def forward(self, question):
            best = dspy.BestOfN(self.code, 1, lambda given, pred: 1.0, threshold=1.0)
            return best(question=question)

    assert called(rolled(Best()).trace) == ["code"]


@runs_code
def test_code_that_was_not_called_has_no_step():
    """So that nobody blames it."""

    class Idle(Both):
        def forward(self, question):
            return self.draft(question=question)

    assert called(rolled(Idle()).trace) == ["draft"]


@pytest.mark.parametrize("example", [0, 1])
def test_an_unbindable_source_fails_on_every_example(example):
    """Nothing is run or judged; the component that is to blame counts as called."""
    student = Both()
    made = worker(student, failure_score=-1.0)
    candidate = components_of(student).rewritten({"code": BROKEN})
    rollout = made(RolloutRequest(candidate, example, traced=True)).rollout
    assert rollout.failure.startswith("The source of code cannot be bound: SyntaxError in line 1")
    assert (rollout.score, rollout.metric_calls, rollout.charge.metric_calls) == (-1.0, 0, 1)
    inputs = dict(EXAMPLES[example].inputs())
    step = Step("code", inputs, {}, failure=rollout.failure)
    assert rollout.trace == Trace(inputs, {}, (step,))


@runs_code
def test_a_wrong_key_is_no_score_even_where_code_swallows_it():
    """The run stops with the cause."""
    body = [
        "try:",
        "    return self.ask(question=question)",
        "except Exception:",
        "    return dspy.Prediction(answer='A')",
    ]

    def locked(prompt):
        raise AuthError("wrong key")

    for text in (BASELINE, source(*body)):
        said = answered(flex(text), lm=scripted_lm(locked))
        assert isinstance(said, RequestFailure)
        assert "wrong key" in said.cause


def test_a_sandbox_that_does_not_start_is_no_score():
    """It says nothing about a candidate: the run stops, and says what is missing."""

    def without_deno():
        return dspy.PythonInterpreter(deno_command=["no-such-command"])

    said = answered(flex(interpreter_factory=without_deno))
    assert isinstance(said, RequestFailure)
    assert "Deno" in said.cause


@runs_code
def test_a_metric_may_score_how_the_answer_came_about():
    """`program_trace` is DSPy's own trace, calls within code too; the other names are None."""
    seen = []

    def frugal(gold, pred, *, trace, pred_name, program_trace):
        seen.append((trace, pred_name))
        return 1.0 - 0.1 * len(program_trace)

    assert rolled(Both(), metric=frugal).score == 1.0 - 0.1 * 2
    assert rolled(Both(), metric=frugal, texts={"code": SHOUTING}).score == 1.0 - 0.1
    assert seen == [(None, None)] * 2


def test_a_program_without_code_has_no_program_trace():
    """As with dspy.GEPA."""
    seen = []

    def noting(gold, pred, trace=None, program_trace=None):
        seen.append(program_trace)
        return 1.0

    rolled(dspy.Predict("question -> answer"), metric=noting)
    assert seen == [None]


@runs_code
def test_a_metric_is_not_asked_about_code_alone():
    """What it said of the rollout is what there is to say; instructions it is asked about."""

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        return dspy.Prediction(score=0.0, feedback=f"about {pred_name}")

    optimizer = GEPA(metric, reflection_lm=scripted_lm("never asked"), max_metric_calls=50)
    rows = [dspy.Example(question=str(n)).with_inputs("question") for n in range(4)]
    assert optimizer.plan(Both(), rows).forecast.settings.asked_about == ("draft",)

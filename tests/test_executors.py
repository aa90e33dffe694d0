"""Whole runs whose rollouts are carried out in other processes."""

import functools
import logging
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import dspy
import label_task
import pytest

from dspy_gepa import GEPA, optimize_anything
from dspy_gepa.errors import SettingsError, WorkerError, WrongType

EXAMPLES = label_task.examples(8)


def optimized(metric=label_task.metric, student=None, **settings):
    """The optimizer after a run, and the program."""
    given = {"max_metric_calls": 80, "num_threads": 2, "seed": 1}
    optimizer = GEPA(metric, reflection_lm=label_task.reflection_lm(), **{**given, **settings})
    with dspy.context(lm=label_task.task_lm()):
        program = optimizer.compile(student or label_task.Pipeline(), EXAMPLES, EXAMPLES)
    return optimizer, program


def told(optimizer):
    result = optimizer.result
    return [member.candidate for member in result.members], result.tally, result.proposals


def test_a_run_over_a_pool_is_the_run_over_threads(spawned):
    """The same members, proposals and tally; the pool is the caller's and stays open."""
    assert told(optimized(executor=spawned)[0]) == told(optimized()[0])
    assert spawned.submit(os.getpid).result() != os.getpid()


def of_a_predictor(gold, pred, trace=None, pred_name=None, pred_trace=None):
    score, words = label_task.metric(gold, pred)
    if pred_name is None:
        return score, words
    return score, f"{pred_name} was called {len(pred_trace)} times. {words}"


def test_a_metric_that_is_asked_about_predictors_is_asked_here(spawned):
    """What it says of a predictor follows from the trace that came back."""
    assert told(optimized(of_a_predictor, executor=spawned)[0]) == told(
        optimized(of_a_predictor)[0]
    )


def agreement(pairs):
    return sum(gold.code == pred.code for gold, pred in pairs) / len(pairs)


@pytest.mark.parametrize(
    "asked", [{"specialists": 2}, {"max_bootstrapped_demos": 2}, {"aggregate_metric": agreement}]
)
def test_what_follows_a_search_goes_there_too(spawned, asked):
    """Everything that runs programs after the search gives what it gives in threads."""

    def results(**where):
        optimizer = GEPA(
            label_task.metric,
            max_metric_calls=160,
            num_threads=2,
            reflection_lm=label_task.reflection_lm(),
            **asked,
            **where,
        )
        with dspy.context(lm=label_task.task_lm()):
            optimizer.compile(
                label_task.Pipeline(), EXAMPLES, EXAMPLES, heldout=label_task.examples(12)[8:]
            )
        result = optimizer.result
        return result.tally, result.verdict, [member.candidate for member in result.members]

    assert results(executor=spawned) == results()


def test_a_run_over_dask_is_the_run_over_threads(dask_client):
    """The same members and proposals, with room for what lost processes make twice."""
    limits = {"max_metric_calls": None, "max_proposals": 6}
    assert told(optimized(executor=dask_client, **limits)[0]) == told(optimized(**limits)[0])


class Deadly(label_task.Pipeline):
    """Kills its process at some of the first calls; writes down each beginning."""

    def __init__(self, folder, *deadly):
        super().__init__()
        self.folder, self.deadly = str(folder), deadly

    def forward(self, message):
        folder = Path(self.folder)
        number = sum(len(file.read_text()) for file in folder.glob("*.begun"))
        with (folder / f"{os.getpid()}-{threading.get_ident()}.begun").open("a") as file:
            file.write("x")
        for turn, deadly in enumerate(self.deadly):
            if number >= deadly:
                try:
                    (folder / f"{turn}.died").touch(exist_ok=False)
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(message=message)


def test_the_limit_holds_while_processes_are_killed(dask_client, tmp_path, caplog):
    """What really began is never more than the run says; what is kept back is said.

    A rollout whose process is killed by its neighbor may be charged before the program begins.
    """
    with caplog.at_level(logging.INFO, "dspy.teleprompt.dspy_gepa"):
        optimizer, program = optimized(
            student=Deadly(tmp_path, 4, 12),
            executor=dask_client,
            max_metric_calls=60,
            num_threads=4,
        )
    begun = sum(len(file.read_text()) for file in tmp_path.glob("*.begun"))
    assert sum(1 for _ in tmp_path.glob("*.died")) == 2
    charged = optimizer.result.tally.rollouts
    assert begun <= charged <= min(60, begun + 4)
    assert optimizer.result.state.lost.rollouts >= 2
    assert "4 of the calls are kept back" in caplog.text
    assert isinstance(program, Deadly)


def test_a_pool_that_dies_is_an_error_and_the_run_is_carried_on(tmp_path, fresh_processes):
    """What was paid for is in the directory; with another pool the same call goes on."""
    folder, log_dir = tmp_path / "marks", str(tmp_path / "run")
    folder.mkdir()
    settings = {"log_dir": log_dir, "max_metric_calls": 60, "student": Deadly(folder, 4)}
    with (
        ProcessPoolExecutor(2, mp_context=fresh_processes) as pool,
        pytest.raises(WorkerError, match="executor cannot be used any more"),
    ):
        optimized(executor=pool, **settings)
    with ProcessPoolExecutor(2, mp_context=fresh_processes) as pool:
        optimizer, _ = optimized(executor=pool, **settings)
    begun = sum(len(file.read_text()) for file in folder.glob("*.begun"))
    assert begun <= optimizer.result.tally.rollouts <= 60
    assert optimizer.result.improved


def score(artifact, example):
    return -abs(len(artifact) - example), f"{len(artifact)} characters; {example} are wanted"


def test_evaluations_of_artifacts_go_there_too(spawned):
    """The same artifact, score and count as in threads; what is printed comes back as feedback."""

    def loud(artifact, example):
        print("measured", len(artifact))  # noqa: T201 - is to be heard
        return score(artifact, example)

    def result(**where):
        found = optimize_anything(
            "On money.",
            loud,
            dataset=[10, 20, 30],
            valset=[40, 50],
            reflection_lm=label_task.saying("x" * 20, "x" * 35, "x" * 45),
            max_evals=40,
            num_threads=2,
            capture_stdio=True,
            **where,
        )
        return found.optimized_artifact, found.score, found.tally, found.proposals

    assert result(executor=spawned) == result()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"executor": 4}, WrongType, "executor=4 was given, and a concurrent.futures.Executor"),
        ({"executor": "dask"}, WrongType, "dask.distributed.Client"),
        ({"executor": ProcessPoolExecutor}, WrongType, "Executor is needed"),
    ],
)
def test_what_is_no_pool_is_refused_in_the_constructor(given, error, words):
    """Before anything else."""
    with pytest.raises(error, match=words):
        GEPA(label_task.metric, **given)


def test_a_metric_with_a_lock_is_refused_before_a_rollout_is_paid(spawned):
    """The error names what cannot travel and what to do, and no model was asked."""
    lock = threading.Lock()

    def metric(gold, pred, trace=None):
        with lock:
            return label_task.metric(gold, pred)

    lm = label_task.task_lm()
    optimizer = GEPA(metric, executor=spawned, reflection_lm=label_task.reflection_lm())
    with dspy.context(lm=lm), pytest.raises(SettingsError, match=r"The metric \(its variable lock"):
        optimizer.compile(label_task.Pipeline(), EXAMPLES, EXAMPLES)
    assert lm.history == []


def test_isolation_and_an_executor_are_two_answers_to_one_question(spawned):
    """One of the two is to be given."""
    with pytest.raises(SettingsError, match="Give one of the two"):
        optimize_anything("a", functools.partial(len), executor=spawned, isolation="process")


def test_keys_that_travel_are_said(spawned, caplog):
    """A key that was given to a model object is in what the processes are sent."""
    student = label_task.Pipeline()
    student.draft.lm = label_task.task_lm()
    student.draft.lm.kwargs["api_key"] = "sk-not-a-key"
    with caplog.at_level(logging.WARNING, "dspy.teleprompt.dspy_gepa"):
        optimized(student=student, executor=spawned, max_metric_calls=20)
    assert "keys that were given to models" in caplog.text
    assert "sk-not-a-key" not in caplog.text


def test_a_large_program_is_said_to_be_sent_with_every_rollout(spawned, caplog):
    """It still runs; what to do about it is said."""
    student = label_task.Pipeline()
    student.index = os.urandom(1_500_000)
    with caplog.at_level(logging.WARNING, "dspy.teleprompt.dspy_gepa"):
        optimized(student=student, executor=spawned, max_metric_calls=20)
    assert "The program is 1.5 MB" in caplog.text


class LikeDask:
    """What tells a Dask client from other pools: it begins again what a lost process did."""

    subscribe_topic = get_executor = None


@pytest.mark.parametrize(
    ("budget", "rollouts", "metric_calls"),
    [
        ({"auto": "light", "max_rollouts": 60}, 52, None),
        ({"auto": "heavy", "max_rollouts": 60}, 52, None),
        ({"auto": "light", "max_rollouts": 8}, 6, None),
        ({"auto": "light", "max_rollouts": 3}, 3, None),
        ({"auto": "light"}, None, None),
        ({"auto": "light", "max_reflection_calls": 3}, None, None),
        ({"max_rollouts": 60}, 52, None),
        ({"max_reflection_calls": 3}, None, None),
        ({"max_metric_calls": 60}, None, 52),
        ({"max_metric_calls": 60, "max_rollouts": 40}, 32, 52),
    ],
)
def test_of_every_limit_in_rollouts_something_is_kept_back(budget, rollouts, metric_calls):
    """Also of one beside `auto`, whose own size is no promise and is not lessened."""
    plans = []
    for executor in (LikeDask(), None):
        optimizer = GEPA(
            lambda gold, pred: 0.0, reflection_lm=len, num_threads=8, executor=executor, **budget
        )
        examples = [dspy.Example(q=str(n), a="x").with_inputs("q") for n in range(6)]
        plans.append(optimizer.plan(dspy.Predict("q -> a"), examples, examples))
    kept, usual = (plan.forecast.settings.limits for plan in plans)
    assert kept.rollouts == rollouts
    assert kept.metric_calls == (metric_calls or usual.metric_calls)

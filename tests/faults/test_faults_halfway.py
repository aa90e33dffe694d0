"""What breaks half way, in code that no error of a model's server gives away.

A quota that is used up, a service that dies: the program or the metric raises whatever it likes,
from some call on. That is no result, and the same call carries on once it is mended.
"""

import threading
from functools import cache
from tempfile import TemporaryDirectory
from zlib import crc32

import dspy
import label_task
import pytest
from scripted_engine import scripted_lm

from dspy_gepa import GEPA, load_run
from dspy_gepa.errors import WorkerError
from dspy_gepa.testing.witness import outcome

TRAIN, VALIDATION = label_task.examples(12), label_task.examples(32)[12:]
LIMIT = 150


class Quota(Exception):
    """What a service of the user's own says."""


class Service:
    """Counts what it is asked, and refuses everything after so many calls."""

    def __init__(self, quota=10**9, error=lambda n: Quota(f"request {n}: quota is used up")):
        self.quota, self.error, self.calls, self.lock = quota, error, 0, threading.Lock()

    def __call__(self):
        with self.lock:
            self.calls += 1
            number = self.calls
        if number > self.quota:
            raise self.error(number)


class Student(dspy.Module):
    """Asks the service before it asks the model."""

    def __init__(self, service):
        super().__init__()
        self.code, self.service = dspy.Predict("message -> code"), [service]

    def forward(self, message):
        self.service[0]()
        return self.code(message=message)


class Judge:
    """A metric that asks the service."""

    def __init__(self, service):
        self.service, self.calls, self.lock = service, 0, threading.Lock()

    def __call__(self, gold, pred, trace=None):
        with self.lock:
            self.calls += 1
        self.service()
        return label_task.metric(gold, pred)


def run(folder, *, in_program=None, in_metric=None, **settings):
    """The optimizer and the metric of a run that is kept in this folder."""
    metric = Judge(in_metric or Service())
    given = {
        "max_metric_calls": LIMIT,
        "num_threads": 1,
        "reflection_minibatch_size": 3,
        **settings,
    }
    optimizer = GEPA(metric, reflection_lm=label_task.reflection_lm(), log_dir=str(folder), **given)
    with dspy.context(lm=label_task.task_lm()):
        try:
            optimizer.compile(Student(in_program or Service()), trainset=TRAIN, valset=VALIDATION)
            error = None
        except WorkerError as raised:
            error = raised
    return optimizer.result, metric, error


def members(result):
    """What was found, and by which proposals."""
    return [(m.candidate, m.parents, m.ticket, str(m.scores.tolist())) for m in result.members]


@cache
def undisturbed(search):
    """What a run finds that nothing happens to."""
    with TemporaryDirectory() as folder:
        whole, _, error = run(folder, search=search)
    assert error is None
    return members(whole)


@pytest.mark.parametrize(
    ("quota", "place", "search", "threads"),
    [
        (1, "in_program", "default", 1),
        (1, "in_metric", "paper", 8),
        (5, "in_program", "default", 8),
        (5, "in_metric", "paper", 1),
        (20, "in_program", "paper", 1),
        (20, "in_metric", "default", 8),
        (30, "in_program", "paper", 8),
        (30, "in_metric", "default", 1),
    ],
)
def test_a_quota_that_is_used_up_is_no_result(tmp_path, quota, place, search, threads):
    """Whichever rollout meets it first: the run stops and says why, and the same call carries on
    to where a run ends that nothing happened to. Each place with each search and number of threads
    is among these."""
    settings = {"search": search, "num_threads": threads}
    service = Service(quota)
    broken, metric, error = run(tmp_path / "run", **{place: service}, **settings)
    assert "quota is used up" in str(error)
    assert "the same call carries on" in str(error)
    # How many calls it takes to be sure depends on how the answers of several threads came in.
    assert metric.calls == broken.tally.metric_calls < LIMIT
    carried, again, none = run(tmp_path / "run", **settings, max_metric_calls=2 * LIMIT)
    assert none is None
    assert metric.calls + again.calls == carried.tally.metric_calls
    assert carried.improved
    found, expected = members(carried), undisturbed(search)
    enough = min(len(found), len(expected))
    assert found[:enough] == expected[:enough]
    assert outcome(load_run(tmp_path / "run").result.state) == outcome(carried.state)


def test_the_program_of_the_error_is_the_best_of_what_was_sound(tmp_path):
    """Failures that are no results do not speak against the member that met them."""
    _, _, error = run(tmp_path, in_program=Service(40), max_metric_calls=400)
    instructions = error.program.code.signature.instructions
    assert all(f"{topic} means {code}" in instructions for topic, code in label_task.CODES.items())


def test_it_breaks_down_again_and_is_carried_on_again(tmp_path):
    """Any number of times, and no answer is asked for twice but for those that failed."""
    whole, _, _ = run(tmp_path / "whole", max_metric_calls=4 * LIMIT)
    calls, error = 0, True
    while error:
        result, metric, error = run(
            tmp_path / "run", in_program=Service(quota=12), max_metric_calls=4 * LIMIT
        )
        calls += metric.calls
    assert calls == result.tally.metric_calls
    enough = min(len(result.members), len(whole.members))
    # How far each is validated follows from what was spent, failures included.
    found, expected = ([each[:2] for each in members(run)] for run in (result, whole))
    assert found[:enough] == expected[:enough]


class Crashing(Student):
    """Breaks on answers that the model gives without a rule, and so on most messages at first."""

    def forward(self, message):
        answer = super().forward(message)
        if answer.code == "unknown" and "bill" not in message:
            raise ValueError("not a code")
        return answer


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_program_that_breaks_on_most_examples_is_mended_by_a_text(tmp_path, search, threads):
    """It still does not break on the others, so that it is the text that is at fault."""
    optimizer = GEPA(
        label_task.metric,
        reflection_lm=label_task.reflection_lm(),
        max_metric_calls=300,
        num_threads=threads,
        search=search,
    )
    with dspy.context(lm=label_task.task_lm()):
        better = optimizer.compile(Crashing(Service()), trainset=TRAIN, valset=VALIDATION)
    assert optimizer.result.improved
    assert better.code.signature.instructions != Student(Service()).code.signature.instructions


def test_a_run_with_failures_in_a_row_is_the_same_at_any_number_of_threads(tmp_path):
    """What is tried again is part of the run."""
    found, validation = [], sorted(VALIDATION, key=lambda example: "bill" not in example.message)
    for threads in (1, 16):
        optimizer = GEPA(
            label_task.metric,
            reflection_lm=scripted_lm(
                lambda prompt: (
                    f"<new_instruction>Idea {crc32(prompt.encode()) % 9}.</new_instruction>"
                )
            ),
            max_metric_calls=200,
            num_threads=threads,
            search="paper",
            window=3,
        )
        with dspy.context(lm=label_task.task_lm()):
            optimizer.compile(Crashing(Service()), trainset=TRAIN, valset=validation)
        found.append(outcome(optimizer.result.state))
        assert any(key.trial for key in optimizer.result.state.known)
    assert found[0] == found[1]

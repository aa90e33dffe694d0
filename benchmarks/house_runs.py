"""What the arms of `strong_reflection.py` do with a house task, and how programs are scored."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dspy
from house_tasks import HouseTask
from local_server import serving
from mailbox_lm import Usage, waited_seconds
from report import REFERENCE
from search_efficiency import quiet

from dspy_gepa import GEPA
from dspy_gepa.demo.task import DemoTask

__all__ = ["A0", "ARMS", "Job", "instructed", "local_student", "optimized", "row_scores"]

A0 = """\
A language model follows this instruction:

{{instruction}}

This is what it did with some inputs, and what was said of its answers:

{{examples}}

Write a new instruction for the model. Describe the task, state every fact that the inputs, the \
answers and the remarks give away and that the model cannot know by itself, and explain the \
strategy behind right answers, so that it also holds for inputs that are not shown here.

{{form}}"""
"""The control: one paragraph in place of our own reflection."""


class Counted:
    """The metric of a task in the forms that the arms want, with one count of its calls."""

    def __init__(self, task: DemoTask) -> None:
        self.task, self.calls = task, 0
        self._lock = threading.Lock()

    def plain(self, gold: dspy.Example, pred: dspy.Prediction) -> Any:
        """Score and feedback, without the parameters that ask for every step's own feedback."""
        with self._lock:
            self.calls += 1
        return self.task.metric(gold, pred)

    def told(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction,
        trace: object = None,
        pred_name: str | None = None,
        pred_trace: object = None,
    ) -> dspy.Prediction:
        """The same in the form that dspy.GEPA takes."""
        del trace, pred_name, pred_trace
        graded = self.plain(gold, pred)
        return dspy.Prediction(score=graded.score, feedback=graded.feedback)


@dataclass
class Job:
    """One run of one arm."""

    house: HouseTask
    reflection_lm: Any
    budget: int
    seed: int
    threads: int = 1
    metric: Counted = field(init=False)
    best: list[dict[str, Any]] = field(default_factory=list)
    """Whenever another program became the best by validation: its texts, and the metric calls
    that had been made by then."""

    def __post_init__(self) -> None:
        self.metric = Counted(self.house.task)

    def note(self, texts: Sequence[str]) -> None:
        """Note the program that is best now."""
        if not self.best or self.best[-1]["texts"] != list(texts):
            self.best.append({"metric_calls": self.metric.calls, "texts": list(texts)})

    def compiled(self, optimizer: Any) -> dspy.Module:
        """What the optimizer makes of the program as given."""
        train, validation, _ = self.house.task.splits
        student = self.house.task.program.deepcopy()
        return optimizer.compile(student, trainset=train, valset=validation)


def ours(job: Job, **settings: Any) -> dspy.Module:
    """Our search."""

    def watch(event: object, state: Any) -> None:
        del event
        if state.members:
            job.note(list(state.members[state.best].candidate.values()))

    optimizer = GEPA(
        job.metric.plain,
        max_metric_calls=job.budget,
        reflection_lm=job.reflection_lm,
        num_threads=job.threads,
        seed=job.seed,
        observers=[watch],
        **settings,
    )
    return job.compiled(optimizer)


class Validated:
    """Told by dspy.GEPA of every validated candidate; notes the best so far."""

    def __init__(self, job: Job) -> None:
        self.job, self.best = job, -math.inf

    def on_valset_evaluated(self, event: Any) -> None:
        """Note the candidate, if its mean validation score is above all earlier ones."""
        if event["average_score"] > self.best:
            self.best = event["average_score"]
            self.job.note(list(event["candidate"].values()))


def reference(job: Job) -> dspy.Module:
    """dspy.GEPA; its budget is tested between iterations, so that it makes more calls."""
    optimizer = dspy.GEPA(
        metric=job.metric.told,
        max_metric_calls=job.budget,
        reflection_lm=job.reflection_lm,
        num_threads=job.threads,
        seed=job.seed,
        gepa_kwargs={"callbacks": [Validated(job)]},
    )
    return job.compiled(optimizer)


ARMS: dict[str, Callable[[Job], dspy.Module]] = {
    "diagnose": ours,
    "A0": partial(ours, reflection_template=A0),
    "transcribe": partial(ours, reflection_style="transcribe"),
    REFERENCE: reference,
}


def optimized(arm: str, job: Job, student: Any, usage: Usage) -> dict[str, Any]:
    """What an arm made and what it spent; what breaks it is told in its row."""
    lm = job.reflection_lm
    before = (usage.calls, usage.tokens_in, usage.tokens_out)
    began, waited = time.perf_counter(), waited_seconds(lm)
    row: dict[str, Any] = {"problem": "", "texts": []}
    try:
        with quiet(), dspy.context(lm=student):
            row["texts"] = texts_of(ARMS[arm](job))
    except Exception as error:  # noqa: BLE001 - whatever breaks an arm is a result of its own
        row["problem"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    seconds = time.perf_counter() - began - (waited_seconds(lm) - waited)
    after = (usage.calls, usage.tokens_in, usage.tokens_out)
    spent = [now - then for now, then in zip(after, before, strict=True)]
    names = ("reflection_calls", "tokens_in", "tokens_out")
    return {
        **row,
        **dict(zip(names, spent, strict=True)),
        "metric_calls": job.metric.calls,
        "minutes": seconds / 60,
        "best": job.best,
    }


def texts_of(program: dspy.Module) -> list[str]:
    """The instructions of all predictors."""
    return [each.signature.instructions for each in program.predictors()]


def instructed(house: HouseTask, texts: Sequence[str]) -> dspy.Module:
    """The task's program with these instructions."""
    program = house.task.program.deepcopy()
    for predictor, text in zip(program.predictors(), texts, strict=True):
        predictor.signature = predictor.signature.with_instructions(text)
    return program


def row_scores(house: HouseTask, texts: Sequence[str], student: Any, rows: int) -> list[float]:
    """The score on each of the first test rows; an answer that cannot be read scores 0."""
    program, metric = instructed(house, texts), house.task.metric

    def score(example: dspy.Example) -> float:
        try:
            prediction = program(**example.inputs())
        except dspy.AdapterParseError:
            return 0.0
        return metric(example, prediction).score

    with quiet(), dspy.context(lm=student):
        return [score(example) for example in house.task.splits.test[:rows]]


@contextmanager
def local_student(
    name: str, threads: int | None, answer_tokens: int, *, local_server: str | None = None
) -> Iterator[Any]:
    """The local model as these tasks ask it, for as long as the block lasts.

    `local_server` is the OpenAI-compatible address of a server that has it already.
    """
    with serving(name, threads, local_server) as local:
        yield dspy.LM(
            **local.settings,
            temperature=0.0,
            max_tokens=answer_tokens,
            stop=["\n\n"],
        )

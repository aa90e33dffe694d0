"""The tasks of `house_tasks.py` and the demo's label task in the shape of `tasks`."""

from __future__ import annotations

from typing import Any

import dspy
from house_tasks import house_task
from task import Splits, Task, graded, task_of, whole_metric

from dspy_gepa.demo.house_labels import house_labels
from dspy_gepa.demo.task import DemoTask

__all__ = ["demo_labels", "house"]


def house(name: str, seed: int) -> Task:
    """A house task; the seed draws its facts and its rows."""
    source = f"house_tasks.py, generated with seed {seed}"
    return wrapped(f"House {name}", house_task(name, seed).task, source)


def demo_labels() -> Task:
    """The demo's label task."""
    return wrapped("House labels", house_labels(), "the package's house_labels.jsonl")


def wrapped(name: str, task: DemoTask, source: str) -> Task:
    """The task with a metric of five arguments."""

    @whole_metric
    def grade(gold: dspy.Example, pred: Any) -> dspy.Prediction:
        """The task's own score and feedback; an answer that is not there is None."""
        answers = {field: getattr(pred, field, None) for field in dict(gold.labels())}
        return graded(*task.metric(gold, dspy.Prediction(**answers)))

    return task_of(
        name,
        task.program,
        Splits(*task.splits),
        grade,
        source=source,
        licence="Apache-2.0, this project's",
    )

"""Tasks that people compare optimizers on, each as a program that runs, rows and a metric.

One rule: under a public name stand only the public rows. A task whose rows are nowhere to be found
raises `DataNotFound`; where its rows are fewer than in the literature, or split in another way, its
origin says so.

Every module of this folder is a task: `tasks/NAME.py` has one function
`task(source: Source, seed: int) -> Task`. It is imported when the task is loaded, so a package that
one task needs is not needed by the others. The seed draws what a task generates; a published split
is the same for every seed.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from task import (
    Metric,
    MissingPackage,
    Origin,
    Splits,
    Task,
    cut,
    graded,
    needed,
    stepwise_metric,
    task_of,
    whole_metric,
)
from task_source import DataNotFound, Found, Hub, Source

__all__ = [
    "TASKS",
    "DataNotFound",
    "Found",
    "Hub",
    "Metric",
    "MissingPackage",
    "Origin",
    "Source",
    "Splits",
    "Task",
    "cut",
    "graded",
    "load",
    "needed",
    "stepwise_metric",
    "task_of",
    "whole_metric",
]

TASKS = tuple(sorted(module.name for module in iter_modules(__path__)))
"""The names of all tasks."""


def load(name: str, source: Source | None = None, seed: int = 0) -> Task:
    """The task of this name, made anew: no program or example is shared with an earlier one.

    Raises:
        ValueError: there is no task of this name.
        DataNotFound: its rows are neither in a folder nor on the hub.
        MissingPackage: it needs a package that is not installed.
    """
    if name not in TASKS:
        raise ValueError(f"There is no task '{name}'. The tasks are {', '.join(TASKS)}.")
    task: Task = import_module(f"{__name__}.{name}").task(source or Source(), seed)
    return task

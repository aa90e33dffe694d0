"""What a task is: a program, examples in three splits, a metric, and where the rows come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import dspy

__all__ = [
    "Metric",
    "MissingPackage",
    "Origin",
    "Splits",
    "Task",
    "cut",
    "graded",
    "needed",
    "stepwise_metric",
    "task_of",
    "whole_metric",
]

Metric = Callable[..., dspy.Prediction]
"""`metric(gold, pred, trace=None, pred_name=None, pred_trace=None)`: a score between 0 and 1, and
feedback; a pure function of what it is given, unless the task's origin says that it asks a model.
Told a predictor's name, it gives the same score and the feedback for that predictor."""


class Splits(NamedTuple):
    """The examples of a task."""

    train: list[dspy.Example]
    validation: list[dspy.Example]
    test: list[dspy.Example]


@dataclass(frozen=True)
class Origin:
    """Where the rows of a task come from; every table prints it."""

    name: str
    """The task's name in the literature."""
    source: str
    """Which files or data sets of the hub were read."""
    rows: Mapping[str, int]
    """How many examples each split has."""
    digest: str
    """The first 12 digits of the SHA-256 of all examples in their order: equal digests are equal
    training, validation and test examples."""
    licence: str
    differs: str = ""
    """In what the rows, their split or the program differ from the literature; empty if in
    nothing."""

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.rows.items())
        parts = [f"{self.name}: {counts}", f"from {self.source}", f"digest {self.digest}"]
        return "; ".join([*parts, f"licence {self.licence}", self.differs]).removesuffix("; ")


@dataclass(frozen=True)
class Task:
    """One thing that optimizers are compared on."""

    program: dspy.Module
    """As given: with the instructions that an optimizer starts from."""
    train: list[dspy.Example]
    validation: list[dspy.Example]
    test: list[dspy.Example]
    metric: Metric
    origin: Origin


class MissingPackage(ImportError):
    """A task needs a package that is not installed."""


def needed(module: str, package: str, task: str) -> Any:
    """The module of a package that only some tasks need.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"The task {task} needs the package {package}: pip install '{package}', or the extra "
            "'tasks'."
        ) from error


def graded(score: float, feedback: str) -> dspy.Prediction:
    """What a metric returns."""
    return dspy.Prediction(score=score, feedback=feedback)


def whole_metric(rule: Callable[[dspy.Example, Any], dspy.Prediction]) -> Metric:
    """A rule as a metric whose feedback is the same for every predictor."""

    def grade(gold: dspy.Example, pred: Any, step: str) -> dspy.Prediction:
        del step
        return rule(gold, pred)

    return stepwise_metric(grade)


def stepwise_metric(rule: Callable[[dspy.Example, Any, str], dspy.Prediction]) -> Metric:
    """A rule as a metric that has feedback for each step of a program.

    The step is the part of the program that a predictor belongs to, by its attribute's name; it is
    empty where no predictor is asked about.
    """

    def grade(
        gold: dspy.Example,
        pred: Any,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,
    ) -> dspy.Prediction:
        del trace, pred_trace
        return rule(gold, pred, pred_name.split(".")[0] if pred_name else "")

    return grade


def cut(examples: Sequence[dspy.Example], sizes: Sequence[int]) -> Splits:
    """The first examples for training, the next for validation, then the test, in these sizes.

    Where there are fewer, each split gets its share of them, and at least one.

    Raises:
        ValueError: there are fewer than three.
    """
    if len(examples) < len(sizes):
        raise ValueError(
            f"{len(examples)} rows cannot be split into training, validation and test: give at "
            "least three."
        )
    share = min(1, len(examples) / sum(sizes))
    train = max(1, int(sizes[0] * share))
    validation = train + max(1, int(sizes[1] * share))
    test = min(len(examples), validation + max(1, round(sizes[2] * share)))
    return Splits(
        list(examples[:train]), list(examples[train:validation]), list(examples[validation:test])
    )


def task_of(
    name: str,
    program: dspy.Module,
    splits: Splits,
    metric: Metric,
    *,
    source: str,
    licence: str,
    published: Sequence[int] | None = None,
    differs: Sequence[str] = (),
) -> Task:
    """The task with an origin whose rows and digest are those of the examples.

    `published` is how many examples the splits have in the literature; `differs` is in what else
    the task is another one than there.

    Raises:
        ValueError: a split is empty.
    """
    rows = {split: len(examples) for split, examples in splits._asdict().items()}
    if not all(splits):
        empty = ", ".join(split for split, count in rows.items() if not count)
        raise ValueError(f"{name}: the rows of {source} leave no example for {empty}; give more.")
    if published and tuple(rows.values()) != tuple(published):
        differs = [f"the literature has {'/'.join(map(str, published))} rows", *differs]
    origin = Origin(name, source, rows, digest(splits), licence, "; ".join(differs))
    return Task(program, *splits, metric, origin)


def digest(splits: Splits) -> str:
    """The first 12 digits of the SHA-256 of the examples."""
    content = [[example.toDict() for example in examples] for examples in splits]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

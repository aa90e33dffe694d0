"""One demonstration from start to end: scores before, search, scores after, saved program.

One rule: the search is over before any program meets the test split.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import dspy

from dspy_gepa import GEPA
from dspy_gepa.demo.errors import ModelFailed, NoOutput
from dspy_gepa.demo.facility import facility
from dspy_gepa.demo.house_labels import house_labels
from dspy_gepa.demo.models import ModelChoice, Models, models
from dspy_gepa.demo.scoring import Score, StepProgress, mean_score
from dspy_gepa.demo.task import DemoTask, Graded, GradedMetric, limited
from dspy_gepa.errors import readable

__all__ = ["TASKS", "Show", "show"]

TASKS: dict[str, Callable[[Path | None], DemoTask]] = {
    "house-labels": lambda _folder: house_labels(),
    "facility": facility,
}
"""Each task by the name that `--task` takes; told the folder of `--data-dir`."""


@dataclass(frozen=True, slots=True)
class Show:
    """What the user asked for."""

    models: ModelChoice
    output: Path
    task: str = "house-labels"
    folder: Path | None = None
    limit: int | None = None
    """Examples of each split at most."""
    budget: int | None = None
    """Metric calls of the search at most; the task's own where it is None."""
    seed: int = 0
    num_threads: int = 1


def show(wanted: Show) -> None:
    """Carry out the demonstration and print it as it goes.

    Raises:
        GEPAError: something that the user can put right; the message says how.
        KeyboardInterrupt: Ctrl-C. What the search had found by then is saved.
    """
    began = time.monotonic()
    _check_output(wanted.output)
    task = TASKS[wanted.task](wanted.folder)
    task = replace(
        task,
        splits=limited(task.splits, wanted.limit),
        metric_calls=wanted.budget or task.metric_calls,
    )
    train, validation, test = map(len, task.splits)
    print(f"Task: {task.title}")
    print(f"Examples: {train} train, {validation} validation, {test} unseen test")
    with models(wanted.models, answer_tokens=task.answer_tokens) as lms:
        print(f"Model: {lms.place}")
        try:
            with dspy.context(lm=lms.student):
                better, before, after = _improve(wanted, task, lms)
        except dspy.LMError as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelFailed(
                f"The model does not answer: {reason}. Check its name, its key in the environment "
                "and --api-base."
            ) from error
    _print_table(before, after)
    _print_instructions(task.program, better)
    print(f"\nSaved: {wanted.output}. To use it:\n")
    print(f'{task.recipe}\nprogram.load("{wanted.output.as_posix()}")')
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"\nThis took {minutes} min {seconds} s.")


def _improve(wanted: Show, task: DemoTask, lms: Models) -> tuple[dspy.Module, Score, Score]:
    """The improved and saved program, and the unseen scores before and after."""
    rate = partial(mean_score, task=task, num_threads=wanted.num_threads, examples=task.splits.test)
    began = time.monotonic()
    before = rate(task.program, title="unseen test, before")
    calls_left = task.metric_calls + before.examples
    # A third more for the reflections.
    minutes = 1.33 * calls_left * (time.monotonic() - began) / before.examples / 60
    print(f"This will take about {minutes:.0f} minutes.", flush=True)
    better = _search(wanted, task, lms)
    return better, before, rate(better, title="unseen test, after")


def _search(wanted: Show, task: DemoTask, lms: Models) -> dspy.Module:
    """The improved program, saved."""
    # What helps a small model: to be asked for what was said, and to be shown examples.
    for_small: dict[str, Any] = {
        "reflection_style": "transcribe",
        "max_bootstrapped_demos": 4,
        "max_labeled_demos": 6,
    }
    optimizer = GEPA(
        _watched(task.metric, StepProgress("search, metric calls", task.metric_calls)),
        **(for_small if lms.is_small else {}),
        reflection_lm=lms.reflection,
        max_metric_calls=task.metric_calls,
        num_threads=wanted.num_threads,
        seed=wanted.seed,
    )
    train, validation, _ = task.splits
    better = optimizer.compile(task.program, trainset=train, valset=validation)
    better.save(str(wanted.output))
    if "keyboard" in optimizer.result.stop_reason:
        raise KeyboardInterrupt
    return better


def _watched(metric: GradedMetric, progress: StepProgress) -> GradedMetric:
    """The same metric, which reports each of its calls."""

    @wraps(metric)
    def watched(*arguments: Any, **named: Any) -> Graded:
        graded = metric(*arguments, **named)
        progress.step(graded.score)
        return graded

    return watched


def _check_output(output: Path) -> None:
    if output.suffix != ".json":
        raise NoOutput(f"--output {output} was given; the name of a .json file is needed.")
    folder = output.absolute().parent
    if not folder.is_dir() or not os.access(output if output.exists() else folder, os.W_OK):
        raise NoOutput(
            f"{output} cannot be written. Give --output a folder that exists and is yours."
        )


def _print_table(before: Score, after: Score) -> None:
    print(f"\n{'':<14}{'examples':>10}{'before':>10}{'after':>10}")
    print(f"{'unseen test':<14}{after.examples:>10}{before.mean:>10.3f}{after.mean:>10.3f}")
    for name, part in after.parts.items():
        print(f"  {name:<22}{before.parts.get(name, 0.0):>10.3f}{part:>10.3f}")


def _print_instructions(before: dspy.Module, after: dspy.Module) -> None:
    improved = dict(after.named_predictors())
    for name, predictor in before.named_predictors():
        label = "" if name == "self" else f" of {name}"
        print(f"\nInstruction{label} before:\n{predictor.signature.instructions}")
        # A model wrote it, and it goes to a terminal.
        print(f"\nInstruction{label} after:\n{readable(improved[name].signature.instructions)}")
        if demos := improved[name].demos:
            shown = "\n".join(f"  {dict(demo)}" for demo in demos)
            print(f"\nDemonstrations{label}, found by the optimizer:\n{shown}")

"""Demonstrations after the instructions, as pipelines that come from MIPROv2 ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.teleprompt import BootstrapFewShot

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.streams import stream
from dspy_gepa.program.calls.boundary import Raised, settled
from dspy_gepa.program.calls.usage import Meter
from dspy_gepa.program.copying import copied
from dspy_gepa.program.rollouts.metric import Metric

__all__ = ["DemoSettings", "Demonstrated", "demonstrated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """How many demonstrations a predictor may get, and by which model they are made."""

    bootstrapped: int = 0
    labeled: int = 0
    teacher: dspy.Module | None = None
    """The program that makes them; the improved one itself where it is None."""
    teacher_settings: Mapping[str, Any] = field(default_factory=dict)
    metric_threshold: float | None = None

    @property
    def is_asked_for(self) -> bool:
        """Whether any demonstrations are to be tried."""
        return self.bootstrapped + self.labeled > 0

    def most_examples(self, trainset: int) -> int:
        """How many training examples are tried at most, one metric call each.

        Our choice: four for each demonstration that is wanted, which finds them where a quarter
        of the answers is right; MIPROv2 goes through the whole training set if need be.
        """
        wanted = max(16, 4 * self.bootstrapped, self.labeled)
        return min(trainset, wanted) if self.is_asked_for else 0


@dataclass(frozen=True, slots=True)
class Demonstrated:
    """A program with demonstrations, and what it cost to find them."""

    program: dspy.Module
    tally: Tally
    """What it took to find them."""
    problem: str = ""
    """Why there are none; empty where there are."""


def demonstrated(
    program: dspy.Module,
    student: dspy.Module,
    trainset: Sequence[dspy.Example],
    metric: Metric,
    settings: DemoSettings,
    *,
    seed: int,
) -> Demonstrated:
    """A copy of the program with demonstrations from DSPy's own BootstrapFewShot.

    Instructions, models and everything else stay as they are. `student` is the program before
    its instructions were improved: what a teacher of the user's own is compared with.
    """
    calls = 0

    def counted(example: Any, prediction: Any, trace: Any = None) -> float:
        nonlocal calls
        calls += 1
        return metric.bootstrap(example, prediction, trace)

    examples = list(trainset)
    stream(seed, "demonstrations").shuffle(examples)
    learner = BootstrapFewShot(
        counted,
        metric_threshold=settings.metric_threshold,
        teacher_settings=dict(settings.teacher_settings),
        max_bootstrapped_demos=settings.bootstrapped,
        max_labeled_demos=settings.labeled,
        max_errors=len(examples) + 1,
    )
    base = copied(student if settings.teacher is not None else program)
    base._compiled = False  # noqa: SLF001 - DSPy's mark; it refuses programs that bear it
    tried = examples[: settings.most_examples(len(examples))]
    meter = Meter()
    with meter.around():
        taught = settled(lambda: learner.compile(base, teacher=settings.teacher, trainset=tried))
    # A run that fails never gets to the metric.
    done = Tally.of(meter.usage, metric_calls=calls, rollouts=calls + learner.error_count)
    if isinstance(taught, Raised):
        return Demonstrated(program, done, f"{type(taught.error).__name__}: {taught.error}")
    found = {name: predictor.demos for name, predictor in taught.named_predictors()}
    result = copied(program)
    for name, predictor in result.named_predictors():
        predictor.demos = found[name]
    problem = "" if any(found.values()) else "no answer was good enough to serve as one"
    return Demonstrated(result, done, problem)

"""Demonstrations after the instructions, as pipelines that come from MIPROv2 ask for them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.teleprompt import BootstrapFewShot

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.streams import stream
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.models.usage import Meter
from dspy_gepa.program.copying import copied
from dspy_gepa.program.rollouts.metric import Metric

__all__ = ["NO_DEMOS", "DemoSettings", "Demonstrated", "demonstrated", "demos_of", "with_demos"]


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

        Our choice: four for each bootstrapped one, which finds them if a quarter of the answers is
        right, one for each labeled one, and at least 16; MIPROv2 may go through the whole training
        set.
        """
        wanted = max(16, 4 * self.bootstrapped, self.labeled)
        return min(trainset, wanted) if self.is_asked_for else 0


NO_DEMOS = DemoSettings()
"""None are asked for."""


@dataclass(frozen=True, slots=True)
class Demonstrated:
    """A program with demonstrations, and what it cost to find them."""

    program: dspy.Module
    tally: Tally
    problem: str = ""
    """Why there are none; empty if there are."""
    is_final: bool = True
    """Whether the same would come of it another time."""


class _Timely(list[dspy.Example]):
    """Examples of which no more are given out when the time is up."""

    def __init__(self, examples: Sequence[dspy.Example], seconds: float) -> None:
        super().__init__(examples)
        self._deadline_seconds = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._deadline_seconds

    def __iter__(self) -> Iterator[dspy.Example]:
        return itertools.takewhile(lambda _example: not self.is_over, super().__iter__())


def demonstrated(
    program: dspy.Module,
    student: dspy.Module,
    trainset: Sequence[dspy.Example],
    metric: Metric,
    settings: DemoSettings,
    *,
    seed: int,
    seconds: float | None = None,
) -> Demonstrated:
    """A copy of the program with demonstrations from DSPy's own BootstrapFewShot.

    Instructions, models and everything else stay as they are. `student` is the program before
    its instructions were improved: what a teacher of the user's own is compared with. After so
    many seconds no further example is tried, and the program gets no demonstrations. After Ctrl-C
    it gets none either.
    """
    calls = judged = 0

    def counted(example: Any, prediction: Any, trace: Any = None) -> float:
        nonlocal calls, judged
        calls += 1
        score = metric.bootstrap(example, prediction, trace)
        judged += 1
        return score

    shuffled = list(trainset)
    stream(seed, "demonstrations").shuffle(shuffled)
    tried = _Timely(
        shuffled[: settings.most_examples(len(shuffled))], math.inf if seconds is None else seconds
    )
    learner = BootstrapFewShot(
        counted,
        metric_threshold=settings.metric_threshold,
        teacher_settings=dict(settings.teacher_settings),
        max_bootstrapped_demos=settings.bootstrapped,
        max_labeled_demos=settings.labeled,
        max_errors=len(tried) + 1,
    )
    base = copied(student if settings.teacher is not None else program)
    base._compiled = False  # noqa: SLF001 - DSPy's mark; it refuses programs that bear it
    meter, stopped = Meter(), ""
    taught: dspy.Module | Failed = base
    try:
        with meter.around():
            taught = catching(
                lambda: learner.compile(base, teacher=settings.teacher, trainset=tried)
            )
    except KeyboardInterrupt:
        stopped = "interrupted from the keyboard"
    if tried.is_over:
        stopped = stopped or "the seconds were over before they were found"
    # A run that fails never gets a score.
    done = Tally.of(meter.usage, metric_calls=calls, rollouts=judged + learner.error_count)
    if stopped:
        return Demonstrated(program, done, stopped, is_final=False)
    if isinstance(taught, Failed):
        problem = f"{type(taught.error).__name__}: {taught.error}"
        return Demonstrated(program, done, problem, is_final=False)
    demos = {name: predictor.demos for name, predictor in taught.named_predictors()}
    result = with_demos(program, demos)
    if any(demos.values()):
        return Demonstrated(result, done)
    problem = "no answer was good enough to serve as one"
    return Demonstrated(result, done, problem, is_final=not learner.error_count)


def demos_of(program: dspy.Module) -> dict[str, list[dict[str, Any]]]:
    """The demonstrations of each predictor, as DSPy saves them."""
    return {name: each.dump_state()["demos"] for name, each in program.named_predictors()}


def with_demos(program: dspy.Module, demos: Mapping[str, Sequence[Any]]) -> dspy.Module:
    """A copy of the program with these demonstrations for the predictors that are named."""
    result = copied(program)
    for name, predictor in result.named_predictors():
        if name in demos:
            predictor.demos = list(demos[name])
    return result

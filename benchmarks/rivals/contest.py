"""What an optimizer is asked to do, the metric that it may call so often, and what it had by then.

The metric refuses every call above the limit by raising `OverLimit`, which is no `Exception`:
optimizers take those for examples that failed, and would go on. What was the best so far is then
told by `Watch`, which sees the same of every optimizer: which program was run on which example, and
what the metric said.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import dspy
from dspy.utils.callback import BaseCallback
from task import Task

__all__ = ["Contest", "Limited", "Missing", "OverLimit", "Rollout", "SoFar", "Unsuited", "Watch"]


class Missing(Exception):
    """What an optimizer, a task or a model needs is not here; the message says what to do."""


class Unsuited(Exception):
    """An optimizer is not made for the task; nothing is missing."""


class OverLimit(BaseException):
    """The metric was called more often than the budget allows."""


class SoFar(NamedTuple):
    """The best program when the budget was used up."""

    state: dict[str, Any] | None
    """As `Module.load_state` takes it; None where nothing was scored."""
    why: str
    """By what it is the best."""


class Rollout(NamedTuple):
    """One run of a program on an example."""

    score: float
    feedback: str
    answer: str
    """What the program said, or what was said in place of it."""


class _Run(NamedTuple):
    program: str
    is_first: bool
    """Whether the program was not run on the example before."""


_LAST: ContextVar[_Run | None] = ContextVar("the run that ended last here", default=None)


class Watch(BaseCallback):
    """Sees which programs are run, and keeps what each of them scored."""

    def __init__(self, task: Task) -> None:
        self._type = type(task.program)
        self._validation = [_inputs_key(each.inputs().toDict()) for each in task.validation]
        self._states: dict[str, dict[str, Any]] = {}
        self._scores: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Note the program, and that it scores 0 here until the metric says something else."""
        del call_id
        if type(instance) is not self._type:
            return
        state = {name: _without_lm(part) for name, part in instance.dump_state().items()}
        program = hashlib.sha256(
            json.dumps(state, sort_keys=True, default=str).encode()
        ).hexdigest()
        with self._lock:
            self._states.setdefault(program, state)
            scores = self._scores.setdefault(program, {})
            key = _inputs_key(inputs.get("kwargs", {}))
            is_first = key not in scores
            scores.setdefault(key, 0.0)
        _LAST.set(_Run(program, is_first))

    def scored(self, example: dspy.Example, score: float | None) -> None:
        """Note what the metric said of the program that ran last; None if it refused."""
        run = _LAST.get()
        _LAST.set(None)
        if run is None:
            return
        key = _inputs_key(example.inputs().toDict())
        with self._lock:
            if score is not None:
                self._scores[run.program][key] = score
            elif run.is_first:
                self._scores[run.program].pop(key, None)

    def best(self) -> SoFar:
        """The best program by the whole validation set; else by what most were scored on."""
        wanted = set(self._validation)
        means = {
            program: fmean(scores[key] for key in self._validation)
            for program, scores in self._scores.items()
            if wanted and wanted <= scores.keys()
        }
        if means:
            best = max(means, key=means.__getitem__)
            return SoFar(
                self._states[best], f"the best of {len(means)} that all of validation was run on"
            )
        most = max((len(scores) for scores in self._scores.values()), default=0)
        means = {
            program: fmean(scores.values())
            for program, scores in self._scores.items()
            if len(scores) * 2 >= most > 0
        }
        if not means:
            return SoFar(None, "nothing was scored, so the program as given")
        best = max(means, key=means.__getitem__)
        count = len(self._scores[best])
        return SoFar(self._states[best], f"the best of {len(means)}, by {count} examples")


def _inputs_key(inputs: Mapping[str, Any]) -> str:
    return repr(sorted(inputs.items()))


def _without_lm(part: Any) -> Any:
    # The LMs of all programs are the same but for settings of sampling.
    return {**part, "lm": None} if isinstance(part, dict) and "lm" in part else part


class Limited:
    """The metric in the forms that optimizers want, with one count and one limit."""

    def __init__(self, metric: Callable[..., Any], limit: int, watch: Watch) -> None:
        self.limit, self.watch = limit, watch
        self.calls = self.refused = 0
        self._metric = metric
        self._lock = threading.Lock()

    def told(
        self,
        gold: dspy.Example,
        pred: Any,
        trace: object = None,
        pred_name: str | None = None,
        pred_trace: object = None,
    ) -> dspy.Prediction:
        """Score and feedback, also of one predictor.

        Raises:
            OverLimit: the budget is used up.
        """
        del trace
        with self._lock:
            is_refused = self.calls >= self.limit
            self.refused += is_refused
            self.calls += not is_refused
        if is_refused:
            self.watch.scored(gold, None)
            raise OverLimit(f"The budget of {self.limit} metric calls is used up.")
        graded = self._metric(gold, pred, None, pred_name, pred_trace)
        if pred_name is None:
            self.watch.scored(gold, float(graded.score))
        return graded

    def number(self, gold: dspy.Example, pred: Any, trace: object = None) -> float:
        """The score; for a demonstration, which DSPy marks by a trace, whether all is right."""
        found = float(self.told(gold, pred).score)
        return found if trace is None else float(found >= 1)


@dataclass(frozen=True)
class Contest:
    """What an optimizer is asked to do."""

    task: Task
    """With as many examples as it may use."""
    task_lm: Any
    reflection_lm: Any
    metric: Limited
    seed: int
    num_threads: int

    @property
    def budget(self) -> int:
        """The limit in metric calls."""
        return self.metric.limit

    @property
    def both(self) -> list[dspy.Example]:
        """Training and validation examples."""
        return [*self.task.train, *self.task.validation]

    def student(self) -> dspy.Module:
        """A copy of the program as given."""
        return self.task.program.deepcopy()

    def compiled(self, optimizer: Any, **settings: Any) -> dspy.Module:
        """What it makes of the program, with training and validation set."""
        task = self.task
        return optimizer.compile(
            self.student(), trainset=task.train, valset=task.validation, **settings
        )

    def rollout(self, program: dspy.Module, example: dspy.Example) -> Rollout:
        """One run with what the metric says; an answer that cannot be read scores 0 unasked."""
        try:
            prediction = program(**example.inputs())
        except dspy.AdapterParseError as error:
            return Rollout(0.0, "The answer could not be read.", str(error))
        graded = self.metric.told(example, prediction)
        answer = "\n".join(f"{name}: {value}" for name, value in prediction.items())
        return Rollout(float(graded.score), str(graded.feedback), answer)

    def validated(self, program: dspy.Module) -> float:
        """The mean score on the validation set."""
        return fmean(self.rollout(program, example).score for example in self.task.validation)

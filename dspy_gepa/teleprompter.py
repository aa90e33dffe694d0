"""`GEPA`: checks its arguments, wires the rooms together, runs the search, returns a program."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import dspy
from dspy.teleprompt import Teleprompter

from dspy_gepa.core.budget import proposal_cost, useful_floor
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.components import COMPONENT_SELECTORS, ComponentSelector
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import SELECTIONS, Selection
from dspy_gepa.core.state import Settings
from dspy_gepa.errors import ReflectionError, SettingsError, WorkerError, WrongType
from dspy_gepa.observe.observer import FanOut, Observer
from dspy_gepa.observe.progress import ProgressLog
from dspy_gepa.program.auto import auto_metric_calls
from dspy_gepa.program.details import detailed_results
from dspy_gepa.program.examples import ExampleTable, tabulate
from dspy_gepa.program.lm import reflection_asker
from dspy_gepa.program.metric import Metric
from dspy_gepa.program.program import build, components_of
from dspy_gepa.program.worker import ProgramWorker
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.result import RunResult
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import Finish, run
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.run.worker import Worker

__all__ = ["GEPA"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

Strategy = TypeVar("Strategy")


class GEPA(Teleprompter):  # type: ignore[misc]  # DSPy is untyped here
    """Improves the instructions of a DSPy program by reflecting on what went wrong.

    Runs the student on a few training examples, shows a reflection LM what it did and what the
    metric said about it, tries the rewritten instructions on the same examples, and validates
    those that do better. Parents are drawn from the members that are best at some validation
    example; two members that learned different things are merged. Paper: arXiv 2507.19457.

    Args:
        metric: `metric(gold, pred)`, also with `trace=None` or with the five parameters of
            `dspy.GEPA`. Returns a number, `(score, feedback)`, a dict or a `dspy.Prediction`
            with `score` and `feedback`. The feedback is what the reflection LM learns from.
        auto: "light", "medium" or "heavy": a budget by the size of program and validation set.
            At most one of the three budgets; with none, "light".
        max_full_evals: A budget of so many times training and validation set.
        max_metric_calls: A budget in metric calls. Never exceeded.
        reflection_minibatch_size: Training examples that a proposal learns from.
        candidate_selection_strategy: "pareto", "current_best", "epsilon_greedy", "top_k_pareto",
            or a function from a `PoolView` and a `random.Random` to a member's id.
        reflection_lm: A `dspy.LM` that rewrites instructions; a strong one pays. Without one,
            the LM that is configured in DSPy when `compile` is called.
        skip_perfect_score: Whether a minibatch on which all is well is not reflected on.
        component_selector: "round_robin", "all", or a function from a `ComponentView` to names.
        use_merge: Whether members are merged.
        max_merge_invocations: How many merges are tried at most.
        num_threads: Rollouts in flight at once; as DSPy is configured where it is None. The
            result does not depend on it.
        failure_score: The score where the program or the metric fails on an example.
        perfect_score: The score that cannot be improved on.
        track_stats: Whether the returned program carries `detailed_results`.
        track_best_outputs: Whether those hold the best outputs; needs `track_stats`.
        seed: All chance follows from it.
        observers: Told of every event of the run.

    Raises:
        SettingsError: an argument is wrong. Says what was given and what is allowed.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        auto: Literal["light", "medium", "heavy"] | None = None,
        max_full_evals: int | None = None,
        max_metric_calls: int | None = None,
        reflection_minibatch_size: int = 3,
        candidate_selection_strategy: str | Selection = "pareto",
        reflection_lm: dspy.BaseLM | Callable[[str], Any] | str | None = None,
        skip_perfect_score: bool = True,
        component_selector: str | ComponentSelector = "round_robin",
        use_merge: bool = True,
        max_merge_invocations: int = 5,
        num_threads: int | None = None,
        failure_score: float = 0.0,
        perfect_score: float = 1.0,
        track_stats: bool = False,
        track_best_outputs: bool = False,
        seed: int = 0,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.metric_fn = metric
        self.auto = auto
        self.max_full_evals = max_full_evals
        self.max_metric_calls = max_metric_calls
        self.reflection_minibatch_size = reflection_minibatch_size
        self.candidate_selection_strategy = candidate_selection_strategy
        self.reflection_lm = reflection_lm
        self.skip_perfect_score = skip_perfect_score
        self.component_selector = component_selector
        self.use_merge = use_merge
        self.max_merge_invocations = max_merge_invocations
        self.num_threads = num_threads
        self.failure_score = failure_score
        self.perfect_score = perfect_score
        self.track_stats = track_stats
        self.track_best_outputs = track_best_outputs
        self.seed = seed
        self.observers = tuple(observers)
        self._result: RunResult | None = None
        self._check_arguments()

    @property
    def result(self) -> RunResult:
        """The last run of `compile`: members, proposals, costs, why it ended.

        Raises:
            SettingsError: `compile` has not run yet.
        """
        if self._result is None:
            raise SettingsError("There is no result yet: call compile first.")
        return self._result

    def compile(
        self,
        student: dspy.Module,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example] | None = None,
        *,
        teacher: dspy.Module | None = None,  # noqa: ARG002 - chains of optimizers pass one
    ) -> dspy.Module:
        """A copy of the student with the best instructions that were found.

        The student is not changed. The copy is a plain DSPy program: save it with its `save` and
        load it wherever DSPy is installed. Ctrl-C ends the run and returns the best so far.

        Args:
            student: The program; each of its predictors is a component.
            trainset: Examples to learn from.
            valset: Examples to choose by. Without them the training set serves for both, and the
                chosen program is likelier to be overfit.
            teacher: Not used; accepted because chains of optimizers pass one.

        Raises:
            SettingsError: an argument is wrong; nothing was spent.
            WorkerError: a model or its server cannot be used.
            ReflectionError: the reflection LM never gave a usable text.
        """
        seed = components_of(student)
        table = tabulate(trainset, valset)
        if not valset:
            logger.warning("No valset provided; Using trainset as valset. A separate one is safer.")
        metric = Metric(self.metric_fn)
        settings = self._settings(seed, table, metric)
        worker = ProgramWorker(
            student,
            metric,
            table.examples,
            Reflector(reflection_asker(self.reflection_lm), perfect_score=self.perfect_score),
            failure_score=self.failure_score,
            keep_outputs=self.track_best_outputs,
        )
        logger.info(
            "GEPA: components %s, %d training and %d validation examples, at most %d metric calls",
            ", ".join(seed),
            len(table.train),
            len(table.validation),
            settings.max_metric_calls,
        )
        self._result = None
        finish = self._run(settings, seed, worker)
        self._result = RunResult(finish.state)
        return self._program(finish, student)

    def _run(self, settings: Settings, seed: Candidate, worker: Worker) -> Finish:
        threads = self.num_threads or dspy.settings.num_threads or 1
        executor: Executor = (
            SerialExecutor(worker) if threads == 1 else ThreadedExecutor(worker, threads)
        )
        listeners = [FanOut([ProgressLog(), *self.observers])]
        try:
            return run(start(settings, seed), executor, listeners)
        finally:
            executor.close()

    def _program(self, finish: Finish, student: dspy.Module) -> dspy.Module:
        state, result = finish.state, RunResult(finish.state)
        if state.is_broken:
            raise WorkerError(
                f"The run stopped because its work cannot be carried out: {state.ending}\n"
                f"{state.tally.metric_calls} metric calls were made until then. Check the model's "
                "name, its key and that its server can be reached, then run again."
            ) from finish.error
        if result.failed and result.accepted == 0 and result.failed == len(result.proposals):
            raise ReflectionError(
                f"None of {result.failed} reflections gave a usable text, so there is nothing to "
                f"return but the program as it was. The last one: "
                f"{result.proposals[-1].verdict.reason}. Try a stronger reflection_lm, or one "
                "with a larger max_tokens."
            )
        if not state.members:
            logger.warning("Stopped before the program was validated: it is returned unchanged.")
            return build(student, components_of(student))
        program = build(student, state.members[state.best].candidate)
        if self.track_stats:
            program.detailed_results = detailed_results(
                state, student, keeps_outputs=self.track_best_outputs
            )
        return program

    def _settings(self, seed: Candidate, table: ExampleTable, metric: Metric) -> Settings:
        selector = self.component_selector
        feedback_calls = 0
        if metric.asks_per_component:
            feedback_calls = 1 if selector == "round_robin" else len(seed)
        settings = Settings(
            train=table.train,
            validation=table.validation,
            max_metric_calls=self._limit(seed, table),
            seed=self.seed,
            minibatch_size=self.reflection_minibatch_size,
            selection=_named(self.candidate_selection_strategy, SELECTIONS),
            components=_named(selector, COMPONENT_SELECTORS),
            skip_perfect_score=self.skip_perfect_score,
            perfect_score=self.perfect_score,
            feedback_calls=feedback_calls,
            use_merge=self.use_merge,
            max_merge_invocations=self.max_merge_invocations,
        )
        minibatch = min(settings.minibatch_size, len(table.train))
        cost = proposal_cost(
            parent=minibatch,
            child=minibatch + len(table.validation),
            feedback=feedback_calls * minibatch,
        )
        floor = useful_floor(validation=len(table.validation), proposal=cost)
        if settings.max_metric_calls < floor:
            logger.warning(
                "A budget of %d metric calls is below the useful floor of %d: %d to validate the "
                "program as it is, and %d for each of three proposals. What fits is done.",
                settings.max_metric_calls,
                floor,
                len(table.validation),
                cost,
            )
        return settings

    def _limit(self, seed: Candidate, table: ExampleTable) -> int:
        if self.max_metric_calls is not None:
            return self.max_metric_calls
        if self.max_full_evals is not None:
            return self.max_full_evals * len(table.examples)
        return auto_metric_calls(
            self.auto or "light", components=len(seed), validation=len(table.validation)
        )

    def _check_arguments(self) -> None:
        Metric(self.metric_fn)
        budgets = {
            name: value
            for name in ("auto", "max_full_evals", "max_metric_calls")
            if (value := getattr(self, name)) is not None
        }
        if len(budgets) > 1:
            raise SettingsError(
                f"{len(budgets)} budgets were given: {budgets}. At most one is allowed: auto, "
                'max_full_evals or max_metric_calls. With none, auto="light" holds.'
            )
        if self.auto not in (None, "light", "medium", "heavy"):
            raise SettingsError(
                f'auto={self.auto!r} was given; "light", "medium" and "heavy" are allowed.'
            )
        for name, lowest in _LOWEST.items():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise WrongType(f"{name}={value!r} was given, and a whole number is needed.")
            if value < lowest:
                raise SettingsError(f"{name}={value} was given; {lowest} is the lowest allowed.")
        _named(self.candidate_selection_strategy, SELECTIONS)
        _named(self.component_selector, COMPONENT_SELECTORS)
        if self.track_best_outputs and not self.track_stats:
            raise SettingsError("track_best_outputs=True needs track_stats=True to keep them in.")


_LOWEST = {
    "max_full_evals": 1,
    "max_metric_calls": 1,
    "reflection_minibatch_size": 1,
    "max_merge_invocations": 0,
    "num_threads": 1,
    "seed": 0,
}
"""The lowest allowed value of every argument that is a whole number."""


def _named(given: str | Strategy, known: Mapping[str, Strategy]) -> Strategy:
    """The strategy of this name, or the given one where it is a function already."""
    if not isinstance(given, str):
        if not callable(given):
            raise WrongType(f"{given!r} was given; allowed are {list(known)} or a function.")
        return given
    if given not in known:
        raise SettingsError(f"{given!r} was given; allowed are {list(known)} or a function.")
    return known[given]

"""A task carried out: the search, what follows it, and the program that is handed over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import dspy

from dspy_gepa.assembly.best_program import (
    BestKeeper,
    described_program,
    example_digest,
    save_best,
    sides_of,
)
from dspy_gepa.assembly.execution import KEPT_BACK, check_prices
from dspy_gepa.assembly.observers import observers_for
from dspy_gepa.assembly.outcome import concluded
from dspy_gepa.assembly.source import source_digests
from dspy_gepa.compilation.allowance import (
    Allowance,
    allowance_for,
    plan_for,
    search_settings,
)
from dspy_gepa.compilation.demonstrations import Demonstrating
from dspy_gepa.compilation.reflection import rules_for
from dspy_gepa.compilation.runner import Runner, models_of, runner_for
from dspy_gepa.compilation.specialists import Specializing, config_again
from dspy_gepa.compilation.task import Task
from dspy_gepa.compilation.verdict import (
    Verifying,
    further_rollouts,
    left_for_search,
    unvalidated,
    verdict_tally,
)
from dspy_gepa.core.budget import NOTHING, Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.observe.observer import attempted
from dspy_gepa.observe.progress import Progress
from dspy_gepa.observe.telling import Telling
from dspy_gepa.plan import Plan
from dspy_gepa.program.components.kinds import TOOL, unsaved
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.program import build
from dspy_gepa.program.rollouts.aggregate import FirstAggregate, aggregate_scores, check_all_there
from dspy_gepa.program.rollouts.outputs import OutputForms
from dspy_gepa.program.unimproved import remarks_on
from dspy_gepa.program.worker import ProgramWorker
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.result import RunResult, Specializer
from dspy_gepa.run.loop import RunOutcome
from dspy_gepa.session import RunIdentity, check, run, run_directory
from dspy_gepa.specialists.pool import specialists_later
from dspy_gepa.store.run_dir import RunDir

__all__ = ["Compilation", "Compiled", "compilation_of"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class Compiled(NamedTuple):
    """What a call of `compile` came to."""

    program: dspy.Module
    result: RunResult
    score: float | None
    """The mean validation score of the best program with its demonstrations; None if the run was
    stopped before the program as it was given was validated."""


@dataclass(frozen=True)
class Compilation:
    """A task, with what its search is asked to do and what each part may spend."""

    task: Task
    rules: Rules
    """What new texts are held to."""
    allowance: Allowance
    settings: Settings
    plan: Plan

    def compiled(self, keep: Callable[[RunResult], None]) -> Compiled:
        """Search, try what follows, and hand over a program with all that this cost.

        Args:
            keep: Is given what is known at every state, so that the last one is known whatever
                ends the run.

        Raises:
            SettingsError: a limit is asked for that cannot be kept; nothing was written.
            MetricError: the metric returned something that is no score, or the aggregate metric.
            WorkerError: a model or its server cannot be used, or the program or the metric.
            ReflectionError: no reflection ever gave a usable text.
            JournalError: the run directory holds another run, or cannot be used.
        """
        progress = _progress_of(self.task)
        telling = progress.telling

        def remember(state: RunState) -> None:
            keep(_so_far(state, telling))

        with self.run_directory() as run_dir, telling.whole(if_failed=remember):
            runner = runner_for(self.task, self.rules, self.allowance.in_flight)
            finish = self.searched(runner, run_dir, remember, progress)
            self._check(finish, runner)
            compiled = self._handed_over(finish, runner, run_dir, telling)
            telling.concluded(compiled.result.outcome)
            progress.done()
            return compiled

    def run_directory(self) -> AbstractContextManager[RunDir | None]:
        """Where all that comes of it is kept; None without `log_dir`.

        Raises:
            SettingsError: a limit is asked for that cannot be kept; nothing was written.
            JournalError: the directory holds another run, or cannot be used.
        """
        task, config = self.task, self.task.config
        models = models_of(task)
        check_prices(config, models, measures_usd="usd" in config.scores.directions)
        outputs = OutputForms(task.student, warns=config.scores.aggregate_metric is not None)
        identity = RunIdentity(
            seed=task.seed,
            examples=tuple(map(example_digest, task.table.searched)),
            anchors=task.table.anchors,
            metric=task.metric.name,
            models=models,
            described=described_program(task.student),
            sides=tuple(map(sides_of, task.table.searched))
            if config.execution.log_examples
            else (),
            code=source_digests({"metric": task.score, "program": task.student}),
            roots=self._roots,
            # By default the window follows from the budget, which may have been raised.
            follows_budget=() if config.search.window else ("settings.window",),
            output_forms={"stored_output": outputs.stored, "restored_output": outputs.restored},
        )
        return run_directory(config.execution.directory, self.settings, identity)

    def searched(
        self,
        runner: Runner,
        run_dir: RunDir | None,
        on_state: Callable[[RunState], None],
        progress: Progress,
    ) -> RunOutcome:
        """How the search ends, whatever that is.

        Raises:
            JournalError: the run directory cannot be used.
            MetricError: the aggregate metric cannot be used.
        """
        task, settings = self.task, self.settings
        if not settings.feedback_calls:
            task.metric.only_score()  # no calls are held for more
        self._warn_of_texts()
        for warning in filter(None, [self.allowance.unasked, self.plan.warning]):
            logger.warning("%s", warning)
        if kept := self.allowance.kept_back:
            logger.info(KEPT_BACK, kept)
        aggregate = task.config.scores.aggregate_metric
        trials = () if aggregate is None else (FirstAggregate(aggregate, task.table.examples),)
        with closing(runner.worker(task.student)) as worker:
            return run(
                settings,
                task.seed,
                lambda state: runner.executor(self._ready(worker, state), task.student),
                run_dir=run_dir,
                keeper=lambda kept: BestKeeper(kept, task.student),
                observers=observers_for(task.config, task.customization.callbacks, progress),
                telling=progress.telling,
                stoppers=task.customization.stoppers,
                on_state=on_state,
                on_stored=trials,
                trial_calls=self.allowance.trial.metric_calls,
                roots=self._roots,
            )

    @property
    def _roots(self) -> dict[str, object]:
        """All that may hold secrets."""
        task = self.task
        return {
            "models": models_of(task),
            "program": task.student,
            "metric": task.score,
            "arguments": task.config.arguments,
            "demos": task.demos,
        }

    def _ready(self, worker: ProgramWorker, state: RunState) -> ProgramWorker:
        """The worker, with a metric that knows what was asked of it before this state.

        Raises:
            JournalError: the choice of the winner needs answers of which only the text was kept.
        """
        if self.task.config.scores.aggregate_metric is not None:
            check_all_there(state)
        self.task.metric.recall(each.metric_calls for each in state.known.values())
        return worker

    def _warn_of_texts(self) -> None:
        """Say what is asked for and cannot be had, or cannot be kept in the usual way."""
        task = self.task
        for remark in remarks_on(task.student, task.demos, task.learned):
            logger.warning("%s", remark)
        has_tools = any(part.kind is TOOL for part in task.parts.values())
        if "tools" in task.config.texts.optimize and not has_tools:
            logger.warning("The program has no tools whose descriptions could be improved.")
        if lost := unsaved(task.parts):
            logger.warning(
                "program.save with a .json does not keep the texts of %s; save_program=True does.",
                ", ".join(lost),
            )

    def _check(self, finish: RunOutcome, runner: Runner) -> None:
        """Nothing, if the run came to a result."""
        check(
            finish,
            log_dir=self.task.config.execution.directory,
            program=lambda best: build(self.task.student, best),
            thing="program",
            advice=runner.thread_advice,
        )

    def _handed_over(
        self, finish: RunOutcome, runner: Runner, run_dir: RunDir | None, telling: Telling
    ) -> Compiled:
        """The student with the best texts, and the result with all that this cost.

        If demonstrations are asked for, they are kept if the validation scores rise by them. If
        there are held-out examples, the verdict on them may say that the seed is returned.

        Raises:
            JournalError: the run directory cannot be read or written.
        """
        task, scores = self.task, self.task.config.scores
        result = replace(_so_far(finish.state, telling), is_stopped=finish.is_stopped)
        if not result.members:
            logger.warning("Stopped before the program was validated: it is returned unchanged.")
            result = concluded(replace(result, verdict=unvalidated(task.table)), run_dir)
            return Compiled(build(task.student, task.seed), result, None)
        if absent := [name for name in scores.directions if name not in result.state.objectives]:
            logger.warning("No validated rollout had the objectives %s.", ", ".join(absent))
        if (metric := scores.aggregate_metric) is not None:
            aggregates = aggregate_scores(result.state, metric, task.table.examples)
            result = replace(result, aggregates=aggregates)
        best = build(task.student, result.members[result.best].candidate)
        demonstrating = Demonstrating(runner, self.settings, self.allowance.search, run_dir)
        chosen = demonstrating.chosen(best, result.mean_scores[result.best], finish)
        result = replace(
            result,
            demo_tally=chosen.tally,
            demonstrations=chosen.words,
            specializer=self._specializer(result),
        )
        program, result = self._checked(chosen.program, result, finish, runner, run_dir)
        if run_dir is not None:
            problem = "%s takes no copy of the best program, which is returned all the same"
            attempted(partial(save_best, run_dir, program), problem, run_dir.path)
        return Compiled(program, concluded(result, run_dir), chosen.score)

    def _specializer(self, result: RunResult) -> Specializer:
        """How specialists are made of this result later, without another rollout."""
        examples = dict(enumerate(self.task.table.examples))
        return partial(specialists_later, result.state, result.best, examples)

    def _checked(
        self,
        program: dspy.Module,
        result: RunResult,
        finish: RunOutcome,
        runner: Runner,
        run_dir: RunDir | None,
    ) -> tuple[dspy.Module, RunResult]:
        """The program to hand over: specialists if they gain, the seed if the verdict says so."""
        task, whole, searches = self.task, self.allowance.whole, NOTHING
        further = further_rollouts(task.table, self.settings, run_dir)
        if task.config.afterwards.specialists is not None:
            limits = left_for_search(whole, verdict_tally(task.table))
            specializing = Specializing(runner, limits, further, self._search_again)
            specialized, searches = specializing.specialized(result.best, finish, result.tally)
            program = specialized.program
            result = replace(result, routing=specialized.routing)
        verifying = Verifying(runner, whole, further, run_dir)
        seed = build(task.student, task.seed)
        program, verdict, cost = verifying.verified(seed, program, finish, result.tally + searches)
        return program, replace(result, verdict=verdict, further_tally=cost + searches)

    def _search_again(
        self, seed: Candidate, table: ExampleTable, limits: Limits, number: int
    ) -> RunOutcome | None:
        """How a search on a part of the examples ends; None if nothing is left for one."""
        if (config := config_again(self.task.config, limits, table, number)) is None:
            return None
        second = compilation_of(self.task.again(config, seed, table))
        logger.info("Specialist %d is searched for, on what the members so far fail.", number)
        with second.run_directory() as run_dir:
            runner = runner_for(second.task, second.rules, second.allowance.in_flight)
            finish = second.searched(
                runner, run_dir, lambda _state: None, _progress_of(second.task)
            )
        if finish.state.is_broken:
            logger.warning("The search for it stopped: %s", finish.state.ending)
        return finish


def _progress_of(task: Task) -> Progress:
    """Says what happens while it runs."""
    predictors = [each for _, each in task.student.named_predictors()]
    fields = [(p.signature.input_fields, p.signature.output_fields) for p in predictors]
    shown = [" -> ".join(", ".join(side) for side in sides) for sides in fields]
    thing = f'"{shown[0]}"' if len(shown) == 1 else f"{len(shown)} predictors" if shown else ""
    return Progress(Telling(), task.config.tracking.progress, thing)


def _so_far(state: RunState, telling: Telling) -> RunResult:
    """What is known when this state is reached."""
    return RunResult(state, teller=telling.teller, facts=telling.facts)


def compilation_of(task: Task) -> Compilation:
    """The task, with its rules, its allowance, its settings and its plan.

    Raises:
        SettingsError: a rule cannot be kept, or the budget cannot hold what is asked for.
    """
    rules = rules_for(task.config.texts, task.student, task.parts, task.learned)
    allowance = allowance_for(task, rules)
    settings = search_settings(task, rules, allowance.for_search_alone)
    plan = plan_for(task, rules, allowance, settings)
    return Compilation(task, rules, allowance, settings, plan)

"""Makes a run from arguments, and a program from its end. Knows every room, decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial

import dspy

from dspy_gepa.arguments import Arguments
from dspy_gepa.core.budget import NOTHING, Limits, Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.forecast import forecast
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.demonstrating import Demonstrating, set_aside
from dspy_gepa.equipment import Equipment
from dspy_gepa.fitting import OF_THE_BUDGET
from dspy_gepa.observe.observer import attempted
from dspy_gepa.planning import Plan, sized_budget
from dspy_gepa.presets import is_single_component, settings_for
from dspy_gepa.program.components.kinds import CODE, TOOL, Kind, kinds_for, owners_of, unsaved
from dspy_gepa.program.demos import DemoSettings
from dspy_gepa.program.details import attach_mipro_statistics, detailed_results
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.program import build, components_of
from dspy_gepa.program.rollouts.aggregate import aggregate_scores, check_all_there
from dspy_gepa.program.rollouts.outputs import OutputForms
from dspy_gepa.program.unimproved import remarks_on
from dspy_gepa.recording import BestKeeper, keep_outcome, opened, save_best
from dspy_gepa.result import RunResult, Specializer
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import Finish
from dspy_gepa.run.worker import Worker
from dspy_gepa.running import check, searched
from dspy_gepa.specialists.pool import specialists_later
from dspy_gepa.specializing import (
    Specializing,
    arguments_again,
    second_search,
    specialists_tally,
)
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.verifying import (
    Verifying,
    check_held,
    further_rollouts,
    left_for_search,
    verdict_tally,
)
from dspy_gepa.wording import frozen_components

__all__ = ["Optimization"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_OF_THE_WINDOW = ("settings.window", "settings.sampler")
"""Settings that follow from the budget as well, where no window is given."""


@dataclass(frozen=True)
class Optimization:
    """One call of `compile`: a student, its data, and what is to be done with them."""

    arguments: Arguments
    student: dspy.Module
    table: ExampleTable
    demos: DemoSettings

    def run_dir(self) -> AbstractContextManager[RunDir | None]:
        """Where all that comes of it is kept; None without `log_dir`.

        Raises:
            SettingsError: a limit is asked for that cannot be kept; nothing was written.
            JournalError: the directory holds another run, or cannot be used.
        """
        self.equipment.check_prices()
        if (folder := self.arguments.log_dir) is None:
            return nullcontext()
        return opened(
            folder,
            seed=self._components,
            settings=self.settings,
            table=self.table,
            metric=self.equipment.metric.name,
            models=self.equipment.models,
            student=self.student,
            log_examples=self.arguments.log_examples,
            roots={"program": self.student, "arguments": self.arguments, "demos": self.demos},
            outputs=OutputForms(self.student, warns=self.arguments.aggregate_metric is not None),
            # By default these follow from the budget, which may have been raised.
            adopt=OF_THE_BUDGET if self.arguments.window else (*OF_THE_BUDGET, *_OF_THE_WINDOW),
        )

    def search(self, run_dir: RunDir | None, told: Callable[[RunState], None]) -> Finish:
        """Run the search to its end, whatever that is: see `check`.

        Args:
            run_dir: Where it is kept.
            told: Is told of every state, so that the last one is known also where a strategy, the
                journal or the second Ctrl-C raises.

        Raises:
            JournalError: the run directory cannot be used.
        """
        seed, settings, equipment = self._components, self.settings, self.equipment
        if not settings.feedback_calls:
            equipment.metric.only_score()  # no calls are held for more
        self._warn_of_texts()
        for warning in filter(None, [self._unasked_budget, self.plan.warning]):
            logger.warning("%s", warning)
        with closing(equipment.worker(self.student)) as worker:
            return searched(
                settings,
                seed,
                run_dir,
                told,
                observers=equipment.observers(),
                keeper=lambda kept: BestKeeper(kept, self.student),
                executor=lambda begun: self._executor(worker, begun),
                stoppers=equipment.stoppers(),
                telling=equipment.telling,
                trial_calls=self._trial.metric_calls,
            )

    def _executor(self, worker: Worker, begun: RunState) -> Executor:
        """What carries requests out, with a metric that knows what was asked of it before.

        Raises:
            JournalError: the choice of the winner needs answers of which only the text was kept.
        """
        if self.arguments.aggregate_metric is not None:
            check_all_there(begun)
        self.equipment.metric.recall(each.metric_calls for each in begun.known.values())
        return self.equipment.executor(worker)

    def _warn_of_texts(self) -> None:
        """Say where what is asked for cannot be had, or cannot be kept in the usual way."""
        parts = self.equipment.parts
        learned = [self.table.examples[example] for example in self.table.train]
        for remark in remarks_on(self.student, self.demos, learned):
            logger.warning("%s", remark)
        if "tools" in self.arguments.optimize and not any(p.kind is TOOL for p in parts.values()):
            logger.warning("The program has no tools whose descriptions could be improved.")
        if lost := unsaved(parts):
            logger.warning(
                "program.save with a .json does not keep the texts of %s; save_program=True does.",
                ", ".join(lost),
            )

    @cached_property
    def equipment(self) -> Equipment:
        """What carries it out."""
        return Equipment(self.arguments, self.student, self.table)

    @property
    def settings(self) -> Settings:
        """What the search is asked to do."""
        return self._settings_with(self._search_limits.left(self._aside + self._trial))

    def _settings_with(self, limits: Limits) -> Settings:
        given, parts = self.arguments, self.equipment.parts
        frozen = frozen_components(given, tuple(parts))
        rewritable = [part for name, part in parts.items() if name not in frozen]
        is_single = is_single_component(given)
        names = [part.name for part in rewritable]
        most_calls = 2 if is_single else self.equipment.most_calls(names)
        asks = self.equipment.metric.asks_per_component
        asked = tuple(part.name for part in rewritable if asks and part.kind.is_asked_about)
        # Our own reflection may ask once more; others are taken to ask once for each component.
        code = tuple(part.name for part in rewritable if part.kind is CODE)
        is_ours = given.instruction_proposer is None and not code
        settings = settings_for(
            given,
            self.table,
            limits,
            feedback_calls=min(len(asked), 1) if is_single else len(asked),
            asked_about=asked,
            reflection_calls=most_calls if is_ours else 1 if is_single else len(names),
            text_merge=self.equipment.text_merge,
            frozen=frozen,
            owners=owners_of(parts),
        )
        if not code or given.search == "paper":
            return settings
        return replace(settings, mends=given.repairs, mended=code)

    @property
    def plan(self) -> Plan:
        """What it will cost."""
        usual = forecast(self._settings_with(Limits()))
        return Plan(
            forecast(self.settings),
            tuple(self._components),
            self._aside.metric_calls,
            usual,
            verdict_tally(self.table).metric_calls,
            0 if self.arguments.specialists is None else self._for_specialists,
        )

    @property
    def _components(self) -> Candidate:
        return components_of(self.student, self._kinds)

    @property
    def _kinds(self) -> tuple[Kind, ...]:
        return kinds_for(self.arguments.optimize)

    def program(self, finish: Finish, run_dir: RunDir | None) -> tuple[dspy.Module, RunResult]:
        """The student with the best texts, and the result with all that this cost.

        Where demonstrations are asked for, they are kept if the validation scores rise by them.
        Where there are held-out examples, the verdict on them may say that the seed is returned.

        Args:
            finish: How the search ended.
            run_dir: Where the program is kept.

        Raises:
            JournalError: the run directory cannot be read or written.
        """
        result = replace(self.so_far(finish.state), is_stopped=finish.is_stopped)
        if not result.members:
            logger.warning("Stopped before the program was validated: it is returned unchanged.")
            result = self._concluded(result, run_dir)
            return build(self.student, self._components), result
        if absent := [n for n in self.arguments.directions if n not in result.state.objectives]:
            logger.warning("No rollout of the seed had the objectives %s.", ", ".join(absent))
        if (metric := self.arguments.aggregate_metric) is not None:
            scores = aggregate_scores(result.state, metric, self.table.examples)
            result = replace(result, aggregates=scores)
        best = build(self.student, result.members[result.best].candidate)
        trying = Demonstrating(
            self.equipment, self.demos, self.settings, self._search_limits, run_dir
        )
        chosen, score, done, said = trying.chosen(best, result.mean_scores[result.best], finish)
        result = replace(
            result, demo_tally=done, demonstrations=said, specializer=self._specializer(result)
        )
        chosen, result = self._checked(chosen, result, finish, run_dir)
        if self.arguments.keeps_stats:
            chosen.detailed_results = detailed_results(
                result.state,
                self.student,
                chosen=result.returned,
                keeps_outputs=self.arguments.track_best_outputs,
                log_dir=self.arguments.log_dir,
            )
        if self.arguments.keeps_stats and self.arguments.is_for_mipro:
            attach_mipro_statistics(chosen, result.state, self.student, score=score)
        if run_dir is not None:
            problem = "%s takes no copy of the best program, which is returned all the same"
            attempted(partial(save_best, run_dir, chosen), problem, run_dir.path)
        return chosen, self._concluded(result, run_dir)

    def _concluded(self, result: RunResult, run_dir: RunDir | None) -> RunResult:
        """The result as what it is from now on: said, and kept where the run is."""
        result = replace(result, is_final=True)
        if run_dir is not None:
            problem = "%s takes no outcome, and tells less of this run than its result does"
            attempted(partial(keep_outcome, run_dir, result), problem, run_dir.path)
        self.equipment.progress.done(result.story)
        return result

    def so_far(self, state: RunState) -> RunResult:
        """What is known when this state is reached."""
        telling = self.equipment.telling
        return RunResult(state, teller=telling.teller, facts=telling.facts)

    def _specializer(self, result: RunResult) -> Specializer:
        """How specialists are made of this result later, without another rollout."""
        examples = dict(enumerate(self.table.examples))
        return partial(specialists_later, result.state, result.best, examples)

    def _checked(
        self, chosen: dspy.Module, result: RunResult, finish: Finish, run_dir: RunDir | None
    ) -> tuple[dspy.Module, RunResult]:
        """The program to hand over: specialists where they gain, the seed where nothing does."""
        further, searched = further_rollouts(self.equipment, self.settings, run_dir), NOTHING
        if self.arguments.specialists is not None:
            limits = left_for_search(self._limits, verdict_tally(self.table))
            specializing = Specializing(self.equipment, limits, further, self._search_again)
            found, tally = specializing.specialized(result.best, finish, result.tally)
            chosen, searched = found.program, tally
            result = replace(result, routing=found.routing)
        verifying = Verifying(self.equipment, self._limits, further, run_dir)
        seed = build(self.student, self._components)
        chosen, verdict, cost = verifying.verified(seed, chosen, finish, result.tally + searched)
        return chosen, replace(result, verdict=verdict, further_tally=cost + searched)

    def _search_again(
        self, seed: Candidate, table: ExampleTable, limits: Limits, number: int
    ) -> Finish | None:
        """How a search on a part of the examples ends; None where nothing is left for one."""
        if (again := arguments_again(self.arguments, limits, table, number)) is None:
            return None
        second = Optimization(again, build(self.student, seed), table, self.demos)
        logger.info("Specialist %d is searched for, on what the members so far fail.", number)
        with second.run_dir() as run_dir:
            finish = second.search(run_dir, lambda _state: None)
        if finish.state.is_broken:
            logger.warning("The search for it stopped: %s", finish.state.ending)
        return finish

    @property
    def _trial(self) -> Tally:
        """What is set aside for trying once what a metric takes that does not say it."""
        return Tally(metric_calls=1) if self.equipment.metric.is_unsure else NOTHING

    @property
    def _aside(self) -> Tally:
        """What is set aside for demonstrations."""
        return set_aside(self.demos, self.table, self._search_limits)

    @property
    def _held(self) -> Tally:
        """What is held for specialists and the verdict."""
        return self._specialists + verdict_tally(self.table)

    @property
    def _for_specialists(self) -> int:
        """The metric calls that are held for specialists, those of their own searches included."""
        held = left_for_search(self._limits, verdict_tally(self.table)).metric_calls or 0
        return held - (self._search_limits.metric_calls or 0)

    @property
    def _specialists(self) -> Tally:
        """What is held for the scores of specialists."""
        given = self.arguments
        return specialists_tally(given.specialists, len(self.table.validation), given.chooser)

    @property
    def _search_limits(self) -> Limits:
        """The limits of the search and of demonstrations, without what is held for the rest."""
        limits = left_for_search(self._limits, self._held)
        is_asked = self.arguments.specialists is not None
        return left_for_search(limits, second_search(limits)) if is_asked else limits

    @cached_property
    def _limits(self) -> Limits:
        """The limits of all that is done.

        Raises:
            SettingsError: they do not hold the specialists or the verdict that are asked for.
        """
        limits = self._given_limits
        if limits is None:
            unlimited = forecast(self._settings_with(Limits()))
            calls = sized_budget(unlimited, self.arguments.size, components=len(self._components))
            # The size is that of the search, without what specialists and the verdict take.
            if self.arguments.specialists is not None:
                calls += calls // 2
            calls += self._held.metric_calls
            limits = replace(self.arguments.other_limits, metric_calls=calls)
        check_held(limits, self._held)
        return limits

    @property
    def _given_limits(self) -> Limits | None:
        """What the arguments say; None where it is a budget by size."""
        train, validation = self.table.train, self.table.validation
        return self.arguments.limits(
            components=len(self._components),
            # Also where an example is in both sets, as in dspy.GEPA.
            examples=len(train) + (len(validation) if validation != train else 0),
            validation=len(self.table.validation),
        )

    @property
    def _unasked_budget(self) -> str:
        """That there is a budget which nobody gave, where other limits may be taken for one."""
        others = self.arguments.other_limits
        if self.arguments.auto or self._given_limits is not None or others == Limits():
            return ""
        return (
            f"No budget was given beside other limits ({others.listed()}), so "
            f'auto="{self.arguments.size}" holds as well: {self._limits.metric_calls} metric '
            "calls. Give max_metric_calls for more or fewer."
        )

    def check(self, finish: Finish) -> None:
        """Nothing, where the run came to a result.

        Raises:
            MetricError: the metric returned something that is no score.
            WorkerError: a model or its server cannot be used, or the program or the metric.
            ReflectionError: no reflection ever gave a usable text.
        """
        check(
            finish,
            log_dir=self.arguments.log_dir,
            program=lambda best: build(self.student, best),
            thing="program",
            advice=self.equipment.thread_advice,
        )

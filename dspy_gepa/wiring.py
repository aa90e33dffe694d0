"""Makes a run from arguments, and a program from its end. Knows every room, decides nothing."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import dspy

from dspy_gepa.arguments import Arguments
from dspy_gepa.core.budget import NOTHING, Limits, proposal_cost, useful_floor
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.equipment import Equipment
from dspy_gepa.errors import MetricError, ReflectionError, WorkerError
from dspy_gepa.observe.observer import FanOut
from dspy_gepa.program.demos import DemoSettings, demonstrated
from dspy_gepa.program.details import attach_mipro_statistics, detailed_results
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.kinds import INSTRUCTION, parts_of
from dspy_gepa.program.program import build, components_of
from dspy_gepa.program.strategies import component_selector, selection
from dspy_gepa.recording import BestKeeper, opened, save_best
from dspy_gepa.result import RunResult
from dspy_gepa.run.loop import Finish, run
from dspy_gepa.store.run_dir import RunDir

__all__ = ["Optimization"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


@dataclass(frozen=True)
class Optimization:
    """One call of `compile`: a student, its data, and what is to be done with them."""

    arguments: Arguments
    student: dspy.Module
    table: ExampleTable
    demos: DemoSettings

    def search(self) -> Finish:
        """Run the search to its end, whatever that is: see `check`.

        Raises:
            SettingsError: a limit is asked for that cannot be kept.
            JournalError: the run directory cannot be used.
        """
        seed, settings, equipment = components_of(self.student), self.settings, self.equipment
        equipment.check_prices()
        self._warn_below_floor(settings)
        logger.info(
            "GEPA: components %s, %d training and %d validation examples, limits: %s",
            ", ".join(seed),
            len(self.table.train),
            len(self.table.validation),
            settings.limits.shown(NOTHING, seconds=0),
        )
        begun, journal = start(settings, seed), []
        with ExitStack() as closing:
            observers = list(equipment.observers())
            if self.arguments.log_dir is not None:
                run_dir = closing.enter_context(self._run_dir(self.arguments.log_dir, settings))
                # First among the listeners: what happened is written before anybody acts on it.
                begun, journal = run_dir.resumed(begun), [run_dir.journal]
                observers.append(BestKeeper(run_dir.path, self.student))
            told = FanOut(observers)
            closing.callback(told.close)
            executor = equipment.executor(equipment.worker(self.student))
            closing.callback(executor.close)
            return run(begun, executor, [*journal, told], equipment.stoppers())

    @property
    def equipment(self) -> Equipment:
        """What carries it out."""
        return Equipment(self.arguments, self.student, self.table)

    @property
    def settings(self) -> Settings:
        """What the search is asked to do."""
        given, table = self.arguments, self.table
        components = len(components_of(self.student))
        parts, is_single = (
            parts_of(self.student).values(),
            given.component_selector == "round_robin",
        )
        asked = sum(part.kind.is_asked_about for part in parts)
        asks = self.equipment.metric.asks_per_component
        rewritten = 1 if is_single else components
        # Our own reflection may ask once more; of others nothing is known.
        is_ours = given.instruction_proposer is None and all(p.kind is INSTRUCTION for p in parts)
        return Settings(
            train=table.train,
            validation=table.validation,
            limits=self._limits,
            seed=given.seed or 0,
            minibatch_size=given.reflection_minibatch_size or 3,
            window=given.window,
            selection=selection(given.candidate_selection_strategy),
            components=component_selector(given.component_selector, table.examples),
            gate=given.gate,
            frontier=given.frontier_type,
            skip_perfect_score=given.skip_perfect_score,
            perfect_score=1.0 if given.perfect_score is None else given.perfect_score,
            feedback_calls=(min(asked, 1) if is_single else asked) if asks else 0,
            reflection_calls=2 * rewritten if is_ours else rewritten,
            use_merge=given.use_merge and given.max_merge_invocations is not None,
            max_merge_invocations=given.max_merge_invocations or 0,
        )

    def program(self, result: RunResult) -> tuple[dspy.Module, RunResult]:
        """The student with the best texts, and the result with all that this cost.

        Where demonstrations are asked for, they are kept if the validation scores rise by them.
        """
        if not result.members:
            logger.warning("Stopped before the program was validated: it is returned unchanged.")
            return build(self.student, components_of(self.student)), result
        best = build(self.student, result.members[result.best].candidate)
        score, calls = result.mean_scores[result.best], 0
        try:
            chosen, score, calls = self._demonstrated(best, score)
        except KeyboardInterrupt:
            logger.warning("Interrupted while demonstrations were tried: there are none.")
            chosen = best
        result = replace(result, demo_metric_calls=calls)
        if self.arguments.keeps_stats:
            chosen.detailed_results = detailed_results(
                result.state,
                self.student,
                keeps_outputs=self.arguments.track_best_outputs,
                log_dir=self.arguments.log_dir,
            )
        if self.arguments.keeps_stats and self.arguments.is_for_mipro:
            attach_mipro_statistics(chosen, result.state, self.student, score=score)
        if self.arguments.log_dir is not None:
            save_best(Path(self.arguments.log_dir), chosen)
        return chosen, result

    def _demonstrated(self, best: dspy.Module, score: float) -> tuple[dspy.Module, float, int]:
        """The program with or without demonstrations, its score, and metric calls made for it."""
        if not self._demo_calls:
            return best, score, 0
        trainset = [self.table.examples[example] for example in self.table.train]
        tried = demonstrated(
            best,
            self.student,
            trainset,
            self.equipment.metric,
            self.demos,
            seed=self.arguments.seed or 0,
        )
        if tried.problem:
            logger.warning("No demonstrations: %s", tried.problem)
            return best, score, tried.metric_calls
        scores, calls = self._validated(tried.program)
        calls += tried.metric_calls
        reached = sum(scores) / len(scores) if scores else float("-inf")
        is_better = len(scores) == len(self.table.validation) and reached > score
        logger.info(
            "Demonstrations: %.3f against %.3f without, %s",
            reached,
            score,
            "kept" if is_better else "left out",
        )
        return (tried.program, reached, calls) if is_better else (best, score, calls)

    def _validated(self, program: dspy.Module) -> tuple[list[float], int]:
        """A program's scores on the validation examples, and the metric calls made."""
        settings = replace(
            self.settings, limits=Limits(metric_calls=len(self.table.validation), proposals=0)
        )
        executor = self.equipment.executor(self.equipment.worker(program))
        try:
            state = run(start(settings, components_of(program)), executor).state
        finally:
            executor.close()
        if state.is_broken:
            logger.warning("Demonstrations could not be validated: %s", state.ending)
        return state.scores.ravel().tolist(), state.tally.metric_calls

    @property
    def _demo_calls(self) -> int:
        """Metric calls set aside for demonstrations; 0 where none are tried."""
        calls = self.demos.most_examples(len(self.table.train))
        if not calls:
            return 0
        calls += len(self.table.validation)
        limit = self._given_limits.metric_calls
        return calls if limit is None or calls + len(self.table.validation) <= limit else 0

    @property
    def _limits(self) -> Limits:
        """The limits of the search."""
        given = self._given_limits
        if given.metric_calls is None:
            return given
        return replace(given, metric_calls=max(given.metric_calls - self._demo_calls, 1))

    @property
    def _given_limits(self) -> Limits:
        return self.arguments.limits(
            components=len(components_of(self.student)),
            examples=len(self.table.examples),
            validation=len(self.table.validation),
        )

    def _run_dir(self, path: str, settings: Settings) -> RunDir:
        return opened(
            path,
            seed=components_of(self.student),
            settings=settings,
            table=self.table,
            metric=self.equipment.metric.name,
            models=self.equipment.models,
        )

    def _warn_below_floor(self, settings: Settings) -> None:
        minibatch, validation = settings.minibatch_size, len(settings.validation)
        minibatch = min(minibatch, len(settings.train))
        cost = proposal_cost(
            parent=minibatch,
            child=minibatch + validation,
            feedback=settings.feedback_calls * minibatch,
            reflection_calls=settings.reflection_calls,
        ).metric_calls
        floor, limit = (
            useful_floor(validation=validation, proposal=cost),
            settings.limits.metric_calls,
        )
        if limit is not None and limit < floor:
            logger.warning(
                "A budget of %d metric calls is below the useful floor of %d: %d to validate the "
                "program as it is, and %d for each of three proposals. What fits is done.",
                limit,
                floor,
                validation,
                cost,
            )

    def check(self, finish: Finish) -> None:
        """Nothing, where the run came to a result.

        Raises:
            MetricError: the metric returned something that is no score.
            WorkerError: a model or its server cannot be used, or the program or the metric.
            ReflectionError: no reflection ever gave a usable text.
        """
        state, result = finish.state, RunResult(finish.state)
        if isinstance(finish.error, MetricError):
            raise finish.error
        if state.is_broken:
            best = result.members[result.best].candidate if result.members else None
            kept = (
                f" What was paid for is in {self.arguments.log_dir}: the same call carries on."
                if self.arguments.log_dir is not None
                else " With log_dir=... a later call could carry on."
            )
            raise WorkerError(
                f"The run stopped because its work cannot be carried out: {state.ending}\n"
                f"{state.tally.metric_calls} metric calls were made until then. Check the model's "
                f"name, its key and that its server can be reached, then run again.{kept}",
                program=build(self.student, best) if best is not None else None,
            ) from finish.error
        if result.failed and result.failed == len(result.proposals):
            raise ReflectionError(
                f"None of {result.failed} reflections gave a usable text, so there is nothing to "
                f"return but the program as it was. The last one: "
                f"{result.proposals[-1].verdict.reason}. Try a stronger reflection_lm, or one "
                "with a larger max_tokens."
            )

"""Makes a run from arguments, and a program from its end. Knows every room, decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dspy

from dspy_gepa.arguments import Arguments
from dspy_gepa.core.budget import proposal_cost, useful_floor
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.core.work import Answer, Breakdown, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import MetricError, ReflectionError, WorkerError
from dspy_gepa.observe.callbacks import CallbackObserver
from dspy_gepa.observe.observer import FanOut, Observer
from dspy_gepa.observe.progress import ProgressLog
from dspy_gepa.observe.scores import RangeCheck
from dspy_gepa.observe.tracking import MlflowTracker, WandbTracker
from dspy_gepa.program.code_proposer import CodeProposer
from dspy_gepa.program.demos import DemoSettings, demonstrated
from dspy_gepa.program.details import attach_mipro_statistics, detailed_results
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.kinds import CODE, INSTRUCTION, parts_of
from dspy_gepa.program.lm import reflection_asker
from dspy_gepa.program.metric import Metric
from dspy_gepa.program.program import build, components_of
from dspy_gepa.program.proposer import CustomProposer
from dspy_gepa.program.reflection import Reflect, ReflectionByKind
from dspy_gepa.program.strategies import SearchView, component_selector, selection
from dspy_gepa.program.worker import ProgramWorker
from dspy_gepa.recording import opened, save_best
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.result import RunResult
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import Finish, run
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.run.worker import Worker
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

    def search(self) -> RunResult:
        """Run the search to its end.

        Raises:
            MetricError: the metric returned something that is no score.
            WorkerError: a model or its server cannot be used.
            ReflectionError: no reflection ever gave a usable text.
        """
        seed, settings = components_of(self.student), self.settings
        self._warn_below_floor(settings)
        logger.info(
            "GEPA: components %s, %d training and %d validation examples, at most %d metric calls",
            ", ".join(seed),
            len(self.table.train),
            len(self.table.validation),
            settings.max_metric_calls,
        )
        begun, journal = start(settings, seed), []
        with ExitStack() as closing:
            if self.arguments.log_dir is not None:
                run_dir = closing.enter_context(self._run_dir(self.arguments.log_dir, settings))
                # First among the listeners: what happened is written before anybody acts on it.
                begun, journal = run_dir.resumed(begun), [run_dir.journal]
            observers = FanOut(self._observers())
            closing.callback(observers.close)
            executor = self._executor(self._worker(self.student))
            closing.callback(executor.close)
            finish = run(begun, executor, [*journal, observers], self._stoppers())
        _check(finish)
        return RunResult(finish.state)

    @property
    def settings(self) -> Settings:
        """What the search is asked to do."""
        given, table = self.arguments, self.table
        components = len(components_of(self.student))
        feedback_calls = 0
        if self.metric.asks_per_component:
            asked = sum(part.kind.is_asked_about for part in parts_of(self.student).values())
            feedback_calls = min(asked, 1) if given.component_selector == "round_robin" else asked
        return Settings(
            train=table.train,
            validation=table.validation,
            max_metric_calls=max(self._limit(components) - self._demo_calls, 1),
            seed=given.seed or 0,
            minibatch_size=given.reflection_minibatch_size or 3,
            window=given.window,
            selection=selection(given.candidate_selection_strategy),
            components=component_selector(given.component_selector, table.examples),
            gate=given.gate,
            frontier=given.frontier_type,
            skip_perfect_score=given.skip_perfect_score,
            perfect_score=1.0 if given.perfect_score is None else given.perfect_score,
            feedback_calls=feedback_calls,
            use_merge=given.use_merge and given.max_merge_invocations is not None,
            max_merge_invocations=given.max_merge_invocations or 0,
        )

    @property
    def metric(self) -> Metric:
        """The user's metric, in the one shape that we call."""
        return Metric(
            self.arguments.metric, warns_on_mismatch=self.arguments.warn_on_score_mismatch
        )

    def program(self, result: RunResult) -> tuple[dspy.Module, RunResult]:
        """The student with the best texts, and the result with all that this cost.

        Where demonstrations are asked for, they are kept if the validation scores rise by them.
        """
        if not result.members:
            logger.warning("Stopped before the program was validated: it is returned unchanged.")
            return build(self.student, components_of(self.student)), result
        best = build(self.student, result.members[result.best].candidate)
        chosen, score, calls = self._demonstrated(best, result.mean_scores[result.best])
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
            best, self.student, trainset, self.metric, self.demos, seed=self.arguments.seed or 0
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
        executor, texts = self._executor(self._worker(program)), components_of(program)
        answers: list[Answer] = []
        try:
            for example in self.table.validation:
                executor.submit(RolloutRequest(texts, example, traced=False))
            while executor.in_flight:
                answers.append(executor.next_answer())
        finally:
            executor.close()
        if broken := next((a for a in answers if isinstance(a, Breakdown)), None):
            logger.warning("Demonstrations could not be validated: %s", broken.cause)
        done = [answer.rollout for answer in answers if isinstance(answer, RolloutAnswer)]
        return [r.score for r in done], sum(r.metric_calls for r in done)

    @property
    def _demo_calls(self) -> int:
        """Metric calls set aside for demonstrations; 0 where none are tried."""
        calls = self.demos.most_examples(len(self.table.train))
        if not calls:
            return 0
        calls += len(self.table.validation)
        components = len(components_of(self.student))
        return calls if calls + len(self.table.validation) <= self._limit(components) else 0

    def _limit(self, components: int) -> int:
        table = self.table
        return self.arguments.limit(
            components=components,
            examples=len(table.examples),
            validation=len(table.validation),
        )

    def _worker(self, student: dspy.Module) -> Worker:
        given = self.arguments
        return ProgramWorker(
            student,
            self.metric,
            self.table.examples,
            self._reflect(),
            failure_score=given.failure_score,
            keep_outputs=given.track_best_outputs,
        )

    def _observers(self) -> Iterator[Observer]:
        given = self.arguments
        yield ProgressLog()
        yield RangeCheck(perfect_score=given.perfect_score, failure_score=given.failure_score)
        yield from given.observers
        for callback in given.callbacks:
            yield CallbackObserver(callback, self.table.examples)
        if given.use_mlflow:
            yield MlflowTracker(
                tracking_uri=given.mlflow_tracking_uri,
                experiment_name=given.mlflow_experiment_name,
                key_prefix=given.tracking_key_prefix,
            )
        if given.use_wandb:
            yield WandbTracker(
                wandb_api_key=given.wandb_api_key,
                wandb_init_kwargs=given.wandb_init_kwargs,
                key_prefix=given.tracking_key_prefix,
            )

    @property
    def _reflection_lm(self) -> Any:
        """What reflects, as it was given; None for the model that DSPy has configured."""
        given = self.arguments
        return given.reflection_lm if given.reflection_lm is not None else given.prompt_model

    def _reflect(self) -> Reflect:
        present = {part.kind.name for part in parts_of(self.student).values()}
        known = {INSTRUCTION.name: self._reflect_on_instructions, CODE.name: self._reflect_on_code}
        return ReflectionByKind(
            self.student, {kind: made() for kind, made in known.items() if kind in present}
        )

    def _reflect_on_instructions(self) -> Reflect:
        given, lm = self.arguments, self._reflection_lm
        if given.instruction_proposer is not None:
            return CustomProposer(
                given.instruction_proposer,
                self.student,
                lm=lm,
                shows_unparsed=given.add_format_failure_as_feedback,
            )
        return Reflector(
            reflection_asker(lm),
            perfect_score=given.perfect_score,
            shows_unparsed=given.add_format_failure_as_feedback,
        )

    def _reflect_on_code(self) -> Reflect:
        return CodeProposer(self.arguments.code_proposer, self.student, lm=self._reflection_lm)

    def _run_dir(self, path: str, settings: Settings) -> RunDir:
        return opened(
            path,
            seed=components_of(self.student),
            settings=settings,
            table=self.table,
            metric=self.metric.name,
            models={
                "program": dspy.settings.lm,
                "reflection": self._reflection_lm,
                **{
                    name: part.holder.lm
                    for name, part in parts_of(self.student).items()
                    if part.holder.lm
                },
            },
        )

    def _executor(self, worker: Worker) -> Executor:
        threads = self.arguments.num_threads or dspy.settings.num_threads or 1
        return SerialExecutor(worker) if threads == 1 else ThreadedExecutor(worker, threads)

    def _stoppers(self) -> Sequence[Callable[[RunState], str]]:
        return [_stopper(callback) for callback in self.arguments.stop_callbacks]

    def _warn_below_floor(self, settings: Settings) -> None:
        minibatch, validation = settings.minibatch_size, len(settings.validation)
        minibatch = min(minibatch, len(settings.train))
        cost = proposal_cost(
            parent=minibatch,
            child=minibatch + validation,
            feedback=settings.feedback_calls * minibatch,
        )
        floor = useful_floor(validation=validation, proposal=cost)
        if settings.max_metric_calls < floor:
            logger.warning(
                "A budget of %d metric calls is below the useful floor of %d: %d to validate the "
                "program as it is, and %d for each of three proposals. What fits is done.",
                settings.max_metric_calls,
                floor,
                validation,
                cost,
            )


def _stopper(callback: Callable[[Any], bool]) -> Callable[[RunState], str]:
    """A stop callback of the gepa package's kind, asked after every proposal."""
    name = getattr(callback, "__name__", type(callback).__name__)

    def reason(state: RunState) -> str:
        texts: tuple[Candidate, ...] = tuple(member.candidate for member in state.members)
        pool = PoolView(texts, state.scores, state.columns, len(state.history), state.spent)
        view = SearchView(pool)
        return f"the stop callback {name} asked for it" if callback(view) else ""

    return reason


def _check(finish: Finish) -> None:
    state, result = finish.state, RunResult(finish.state)
    if isinstance(finish.error, MetricError):
        raise finish.error
    if state.is_broken:
        raise WorkerError(
            f"The run stopped because its work cannot be carried out: {state.ending}\n"
            f"{state.tally.metric_calls} metric calls were made until then. Check the model's "
            "name, its key and that its server can be reached, then run again."
        ) from finish.error
    if result.failed and result.failed == len(result.proposals):
        raise ReflectionError(
            f"None of {result.failed} reflections gave a usable text, so there is nothing to "
            f"return but the program as it was. The last one: "
            f"{result.proposals[-1].verdict.reason}. Try a stronger reflection_lm, or one "
            "with a larger max_tokens."
        )

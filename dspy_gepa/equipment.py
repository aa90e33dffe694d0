"""What a run needs, made from arguments: worker, executor, observers, stoppers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from dspy_gepa.arguments import Arguments
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import SettingsError
from dspy_gepa.observe.callbacks import CallbackObserver
from dspy_gepa.observe.observer import Observer
from dspy_gepa.observe.progress import ProgressLog
from dspy_gepa.observe.scores import RangeCheck
from dspy_gepa.observe.tracking import MlflowTracker, WandbTracker
from dspy_gepa.program.code_proposer import CodeProposer
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.kinds import CODE, INSTRUCTION, parts_of
from dspy_gepa.program.lm import reflection_asker
from dspy_gepa.program.metric import Metric
from dspy_gepa.program.proposer import CustomProposer
from dspy_gepa.program.reflection import Reflect, ReflectionByKind
from dspy_gepa.program.strategies import SearchView
from dspy_gepa.program.usage import listed_price
from dspy_gepa.program.worker import ProgramWorker, WorkerSettings
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.run.worker import Worker

__all__ = ["Equipment"]


@dataclass(frozen=True)
class Equipment:
    """What carries a run out, and who is told of it."""

    arguments: Arguments
    student: dspy.Module
    table: ExampleTable

    @property
    def metric(self) -> Metric:
        """The user's metric, in the one shape that we call."""
        return Metric(
            self.arguments.metric, warns_on_mismatch=self.arguments.warn_on_score_mismatch
        )

    @property
    def models(self) -> dict[str, Any]:
        """What each model is used for, and the model, as it was given."""
        return {
            "program": dspy.settings.lm,
            "reflection": self.reflection_lm,
            **{
                name: part.holder.lm
                for name, part in parts_of(self.student).items()
                if part.holder.lm
            },
        }

    def check_prices(self) -> None:
        """Nothing, where every model that is known beforehand can be counted and priced.

        Raises:
            SettingsError: there is a limit in tokens or USD, and one of them cannot be.
        """
        given = self.arguments
        if given.max_usd is None and given.max_total_tokens is None:
            return
        limit = "max_usd" if given.max_usd is not None else "max_total_tokens"
        usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
        for use, model in self.models.items():
            if model is None or isinstance(model, str):
                name = model
            elif isinstance(model, dspy.BaseLM):
                name = model.model
            else:
                raise SettingsError(
                    f"{limit} was given, and the model for {use} is {model!r:.80}, whose calls "
                    "cannot be counted. Give a dspy.LM or another dspy.BaseLM in its place."
                )
            if (
                name
                and given.max_usd is not None
                and (given.price or listed_price)(name, usage) is None
            ):
                raise SettingsError(
                    f"max_usd={given.max_usd} was given, and the price of {name} is not known. "
                    "Give price=, a function from a model's name and a call's usage to USD, or a "
                    "limit in other units."
                )

    def worker(self, student: dspy.Module) -> Worker:
        """Runs this program: the student, or the student with demonstrations."""
        given = self.arguments
        return ProgramWorker(
            student,
            self.metric,
            self.table.examples,
            self._reflect(),
            WorkerSettings(
                failure_score=given.failure_score,
                keep_outputs=given.track_best_outputs,
                timeout_seconds=given.timeout_seconds,
                price=given.price,
                must_know_price=given.max_usd is not None,
                must_know_usage=given.max_total_tokens is not None,
            ),
        )

    def observers(self) -> Iterator[Observer]:
        """Who is told of every event."""
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
    def reflection_lm(self) -> Any:
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
        given, lm = self.arguments, self.reflection_lm
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
        return CodeProposer(self.arguments.code_proposer, self.student, lm=self.reflection_lm)

    def executor(self, worker: Worker) -> Executor:
        """Hands requests to this worker, as many at once as is asked for."""
        threads = self.arguments.num_threads or dspy.settings.num_threads or 1
        return SerialExecutor(worker) if threads == 1 else ThreadedExecutor(worker, threads)

    def stoppers(self) -> Sequence[Callable[[RunState], str]]:
        """Who may end the run after a proposal."""
        return [_stopper(callback) for callback in self.arguments.stop_callbacks]


def _stopper(callback: Callable[[Any], bool]) -> Callable[[RunState], str]:
    """A stop callback of the gepa package's kind, asked after every proposal."""
    name = getattr(callback, "__name__", type(callback).__name__)

    def reason(state: RunState) -> str:
        texts: tuple[Candidate, ...] = tuple(member.candidate for member in state.members)
        pool = PoolView(
            texts, state.scores, state.columns, len(state.history), state.spent.metric_calls
        )
        view = SearchView(pool)
        return f"the stop callback {name} asked for it" if callback(view) else ""

    return reason

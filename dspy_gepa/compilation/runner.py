"""How programs are run: worker and executor, made once from a task and the models of the call."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import dspy

from dspy_gepa.assembly.execution import must_know_price, timeout_seconds
from dspy_gepa.compilation.reflection import reflection_for
from dspy_gepa.compilation.task import Task
from dspy_gepa.models.usage import MEASURED
from dspy_gepa.program.components.kinds import parts_of
from dspy_gepa.program.proposers.reflection import Reflect
from dspy_gepa.program.remote import keys_in, program_parcel
from dspy_gepa.program.rollouts.entry import entry_of
from dspy_gepa.program.worker import ProgramWorker, WorkerSettings
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.parcel import Parcel
from dspy_gepa.session import executor_for

__all__ = ["Runner", "models_of", "runner_for"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_LARGE = 1_000_000
"""Bytes of a program that make the sending of it worth a word. Our choice."""


@dataclass(frozen=True)
class Runner:
    """Runs the student, or another program on the same examples and with the same metric."""

    task: Task
    reflect: Reflect
    settings: WorkerSettings
    num_threads: int

    def worker(self, program: dspy.Module) -> ProgramWorker:
        """Runs this program: the student, or the student with demonstrations. To be closed."""
        task = self.task
        return ProgramWorker(program, task.metric, task.table.examples, self.reflect, self.settings)

    @contextmanager
    def executing(self, program: dspy.Module) -> Iterator[Executor]:
        """What carries out rollouts of this program, for as long as that takes."""
        with (
            closing(self.worker(program)) as worker,
            closing(self.executor(worker, program)) as executor,
        ):
            yield executor

    def executor(self, worker: ProgramWorker, program: dspy.Module) -> Executor:
        """Hands requests to this worker of a program, or to the executor that was given.

        Raises:
            SettingsError: something of the program cannot be sent there.
        """
        return executor_for(
            worker,
            self.num_threads,
            self.task.config.execution.executor,
            lambda: self._parcel(program),
        )

    def _parcel(self, program: dspy.Module) -> Parcel:
        if named := keys_in(program):
            logger.warning(
                "The executor is sent keys that were given to models: %s. Leave them out, and set "
                "them in the environment of its processes.",
                ", ".join(named),
            )
        task = self.task
        parcel = program_parcel(program, task.score, self.settings, task.table.examples)
        if (size := len(parcel.recipe)) > _LARGE:
            logger.warning(
                "The program is %.1f MB as the executor's processes are sent it, with every "
                "rollout. If it holds an index or a model, open that at the first call.",
                size / 1e6,
            )
        return parcel

    @property
    def thread_advice(self) -> str:
        """What may be at fault if a program always fails: that it runs in another thread."""
        if entry_of(self.task.student).is_asynchronous:
            return (
                " Asynchronous programs run on an event loop of the run's own: what belongs to "
                "another one, such as a session that was opened before, cannot be used there. "
                "Have the program open it."
            )
        execution, seconds = self.task.config.execution, self.settings.timeout_seconds
        if execution.executor is not None:
            return (
                " Rollouts run in processes of the executor: what they need has to be there, and "
                "be made there. Try without executor= whether the program fails here, too."
            )
        reasons = {
            f"num_threads={self.num_threads}": self.num_threads > 1,
            f"timeout_seconds={execution.timeout_seconds}": seconds is not None
            and execution.timeout_seconds != "auto",
        }
        because = " and ".join(reason for reason, holds in reasons.items() if holds)
        if not because:
            return ""
        return (
            f" Rollouts run in threads of their own, because of {because}. If the program is bound "
            "to the thread that made it (SQLite, a signal handler, an event loop), take "
            "num_threads=1 without timeout_seconds, which runs it where compile is called."
        )


def runner_for(task: Task, rules: Rules, num_threads: int) -> Runner:
    """How the programs of this task are run, with the models that are configured now.

    Args:
        task: What is to be improved.
        rules: What new texts are held to.
        num_threads: How many rollouts are in flight.

    Raises:
        SettingsError: there is no model that could reflect.
    """
    config = task.config
    settings = WorkerSettings(
        failure_score=config.scores.failure,
        # A run directory holds them too, to be read by people.
        keep_outputs=config.tracking.track_best_outputs
        or config.scores.aggregate_metric is not None
        or config.execution.log_dir is not None,
        timeout_seconds=timeout_seconds(config.execution),
        price=config.budget.price,
        must_know_price=must_know_price(config),
        must_know_usage=config.budget.max_total_tokens is not None,
        kinds=task.kinds,
        measured=tuple(name for name in config.scores.directions if name in MEASURED),
        name_of=task.table.name_of,
    )
    return Runner(task, reflection_for(task, rules), settings, num_threads)


def models_of(task: Task) -> Mapping[str, Any]:
    """What each model is used for, and the model, as it was given."""
    parts = parts_of(task.student).items()
    return {
        "program": dspy.settings.lm,
        "reflection": task.config.reflection.reflection_lm,
        **{name: part.holder.lm for name, part in parts if part.holder.lm},
    }

"""What a run needs, made from arguments: worker, executor, observers, stoppers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import dspy

from dspy_gepa.arguments import Arguments
from dspy_gepa.core.merge import TextMerge
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.asking import reflection_asker
from dspy_gepa.models.media import media_kind
from dspy_gepa.models.usage import MEASURED, listed_price, priced
from dspy_gepa.observe.callbacks import CallbackObserver
from dspy_gepa.observe.observer import Observer
from dspy_gepa.observe.progress import Progress
from dspy_gepa.observe.scores import RangeCheck
from dspy_gepa.observe.telling import Telling
from dspy_gepa.observe.tracking import MlflowTracker, WandbTracker
from dspy_gepa.observe.uncalled import CallCheck
from dspy_gepa.program.components.description_templates import (
    ARGUMENT_TEMPLATE,
    FIELD_TEMPLATE,
    TOOL_TEMPLATE,
)
from dspy_gepa.program.components.kinds import (
    ARGUMENT,
    CODE,
    FIELD,
    INSTRUCTION,
    TOOL,
    Kind,
    Part,
    kinds_for,
    parts_of,
)
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.proposers.code_proposer import CodeProposer
from dspy_gepa.program.proposers.proposer import CustomProposer
from dspy_gepa.program.proposers.reflection import Reflect, ReflectionByKind, Ruled
from dspy_gepa.program.rollouts.entry import entry_of
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.program.strategies import SearchView
from dspy_gepa.program.worker import ProgramWorker, WorkerSettings
from dspy_gepa.reflect.prompt import Limits
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.reflect.templates import ADDITION, TRANSCRIPTION
from dspy_gepa.reflect.union import UnionMerge
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.run.worker import Worker
from dspy_gepa.wording import own_templates, prompt_tokens, references, rules, rules_for_code

__all__ = ["Equipment"]

_TIMEOUT_SECONDS = 900.0
"""Our choice: longer than agents mostly take, and short enough not to lose a night."""

_TEMPLATES = {
    TOOL.name: TOOL_TEMPLATE,
    ARGUMENT.name: ARGUMENT_TEMPLATE,
    FIELD.name: FIELD_TEMPLATE,
}
"""How our own reflection asks about what is described, by kind of component."""


@dataclass(frozen=True)
class Equipment:
    """What carries a run out, and who is told of it."""

    arguments: Arguments
    student: dspy.Module
    table: ExampleTable

    @cached_property
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
        asking = {
            f"max_usd={given.max_usd}": given.max_usd is not None,
            "objectives=usd": "usd" in given.directions,
            f"max_total_tokens={given.max_total_tokens}": given.max_total_tokens is not None,
        }
        limit = next((name for name, is_given in asking.items() if is_given), "")
        if not limit:
            return
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
            if not (name and self._needs_price):
                continue
            price = priced(given.price or listed_price, name, usage)
            if price.problem:
                raise SettingsError(f"{limit} was given, and it cannot be kept. {price.problem}")
            if price.usd is None:
                raise SettingsError(
                    f"{limit} was given, and the price of {name} is not known. Give price=, a "
                    "function from a model's name and a call's usage to USD, or ask for other "
                    "units."
                )

    @property
    def _needs_price(self) -> bool:
        return self.arguments.max_usd is not None or "usd" in self.arguments.directions

    def worker(self, student: dspy.Module) -> ProgramWorker:
        """Runs this program: the student, or the student with demonstrations. To be closed."""
        given = self.arguments
        return ProgramWorker(
            student,
            self.metric,
            self.table.examples,
            self._reflect(),
            WorkerSettings(
                failure_score=given.failure_score,
                # A run directory holds them too, to be read by people.
                keep_outputs=given.track_best_outputs
                or given.aggregate_metric is not None
                or given.log_dir is not None,
                timeout_seconds=self.timeout_seconds,
                price=given.price,
                must_know_price=self._needs_price,
                must_know_usage=given.max_total_tokens is not None,
                kinds=kinds_for(given.optimize),
                measured=tuple(name for name in given.directions if name in MEASURED),
                name_of=self.table.name_of,
            ),
        )

    @cached_property
    def telling(self) -> Telling:
        """Keeps the story of the run."""
        return Telling()

    @cached_property
    def progress(self) -> Progress:
        """Says what happens while it runs."""
        predictors = [each for _, each in self.student.named_predictors()]
        fields = [(p.signature.input_fields, p.signature.output_fields) for p in predictors]
        shown = [" -> ".join(", ".join(side) for side in sides) for sides in fields]
        thing = f'"{shown[0]}"' if len(shown) == 1 else f"{len(shown)} predictors" if shown else ""
        return Progress(self.telling, self.arguments.progress, thing)

    def observers(self) -> Iterator[Observer]:
        """Who is told of every event."""
        given = self.arguments
        yield self.progress
        yield RangeCheck(perfect_score=given.perfect_score, failure_score=given.failure_score)
        yield CallCheck()
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

    @property
    def parts(self) -> dict[str, Part]:
        """The components that there are to be improved."""
        return parts_of(self.student, kinds_for(self.arguments.optimize))

    @property
    def text_merge(self) -> TextMerge:
        """What a merge says where both members changed the same component."""
        prose = [name for name, part in self.parts.items() if part.kind is INSTRUCTION]
        return UnionMerge(prose, self._rules)

    @cached_property
    def _rules(self) -> Rules:
        """What new texts are held to."""
        learned = [self.table.examples[example] for example in self.table.train]
        return rules(self.arguments, self.student, self.parts, learned)

    def _reflect(self) -> Reflect:
        given, parts, lm, held_to = self.arguments, self.parts, self.reflection_lm, self._rules
        asked = lm if lm is not None else dspy.settings.lm
        own = Reflector(
            reflection_asker(lm),
            templates=own_templates(given, list(parts)),
            limits=Limits(prompt_tokens=prompt_tokens(asked)),
            perfect_score=given.perfect_score,
            shows_unparsed=given.add_format_failure_as_feedback,
            rules=held_to,
            guidance=given.guidance,
            references=references(given),
            media_kind=media_kind,
            may_ask_apart=self._may_ask_apart,
        )
        made: dict[str, Reflect] = {}
        for kind in {part.kind.name: part.kind for part in parts.values()}.values():
            if kind.name == CODE.name:
                made[kind.name] = Ruled(self._reflect_on_code(), rules_for_code(held_to))
            elif kind.name == INSTRUCTION.name and given.instruction_proposer is not None:
                made[kind.name] = Ruled(self._proposer(), held_to)
            else:
                made[kind.name] = self._reflector(own, kind)
        return ReflectionByKind(parts, made)

    def _reflector(self, own: Reflector, kind: Kind) -> Reflector:
        """Our own reflection, as it asks about components of this kind."""
        if kind.name != INSTRUCTION.name:
            return replace(own, template=_TEMPLATES[kind.name], is_joint=False)
        if self.arguments.edit_mode == "append":
            return replace(own, template=ADDITION, is_joint=False, adds=True)
        if self.arguments.reflection_style == "transcribe":
            return replace(own, template=TRANSCRIPTION, is_joint=False)
        return own

    def most_calls(self, components: Sequence[str]) -> int:
        """How often our own reflection asks about these components at most.

        Each question is asked about once more; what is asked about several together, where that
        is not counted, once more for each of them.
        """
        own, parts = own_templates(self.arguments, list(self.parts)), self.parts
        joint = [
            name
            for name in components
            if name not in own and parts[name].kind.name == INSTRUCTION.name and self._diagnoses
        ]
        together = 1 + (len(joint) if self._may_ask_apart else 1)
        return 2 * (len(components) - len(joint)) + (together if joint else 0)

    @property
    def _may_ask_apart(self) -> bool:
        """Whether what is asked about several instructions may be asked anew about each."""
        return self.arguments.max_reflection_calls is None

    @property
    def _diagnoses(self) -> bool:
        """Whether one question is about all instructions."""
        given = self.arguments
        return given.edit_mode == "rewrite" and given.reflection_style == "diagnose"

    def _proposer(self) -> Reflect:
        given = self.arguments
        return CustomProposer(
            given.instruction_proposer,
            self.student,
            lm=self.reflection_lm,
            shows_unparsed=given.add_format_failure_as_feedback,
        )

    def _reflect_on_code(self) -> Reflect:
        return CodeProposer(self.arguments.code_proposer, self.student, lm=self.reflection_lm)

    def executor(self, worker: Worker) -> Executor:
        """Hands requests to this worker, as many at once as is asked for."""
        threads = self.num_threads
        return SerialExecutor(worker) if threads == 1 else ThreadedExecutor(worker, threads)

    @property
    def num_threads(self) -> int:
        """How many rollouts run at once."""
        return self.arguments.num_threads or dspy.settings.num_threads or 1

    @property
    def timeout_seconds(self) -> float | None:
        """How long the program, its metric or a reflection may take; None for as long as it does.

        To leave something behind that takes too long, it has to run in another thread. So that
        nobody gets one who asked for one thread, there is a limit then only where it is asked for.
        """
        given = self.arguments.timeout_seconds
        if isinstance(given, str):
            return None if self.num_threads == 1 else _TIMEOUT_SECONDS
        return given

    @property
    def thread_advice(self) -> str:
        """What may be at fault where a program always fails: that it runs in another thread."""
        if entry_of(self.student).is_asynchronous:
            return (
                " Asynchronous programs run on an event loop of the run's own: what belongs to "
                "another one, such as a session that was opened before, cannot be used there. "
                "Have the program open it."
            )
        reasons = {
            f"num_threads={self.num_threads}": self.num_threads > 1,
            f"timeout_seconds={self.arguments.timeout_seconds}": self.timeout_seconds is not None
            and self.arguments.timeout_seconds != "auto",
        }
        because = " and ".join(reason for reason, holds in reasons.items() if holds)
        if not because:
            return ""
        return (
            f" Rollouts run in threads of their own, because of {because}. If the program is bound "
            "to the thread that made it (SQLite, a signal handler, an event loop), take "
            "num_threads=1 without timeout_seconds, which runs it where compile is called."
        )

    def stoppers(self) -> Sequence[Callable[[RunState], str]]:
        """Who may end the run after a proposal."""
        return [_stopper(callback) for callback in self.arguments.stop_callbacks]


def _stopper(callback: Callable[[Any], bool]) -> Callable[[RunState], str]:
    """A stop callback of the gepa package's kind, asked after every proposal."""
    name = getattr(callback, "__name__", type(callback).__name__)

    def reason(state: RunState) -> str:
        # Such a callback counts the proposals that are over: the seed is none.
        view = SearchView(state.pool(state.tally.proposals))
        return f"the stop callback {name} asked for it" if callback(view) else ""

    return reason

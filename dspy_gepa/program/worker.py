"""Carries out requests with a DSPy program, the user's metric and a reflection.

Whatever user code raises is said in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspy_gepa.core.budget import Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import OF_METRIC, Remark, Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.work import (
    Answer,
    Evidence,
    ReflectionAnswer,
    ReflectionRequest,
    RemarkAnswer,
    RemarkRequest,
    Request,
    RolloutAnswer,
    RolloutRequest,
)
from dspy_gepa.errors import MetricError
from dspy_gepa.models.account import Account, metered, reflected
from dspy_gepa.models.catching import Failed
from dspy_gepa.models.event_loop import EventLoop
from dspy_gepa.models.failures import failure_cause, failure_text
from dspy_gepa.models.media import captured
from dspy_gepa.models.outages import Outage
from dspy_gepa.models.timeouts import call_with_timeout
from dspy_gepa.models.usage import Meter, Price
from dspy_gepa.models.watch import Watch
from dspy_gepa.program.components.kinds import (
    CODE,
    DEFAULT_KINDS,
    ComponentKind,
    UnboundCode,
    parts_of,
)
from dspy_gepa.program.program import build, describe
from dspy_gepa.program.proposers.reflection import Reflect
from dspy_gepa.program.rollouts.entry import Entry, entry_of
from dspy_gepa.program.rollouts.metric import Judgement, Metric
from dspy_gepa.program.rollouts.past_run import PastRun, revived_run
from dspy_gepa.program.rollouts.recent import Recent
from dspy_gepa.program.rollouts.remarks import with_remarks
from dspy_gepa.program.rollouts.trace import PredictorCall, Predictors, ProgramRun

__all__ = ["ProgramWorker", "WorkerSettings"]

_PROGRAMS_KEPT = 8
"""Programs that stay built: about as many as there are candidates under way at once."""
_RUNS_KEPT = 500
"""Traced runs that are held for questions about components; older ones are made from traces."""

_UNMEASURED: Mapping[str, float] = MappingProxyType({})

ResultT = TypeVar("ResultT")


class _Built(NamedTuple):
    program: dspy.Module
    predictors: Predictors
    entry: Entry


class _Unbound(NamedTuple):
    """What stands in place of a program whose code is none."""

    component: str
    failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How rollouts and reflections are carried out."""

    failure_score: float = 0.0
    """The score where the program or the metric raises."""
    keep_outputs: bool = False
    """Whether rollouts carry what the program answered."""
    timeout_seconds: float | None = None
    """How long the program may take for an example, the metric for its answer, and a reflection
    for its texts; None for as long as they take."""
    price: Price | None = None
    """What a model call costs; by litellm's table where it is None."""
    must_know_price: bool = False
    """Whether a model call of unknown price is a setback, because there is a limit in USD."""
    must_know_usage: bool = False
    """Whether a model call that reports no tokens is a setback, as it is with `must_know_price`."""
    kinds: tuple[ComponentKind, ...] = DEFAULT_KINDS
    """What kinds of components there are to be improved."""
    measured: tuple[str, ...] = ()
    """Which of `MEASURED` are objectives of a rollout."""
    name_of: Callable[[int], str] = "example {}".format
    """Where the user has an example, for messages."""


_AS_USUAL = WorkerSettings()


class ProgramWorker:
    """A worker that runs a DSPy program. Several threads may call it at once.

    A candidate's rollouts share one program object, as they do in DSPy's own evaluation, and all
    candidates share the student's models. What the student keeps in itself between calls is its
    own concern, as it is there.

    Args:
        student: The program whose copies are run. It is never changed.
        metric: Judges what a program answers.
        examples: An example's id is its position.
        reflect: Writes better texts, each as a program says it.
        settings: How that is done.
    """

    def __init__(
        self,
        student: dspy.Module,
        metric: Metric,
        examples: Sequence[dspy.Example],
        reflect: Reflect,
        settings: WorkerSettings = _AS_USUAL,
    ) -> None:
        self._student = student
        self._metric = metric
        self._examples = examples
        self._reflect = reflect
        self._settings = settings
        self._parts = parts_of(student, settings.kinds)
        self._holds_code = any(part.kind is CODE for part in parts_of(student).values())
        self._programs: Recent[str, _Built | _Unbound] = Recent(_PROGRAMS_KEPT)
        self._runs: Recent[RolloutKey, PastRun] = Recent(_RUNS_KEPT)
        self._loop = EventLoop()

    def close(self) -> None:
        """Give back the thread of an asynchronous program, without waiting for what still runs."""
        self._loop.close()

    def __call__(self, request: Request) -> Answer:
        """The answer to this request.

        It is a `RequestFailure` if a model or the metric cannot be used, or if a cost that must be
        known is unknown.
        """
        settings = self._settings
        meter = Meter(
            settings.price,
            must_know_price=settings.must_know_price,
            must_know_usage=settings.must_know_usage,
        )
        return metered(request, meter, lambda account: self._answer(request, account))

    def _answer(self, request: Request, account: Account) -> Answer:
        if isinstance(request, RolloutRequest):
            rollout = self._rollout(request, request.key, account)
            return RolloutAnswer(request.key, replace(rollout, usage=account.meter.usage))
        if isinstance(request, RemarkRequest):
            remark = self._remark(request, account)
            calls, usage = account.metric_calls, account.meter.usage
            return RemarkAnswer(request.key, replace(remark, metric_calls=calls, usage=usage))
        return replace(self._reflection(request, account), usage=account.meter.usage)

    def _rollout(self, request: RolloutRequest, key: RolloutKey, account: Account) -> Rollout:
        built = self._programs.get_or_make(key.candidate, lambda: self._build(request.candidate))
        example = self._examples[request.example]
        inputs = dict(example.inputs())
        if isinstance(built, _Unbound):
            step = Step(built.component, inputs, {}, failure=built.failure)
            failed = Trace(inputs, steps=(step,)) if request.traced else Trace()
            return self._failure(built.failure, failed, metric_calls=0)
        account.rollouts += 1
        began = time.monotonic()
        program_run, output = self._run(built, inputs)
        measured = self._measured(account.meter.usage, time.monotonic() - began)
        if isinstance(output, Failed):
            failed = program_run.trace(error=output.error) if request.traced else Trace()
            text = failure_text(output.error)
            cause = failure_cause(output.error) if self._is_broken(output.error) else ""
            return self._failure(text, failed, metric_calls=0, cause=cause, objectives=measured)
        if dspy.settings.track_usage and isinstance(output, dspy.Prediction):
            # As DSPy does it, which sees that usage is being tracked already and leaves it.
            output.set_lm_usage(account.meter.get_total_tokens())
        trace = program_run.trace(output=output) if request.traced else Trace()
        judged = self._judge(example, output, request.example, program_run.calls, account)
        kept = output if self._settings.keep_outputs else None
        if isinstance(judged, Failed):
            text = f"The metric raised {failure_text(judged.error)}"
            cause = f"{OF_METRIC}{failure_cause(judged.error)}"
            return self._failure(
                text,
                trace,
                metric_calls=account.metric_calls,
                cause=cause,
                objectives=measured,
                output=kept,
            )
        if request.traced and self._metric.asks_per_component:
            own = {name: program_run.calls_of(name) for name in request.candidate}
            self._runs.put(key, PastRun(output, program_run.calls, own))
        return Rollout(
            score=judged.score,
            feedback=judged.feedback,
            objectives={**measured, **judged.objectives},
            attachments=captured(dict(judged.attachments)),
            metric_calls=account.metric_calls,
            trace=trace,
            output=kept,
        )

    def _measured(self, usage: Usage, seconds: float) -> dict[str, float]:
        """What the run of a program took, as far as that is an objective."""
        measures = {"total_tokens": float(usage.total_tokens), "usd": usage.usd, "seconds": seconds}
        return {name: measures[name] for name in self._settings.measured}

    def _build(self, candidate: Candidate) -> _Built | _Unbound:
        try:
            program = build(self._student, candidate)
        except UnboundCode as error:
            return _Unbound(error.component, str(error))
        return _Built(program, Predictors(program), entry_of(program))

    def _run(self, built: _Built, inputs: Mapping[str, Any]) -> tuple[ProgramRun, Any]:
        """A run of the program, and what came of it.

        Raises:
            Outage: a model that it asks cannot be used.
        """
        program_run = ProgramRun(built.program, built.predictors)
        output = program_run.outcome(
            built.entry, inputs, self._loop, self._settings.timeout_seconds
        )
        error = output.error if isinstance(output, Failed) else None
        if outage := program_run.watch.outage(error, is_without_result=output is None):
            raise Outage from outage
        return program_run, output

    def _is_broken(self, error: BaseException) -> bool:
        """Whether the program itself is at fault; code that is a component may be mended."""
        return not self._holds_code and not isinstance(error, AdapterParseError)

    def _judge(
        self,
        example: Any,
        output: Any,
        example_id: int,
        calls: Sequence[PredictorCall],
        account: Account,
    ) -> Judgement | Failed:
        trace = calls if self._holds_code else None
        return self._ask_metric(
            lambda: self._metric.score(
                example,
                output,
                self._settings.name_of(example_id),
                program_trace=trace,
                again=account.count_metric_call,
            ),
            account,
        )

    def _ask_metric(self, question: Callable[[], ResultT], account: Account) -> ResultT | Failed:
        """What the metric says or raises.

        Raises:
            MetricError: what it returns cannot be used, here or for any other example.
            Outage: a model that it asks cannot be used.
        """
        account.count_metric_call()
        watch = Watch()
        with watch.around([]):
            outcome = call_with_timeout(self._settings.timeout_seconds, question)
        error = outcome.error if isinstance(outcome, Failed) else None
        if isinstance(error, MetricError):
            raise error
        if outage := watch.outage(error, is_without_result=False):
            raise Outage from outage
        return outcome

    def _failure(
        self,
        text: str,
        trace: Trace,
        *,
        metric_calls: int,
        cause: str = "",
        objectives: Mapping[str, float] = _UNMEASURED,
        output: object = None,
    ) -> Rollout:
        return Rollout(
            score=self._settings.failure_score,
            objectives=objectives,
            failure=text,
            is_broken=bool(cause),
            cause=cause,
            metric_calls=metric_calls,
            trace=trace,
            output=output,
        )

    def _reflection(self, request: ReflectionRequest, account: Account) -> ReflectionAnswer:
        feedback: dict[str, dict[int, str]] = {}
        if not request.repairs:
            # A second question is about the reply alone.
            request, feedback = with_remarks(request)
        descriptions = self._descriptions(request.candidate)
        return reflected(
            request,
            lambda: self._reflect(request, descriptions, feedback),
            account,
            self._settings.timeout_seconds,
        )

    def _descriptions(self, candidate: Candidate) -> dict[str, str]:
        """What each component is for, quoting the candidate's other texts."""
        built = self._programs.get_or_make(candidate.digest, lambda: self._build(candidate))
        program = self._student if isinstance(built, _Unbound) else built.program
        return describe(program, self._settings.kinds)

    def _past_run(self, candidate: Candidate, evidence: Evidence) -> PastRun | None:
        """The run that the evidence comes from; None if too little is left of it."""
        key = RolloutKey(candidate.digest, evidence.example)
        if (run := self._runs.get(key)) is not None:
            return run
        built = self._programs.get_or_make(key.candidate, lambda: self._build(candidate))
        # A program that failed has no answer that the metric could be asked about.
        if evidence.rollout.failure or isinstance(built, _Unbound):
            return None
        run = revived_run(evidence.rollout.trace, built.program)
        return None if run is None else self._runs.put(key, run)

    def _remark(self, request: RemarkRequest, account: Account) -> Remark:
        """What the metric says about one component; nothing if it raises or cannot be asked."""
        evidence, component = request.evidence, request.component
        run = self._past_run(request.candidate, evidence)
        if run is None or not self._metric.asks_per_component:
            return Remark()
        outcome = self._ask_metric(
            lambda: self._metric.feedback(
                self._examples[evidence.example],
                run.prediction,
                run.calls,
                component,
                run.calls_by_component[component],
                first_score=evidence.rollout.score,
                attachments=evidence.rollout.attachments,
            ),
            account,
        )
        if isinstance(outcome, Failed) or outcome is None:
            return Remark()
        return Remark(outcome.text, outcome.score, captured(dict(outcome.attachments)))

"""Carries out requests with a DSPy program, the user's metric and a reflection.

Whatever user code raises is said in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import dspy

from dspy_gepa.core.rollout import Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.work import (
    Answer,
    Breakdown,
    Evidence,
    ReflectionAnswer,
    ReflectionRequest,
    Request,
    RolloutAnswer,
    RolloutRequest,
)
from dspy_gepa.errors import GEPAError, MetricError, SettingsError
from dspy_gepa.program.boundary import Raised, settled
from dspy_gepa.program.kinds import CODE, Part, UnboundCode, parts_of
from dspy_gepa.program.metric import Judgement, Metric
from dspy_gepa.program.outage import Outage, is_transient
from dspy_gepa.program.program import build, describe
from dspy_gepa.program.recent import Recent
from dspy_gepa.program.reflection import Reflect
from dspy_gepa.program.trace import Call, Predictors, Recording, failure_text
from dspy_gepa.program.watch import Watch

__all__ = ["PAUSES_SECONDS", "ProgramWorker"]

PAUSES_SECONDS = (2.0, 8.0, 30.0)
"""Waits before further attempts where a server is busy or away; DSPy's own retries come first."""
_LONGEST_PAUSE_SECONDS = 120.0
"""The longest wait that a server may ask for."""
_PROGRAMS_KEPT = 8
"""Programs that stay built: about as many as there are candidates under way at once."""
_RUNS_KEPT = 500
"""Traced runs that the metric can still be asked about."""

ResultT = TypeVar("ResultT")


class _Built(NamedTuple):
    program: dspy.Module
    predictors: Predictors


class _Unbound(NamedTuple):
    """What stands in place of a program whose code is none."""

    component: str
    failure: str


@dataclass(frozen=True)
class _Run:
    """What the metric is shown when it is asked about one component's part in a rollout."""

    prediction: Any
    calls: Sequence[Call]
    calls_by_component: Mapping[str, Sequence[Call]]
    said: dict[str, str] = field(default_factory=dict)
    """Component to what the metric said about it: it is asked once, and paid once."""


class ProgramWorker:
    """A worker that runs a DSPy program. Several threads may call it at once.

    A candidate's rollouts share one program object, as they do in DSPy's own evaluation, and all
    candidates share the student's models. What the student keeps in itself between calls is its
    own concern, as it is there.

    Args:
        student: The program whose copies are run. It is never changed.
        metric: Judges what a program answers.
        examples: An example's id is its position.
        reflect: Writes better texts.
        failure_score: The score where the program or the metric raises.
        keep_outputs: Whether rollouts carry what the program answered.
        pauses_seconds: How long to wait before each further attempt at what failed because a
            server was busy or away.
    """

    def __init__(
        self,
        student: dspy.Module,
        metric: Metric,
        examples: Sequence[dspy.Example],
        reflect: Reflect,
        *,
        failure_score: float = 0.0,
        keep_outputs: bool = False,
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
    ) -> None:
        self._student = student
        self._metric = metric
        self._examples = examples
        self._reflect = reflect
        self._failure_score = failure_score
        self._keep_outputs = keep_outputs
        self._pauses_seconds = tuple(pauses_seconds)
        self._descriptions = describe(student)
        self._parts = parts_of(student)
        self._holds_code = any(part.kind is CODE for part in self._parts.values())
        self._programs: Recent[str, _Built | _Unbound] = Recent(_PROGRAMS_KEPT)
        self._runs: Recent[RolloutKey, _Run] = Recent(_RUNS_KEPT)

    def __call__(self, request: Request) -> Answer:
        """The answer to this request; a `Breakdown` where a model or the metric is unusable."""
        answer = settled(lambda: self._answer(request))
        if not isinstance(answer, Raised):
            return answer
        error = answer.error.__cause__ if isinstance(answer.error, Outage) else answer.error
        assert error is not None
        cause = str(error) if isinstance(error, GEPAError) else failure_text(error)
        return Breakdown(cause, error)

    def _answer(self, request: Request) -> Answer:
        if isinstance(request, RolloutRequest):
            key = RolloutKey(request.candidate.digest, request.example)
            return RolloutAnswer(key, self._rollout(request, key))
        return self._reflection(request)

    def _rollout(self, request: RolloutRequest, key: RolloutKey) -> Rollout:
        built = self._programs.get_or_make(key.candidate, lambda: self._build(request))
        example = self._examples[request.example]
        inputs = dict(example.inputs())
        if isinstance(built, _Unbound):
            step = Step(built.component, inputs, {}, failure=built.failure)
            failed = Trace(inputs, steps=(step,)) if request.traced else Trace()
            return self._failure(built.failure, failed, metric_calls=0)
        recording, output = self._run(built, inputs)
        if isinstance(output, Raised):
            failed = recording.trace(error=output.error) if request.traced else Trace()
            return self._failure(failure_text(output.error), failed, metric_calls=0)
        trace = recording.trace(output=output) if request.traced else Trace()
        judged = self._judge(example, output, request.example, recording.calls)
        kept = output if self._keep_outputs else None
        if isinstance(judged, Raised):
            text = f"The metric raised {failure_text(judged.error)}"
            return self._failure(text, trace, metric_calls=1, output=kept)
        if request.traced and self._metric.asks_per_component:
            own = {name: recording.calls_of(name) for name in request.candidate}
            self._runs.put(key, _Run(output, recording.calls, own))
        return Rollout(judged.score, judged.feedback, judged.objectives, trace=trace, output=kept)

    def _build(self, request: RolloutRequest) -> _Built | _Unbound:
        try:
            program = build(self._student, request.candidate)
        except UnboundCode as error:
            return _Unbound(error.component, str(error))
        return _Built(program, Predictors(program))

    def _run(self, built: _Built, inputs: Mapping[str, Any]) -> tuple[Recording, Any]:
        """The run that was not disturbed by an outage, and what came of it."""

        def attempt() -> tuple[tuple[Recording, Any], BaseException | None]:
            recording = Recording(built.program, built.predictors)
            output = settled(lambda: recording.run(inputs))
            error = output.error if isinstance(output, Raised) else None
            outage = recording.watch.outage(error, is_without_result=output is None)
            return (recording, output), outage

        return self._persistently(attempt)

    def _judge(
        self, example: Any, output: Any, example_id: int, calls: Sequence[Call]
    ) -> Judgement | Raised:
        trace = calls if self._holds_code else None
        # Not attempted again: every call of the metric is paid for, and only one is budgeted.
        return self._ask_metric(
            lambda: self._metric.score(example, output, example_id, program_trace=trace)
        )

    def _ask_metric(self, question: Callable[[], ResultT]) -> ResultT | Raised:
        """What the metric says or raises.

        Raises:
            MetricError: what it returns cannot be used, here or for any other example.
            Outage: a model that it asks cannot be used.
        """
        watch = Watch()
        with watch.around([]):
            said = settled(question)
        error = said.error if isinstance(said, Raised) else None
        if isinstance(error, MetricError):
            raise error
        if outage := watch.outage(error, is_without_result=False):
            raise Outage from outage
        return said

    def _failure(
        self, text: str, trace: Trace, *, metric_calls: int, output: object = None
    ) -> Rollout:
        return Rollout(
            score=self._failure_score,
            failure=text,
            metric_calls=metric_calls,
            trace=trace,
            output=output,
        )

    def _reflection(self, request: ReflectionRequest) -> ReflectionAnswer:
        feedback, metric_calls = self._component_feedback(request)

        def attempt() -> tuple[ReflectionAnswer | Raised, BaseException | None]:
            watch = Watch()
            with watch.around([]):
                said = settled(lambda: self._reflect(request, self._descriptions, feedback))
            error = said.error if isinstance(said, Raised) else None
            is_without_result = isinstance(said, ReflectionAnswer) and not said.texts
            return said, watch.outage(error, is_without_result=is_without_result)

        said = self._persistently(attempt)
        if isinstance(said, Raised):
            problem = f"The reflection raised {failure_text(said.error)}"
            return ReflectionAnswer(request.ticket, problem=problem, metric_calls=metric_calls)
        texts, problems = _usable(said.texts, request, self._parts)
        return ReflectionAnswer(
            request.ticket,
            texts,
            problem="; ".join(filter(None, [said.problem, *problems])),
            metric_calls=said.metric_calls + metric_calls,
            lm_calls=said.lm_calls,
        )

    def _component_feedback(
        self, request: ReflectionRequest
    ) -> tuple[dict[str, dict[int, str]], int]:
        """What the metric says about the components that were called, and its calls for that."""
        if not self._metric.asks_per_component:
            return {}, 0
        asked = [name for name in request.components if self._parts[name].kind.is_asked_about]
        feedback: dict[str, dict[int, str]] = {name: {} for name in asked}
        metric_calls = 0
        for component in asked:
            for evidence in request.evidence:
                run = self._runs.get(RolloutKey(request.candidate.digest, evidence.example))
                was_called = bool(evidence.rollout.trace.calls_of(component))
                if run is not None and was_called and component not in run.said:
                    run.said[component] = self._ask_about(component, evidence, run)
                    metric_calls += 1
                said = run.said.get(component) if run is not None else None
                feedback[component][evidence.example] = said or evidence.rollout.feedback
        return feedback, metric_calls

    def _ask_about(self, component: str, evidence: Evidence, run: _Run) -> str:
        """What the metric says about one component, or else about the whole rollout."""
        said = self._ask_metric(
            lambda: self._metric.feedback(
                self._examples[evidence.example],
                run.prediction,
                run.calls,
                component,
                run.calls_by_component[component],
                first_score=evidence.rollout.score,
            )
        )
        return evidence.rollout.feedback if isinstance(said, Raised) or said is None else said

    def _persistently(self, attempt: Callable[[], tuple[ResultT, BaseException | None]]) -> ResultT:
        """The result of the first attempt that met no outage.

        Raises:
            Outage: it lasts, or there was one at every attempt.
        """
        for pause_seconds in (*self._pauses_seconds, None):
            result, outage = attempt()
            if outage is None:
                return result
            if pause_seconds is None or not is_transient(outage):
                raise Outage from outage
            asked_seconds = getattr(outage, "retry_after", None) or 0.0
            time.sleep(min(max(pause_seconds, asked_seconds), _LONGEST_PAUSE_SECONDS))
        raise AssertionError("the last attempt returns or raises")


def _usable(
    texts: Mapping[str, str], request: ReflectionRequest, parts: Mapping[str, Part]
) -> tuple[dict[str, str], list[str]]:
    """The texts as a program would say them, and why others cannot be used."""
    usable, problems = {}, []
    for component, text in texts.items():
        if component not in request.components:
            problems.append(f"{component} was not to be rewritten")
            continue
        try:
            # A text that is kept stays as the student wrote it, which need not be normal.
            is_kept = text == request.candidate[component]
            usable[component] = text if is_kept else parts[component].kind.normalised(text)
        except SettingsError as error:
            problems.append(f"the text for {component} cannot be used: {error}")
    return usable, problems

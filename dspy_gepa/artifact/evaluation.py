"""One evaluation: the user's evaluator is called once, and whatever comes of it is the answer."""

from __future__ import annotations

import logging
import traceback
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dspy_gepa.artifact.evaluator import Evaluator
from dspy_gepa.artifact.output import Output, listened, said_with
from dspy_gepa.artifact.returned import EvaluatorResult, judged
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Answer, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import MetricError
from dspy_gepa.models.account import Account, metered
from dspy_gepa.models.catching import Failed
from dspy_gepa.models.failures import traceback_text
from dspy_gepa.models.outages import Outage
from dspy_gepa.models.timeouts import TimedOut, call_with_timeout
from dspy_gepa.models.usage import Meter, Price
from dspy_gepa.models.watch import Watch

__all__ = ["EvaluationSettings", "LocalEvaluation", "failed"]


logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """How evaluations are carried out."""

    failure_score: float = float("-inf")
    """The score of one that failed; -inf where a failure is no score."""
    timeout_seconds: float | None = None
    """How long an evaluation may take in its thread, which is left behind then, and a reflection;
    None for as long as they take."""
    price: Price | None = None
    """What a model call costs; by litellm's table where it is None."""
    must_know_price: bool = False
    """Whether a model call of unknown price is a setback, because there is a limit in USD."""
    must_know_usage: bool = False
    """Whether a model call that reports no tokens is one, because there is a limit in them."""


@dataclass(frozen=True)
class LocalEvaluation:
    """Carries out requests for rollouts in the process in which it is called.

    `IsolatedEvaluation` and `EvaluationRecipe` do so in other processes.
    """

    evaluator: Evaluator
    examples: Sequence[Any] | Mapping[int, Any]
    settings: EvaluationSettings

    def __call__(
        self,
        request: RolloutRequest,
        *,
        must_score: bool = False,
    ) -> Answer:
        """The answer to this request.

        Args:
            request: What to evaluate.
            must_score: Whether something returned that is no score is an error of the evaluator's.
                Otherwise it is a failure of the artifact, which may have brought it about.
        """
        settings = self.settings
        meter = Meter(
            settings.price,
            must_know_price=settings.must_know_price,
            must_know_usage=settings.must_know_usage,
        )

        def answer(account: Account) -> Answer:
            account.metric_calls = account.rollouts = 1
            rollout = self._rollout(request, must_score=must_score)
            key = request.key
            return RolloutAnswer(key, replace(rollout, usage=meter.usage))

        return metered(request, meter, answer)

    def _rollout(self, request: RolloutRequest, *, must_score: bool) -> Rollout:
        """What came of it.

        Raises:
            MetricError: what was returned is no score, and has to be one.
            Outage: a model that the evaluator asks cannot be used.
        """
        watch, output = Watch(), Output()
        with watch.around([]), listened(output):
            result = call_with_timeout(self.settings.timeout_seconds, lambda: self._judged(request))
        error = result.error if isinstance(result, Failed) else None
        if isinstance(error, MetricError) and must_score:
            raise error
        if outage := watch.outage(error, is_without_result=False):
            raise Outage from outage
        if isinstance(error, TimedOut):
            logger.warning(
                "An evaluation took longer than %g seconds. Its thread cannot be ended and is left "
                'behind: isolation="process" would end it, with all that it began.',
                self.settings.timeout_seconds,
            )
        if isinstance(result, Failed):
            return failed(request, _told(result.error), output.in_words, self.settings)
        return Rollout(
            score=result.score,
            feedback=said_with(result.feedback, output.in_words),
            objectives=result.objectives,
            attachments=result.attachments,
            trace=_trace(request, result),
        )

    def _judged(self, request: RolloutRequest) -> EvaluatorResult:
        example = self.examples[request.example]
        try:
            returned = self.evaluator(request.candidate, example)
        except SystemExit as leaving:
            # It may end neither our thread nor the process.
            raise RuntimeError(f"it called sys.exit({leaving.code!r})") from None
        except (CancelledError, GeneratorExit) as error:
            raise RuntimeError(f"it raised {type(error).__name__}: {error}") from error
        return judged(
            returned,
            name=self.evaluator.name,
            example=request.example,
            components=tuple(request.candidate),
        )


def failed(
    request: RolloutRequest, failure: str, output: str, settings: EvaluationSettings
) -> Rollout:
    """The rollout of an evaluation that came to no score."""
    return Rollout(
        score=settings.failure_score,
        feedback=output,
        failure=failure,
        trace=_trace(request, None),
    )


def _trace(request: RolloutRequest, result: EvaluatorResult | None) -> Trace:
    """A step for each component, because all of them are what is evaluated."""
    about = {} if result is None else result.by_component
    steps = [
        Step(name, {}, {"feedback": about[name]} if name in about else {})
        for name in request.candidate
    ]
    return Trace(steps=tuple(steps)) if request.traced else Trace()


def _told(error: Exception) -> str:
    """What went wrong; memory that the failed calls held is given back before."""
    if isinstance(error, MemoryError):
        traceback.clear_frames(error.__traceback__)
    if isinstance(error, SyntaxError) and error.text:
        return f"{traceback_text(error)}\n  in this line: {error.text.rstrip()}"
    return traceback_text(error)

"""What carrying out one request has cost, also where it came to nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dspy_gepa.core.work import (
    Answer,
    Exchange,
    ReflectionAnswer,
    ReflectionRequest,
    RemarkAnswer,
    Request,
    RequestFailure,
    RolloutAnswer,
)
from dspy_gepa.errors import GEPAError, SettingsError
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.models.failures import failure_text
from dspy_gepa.models.outages import Outage, is_transient
from dspy_gepa.models.timeouts import TimedOut, call_with_timeout
from dspy_gepa.models.usage import Meter
from dspy_gepa.models.watch import Watch

__all__ = ["Account", "metered", "reflected"]


@dataclass
class Account:
    """What carrying out one request has cost so far."""

    meter: Meter
    metric_calls: int = 0
    rollouts: int = 0
    lm_calls: int = 0

    def count_metric_call(self) -> None:
        """Count a call of the user's metric; before it is made, as it may never come back."""
        self.metric_calls += 1


def metered(request: Request, meter: Meter, answer: Callable[[Account], Answer]) -> Answer:
    """The answer, given an account; a `RequestFailure` if it raises or its cost is unknown."""
    account, began_seconds = Account(meter), time.monotonic()
    with meter.around():
        outcome = catching(lambda: answer(account))
    if not isinstance(outcome, Failed) and not meter.unknown:
        return _timed(outcome, time.monotonic() - began_seconds)
    return _setback(request, outcome, account)


def _timed(answer: Answer, seconds: float) -> Answer:
    """The answer with how long it took; milliseconds are enough."""
    took = round(seconds, 3)
    if isinstance(answer, RolloutAnswer):
        return replace(answer, rollout=replace(answer.rollout, seconds=took))
    if isinstance(answer, RemarkAnswer):
        return replace(answer, remark=replace(answer.remark, seconds=took))
    return replace(answer, seconds=took) if isinstance(answer, ReflectionAnswer) else answer


def reflected(
    request: ReflectionRequest,
    reflect: Callable[[], ReflectionAnswer],
    account: Account,
    timeout_seconds: float | None,
) -> ReflectionAnswer:
    """What a reflection says, or why it says nothing, with the calls that this took.

    Raises:
        Outage: its model cannot be used.
    """
    metric_calls, watch = account.metric_calls, Watch(keeps_exchanges=True)
    with watch.around([]):
        answer = call_with_timeout(timeout_seconds, reflect)
    error = answer.error if isinstance(answer, Failed) else None
    is_without_result = isinstance(answer, ReflectionAnswer) and not (
        answer.texts or answer.repairs or answer.is_unchanged
    )
    if outage := watch.outage(error, is_without_result=is_without_result):
        account.lm_calls = watch.lm_calls
        raise Outage from outage
    if isinstance(answer, Failed):
        problem = f"The reflection raised {failure_text(answer.error)}"
        # Who has taken too long has asked at least once, whatever is seen of it.
        asked = max(watch.lm_calls, int(isinstance(answer.error, TimedOut)))
        answer = ReflectionAnswer(request.ticket, problem=problem, lm_calls=asked)
    return replace(
        answer,
        metric_calls=answer.metric_calls + metric_calls,
        lm_calls=max(answer.lm_calls, watch.lm_calls),
        is_repair=bool(request.repairs),
        mends=request.mends,
        exchanges=_exchanges(answer.exchanges, watch.exchanges),
    )


def _exchanges(recorded: tuple[Exchange, ...], watched: Sequence[Exchange]) -> tuple[Exchange, ...]:
    """What was asked and replied: as it is recorded, with the calls that came to no reply.

    A proposer of the user's records nothing of what it asks, but its model is one of DSPy's.
    """
    if not recorded:
        return tuple(watched)
    return (*(each for each in watched if each.refused), *recorded)


def _setback(request: Request, answer: Answer | Failed, account: Account) -> RequestFailure:
    """Why the request could not be carried out, and what that cost."""
    error: BaseException | None
    if isinstance(answer, Failed):
        error = answer.error.__cause__ if isinstance(answer.error, Outage) else answer.error
    else:
        error = SettingsError(account.meter.unknown)
    assert error is not None
    asked_seconds = getattr(error, "retry_after", None)
    return RequestFailure(
        request.key,
        cause=str(error) if isinstance(error, GEPAError) else failure_text(error),
        is_lasting=not is_transient(error),
        metric_calls=account.metric_calls,
        rollouts=account.rollouts,
        lm_calls=account.lm_calls,
        usage=account.meter.usage,
        retry_after_seconds=asked_seconds if isinstance(asked_seconds, (int, float)) else 0.0,
        error=error,
    )

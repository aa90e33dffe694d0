"""What carrying out one request has cost, also where it came to nothing."""

from __future__ import annotations

from dataclasses import dataclass

from dspy_gepa.core.work import Answer, Request, Setback
from dspy_gepa.errors import GEPAError, SettingsError
from dspy_gepa.program.calls.boundary import Raised
from dspy_gepa.program.calls.outage import Outage, is_transient
from dspy_gepa.program.calls.usage import Meter
from dspy_gepa.program.rollouts.trace import failure_text

__all__ = ["Account", "setback"]


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


def setback(request: Request, answer: Answer | Raised, account: Account) -> Setback:
    """Why the request could not be carried out, and what that cost."""
    error: BaseException | None
    if isinstance(answer, Raised):
        error = answer.error.__cause__ if isinstance(answer.error, Outage) else answer.error
    else:
        error = SettingsError(account.meter.unknown)
    assert error is not None
    asked_seconds = getattr(error, "retry_after", None)
    return Setback(
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

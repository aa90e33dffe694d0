"""What happens in a run. Journal, callbacks, progress and reports are told of this stream.

Eight types. An event says what was heard or decided; `evolve` applies it and makes no choice of
its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dspy_gepa.core.budget import NOTHING, Tally
from dspy_gepa.core.proposal import Origin, Phase, Verdict
from dspy_gepa.core.rollout import Remark, RemarkKey, Rollout, RolloutKey
from dspy_gepa.core.work import ReflectionAnswer, RequestKey

__all__ = [
    "Advanced",
    "Committed",
    "Ended",
    "Event",
    "Issued",
    "Reflected",
    "Remarked",
    "RequestFailed",
    "RolledOut",
]


@dataclass(frozen=True, slots=True)
class Issued:
    """A proposal was begun."""

    ticket: int
    origin: Origin
    phase: Phase


@dataclass(frozen=True, slots=True)
class RolledOut:
    """A rollout was answered."""

    key: RolloutKey
    rollout: Rollout
    is_asked_for: bool = True
    """Whether a proposal under way waits for it. Otherwise it counts as lost, and a proposal that
    needs it later has it for nothing."""


@dataclass(frozen=True, slots=True)
class Remarked:
    """The metric was asked about a component's part in a rollout."""

    key: RemarkKey
    remark: Remark
    is_asked_for: bool = True
    """As in `RolledOut`."""


@dataclass(frozen=True, slots=True)
class Reflected:
    """A reflection was answered."""

    reflection: ReflectionAnswer


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request could not be carried out. It is asked for again, unless the run ends."""

    key: RequestKey
    cause: str
    """In words, for people."""
    lost: Tally = NOTHING
    """What was paid for nothing."""
    is_of_process: bool = False
    """As in the `RequestFailure`."""
    pause_seconds: float = field(default=0.0, compare=False)
    """For how long nothing is begun because of it; put on record and not looked at."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """A proposal entered its next phase."""

    ticket: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class Committed:
    """A proposal is over; where it was accepted, its candidate is a member from now on."""

    ticket: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Ended:
    """No more proposals are issued."""

    reason: str
    """In words, for people."""
    is_breakdown: bool = False
    """Whether it ended because work could not be carried out."""
    causes: tuple[str, ...] = ()
    """Where the program or the metric broke down: the causes of which failed rollouts are no
    results, ascending. See `Rollout.cause`."""


Event: TypeAlias = (
    Issued | RolledOut | Remarked | Reflected | RequestFailed | Advanced | Committed | Ended
)

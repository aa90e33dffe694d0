"""What one rollout leaves behind: its score, the feedback on it and, where asked for, its trace.

And what the metric says when it is asked about one component's part in it.

The core decides by scores, objectives and failures, and by which components were called. Feedback
and attachments it only compares, to see whether a remark says anything new; all else it passes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dspy_gepa.core.budget import FREE, Tally, Usage

__all__ = ["OF_METRIC", "Opaque", "Remark", "RemarkKey", "Rollout", "RolloutKey", "Step", "Trace"]


class RolloutKey(NamedTuple):
    """Names a rollout: equal keys are one rollout, which is paid once and answers every asker."""

    candidate: str
    """The candidate's digest."""
    example: int
    """The example's id."""
    trial: int = 0
    """Above 0 if a rollout that was answered is asked for again, to see whether it can still be
    carried out: see `core/streaks.py`. The number tells such trials apart."""


class RemarkKey(NamedTuple):
    """Names what the metric says about one component's part in a rollout: asked and paid once."""

    candidate: str
    """The candidate's digest."""
    example: int
    """The example's id."""
    component: str


OF_METRIC = "metric: "
"""How a cause begins if the metric failed and not the program."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """An object of which only the text was stored."""

    text: str
    """What `str` said about it."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one component within a rollout."""

    component: str
    inputs: Mapping[str, object]
    """Field name to value, as the component was called."""
    outputs: Mapping[str, object]
    """Field name to value; empty if the call failed."""
    failure: str = ""
    """Why the call gave no usable output; empty if it did."""
    reply: str = ""
    """The model's raw reply where it could not be parsed; empty otherwise."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The recorded steps of one rollout, in the order in which they finished."""

    inputs: Mapping[str, object] = field(default_factory=dict)
    """What the whole program was given."""
    outputs: Mapping[str, object] = field(default_factory=dict)
    """What the whole program answered; empty if it failed."""
    steps: tuple[Step, ...] = ()

    def calls_of(self, component: str) -> tuple[Step, ...]:
        """Every call of this component, in order."""
        return tuple(step for step in self.steps if step.component == component)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One candidate run once on one example and scored."""

    score: float
    """Higher is better. Finite, or -inf where it failed and a failure is no score."""
    feedback: str = ""
    """What the metric said about it, in words; may be empty."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """Named partial scores; empty if the metric gives none."""
    attachments: Mapping[str, object] = field(default_factory=dict, compare=False)
    """Name to whatever else the metric handed over for a reflection to see: images, say."""
    failure: str = ""
    """Why there is no answer to score (a crash, an unreadable reply); empty if there is."""
    is_broken: bool = False
    """Whether the program or the metric itself failed, which no text may be able to mend."""
    cause: str = ""
    """What failed then, and where: equal for failures of one cause; empty if nobody said it."""
    metric_calls: int = 1
    """How often the user's metric was called for it: 0 if a failure left nothing to score."""
    usage: Usage = FREE
    """What its model calls cost, those of the metric included."""
    trace: Trace = field(default_factory=Trace, compare=False)
    """Empty unless it was asked for."""
    output: object = field(default=None, compare=False)
    """The program's answer, where outputs are kept; opaque to the core."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took, its metric included; put on record and not looked at."""

    @property
    def charge(self) -> Tally:
        """What it costs of the budget. One that failed before the metric counts as a call of it."""
        return Tally.of(self.usage, rollouts=1, metric_calls=max(1, self.metric_calls))


@dataclass(frozen=True, slots=True)
class Remark:
    """What the metric said when it was asked about one component's part in a rollout."""

    text: str = ""
    """Empty where it said nothing, or could not be asked."""
    score: float | None = None
    """The score that came with the words; None if none is known."""
    attachments: Mapping[str, object] = field(default_factory=dict, compare=False)
    """As in `Rollout`."""
    metric_calls: int = 1
    """How often the user's metric was called for it."""
    usage: Usage = FREE
    """What its model calls cost."""
    seconds: float = field(default=0.0, compare=False)
    """How long it took; put on record and not looked at."""

    @property
    def charge(self) -> Tally:
        """What it costs of the budget."""
        return Tally.of(self.usage, metric_calls=self.metric_calls)

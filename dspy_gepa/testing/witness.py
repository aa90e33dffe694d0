"""What was really asked of a worker, and what really happened in a run.

A `Witness` stands between an executor and a worker and counts on its own account; a `Recording`
listens to a run. Tests compare both with what the search says about itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.events import Event
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import (
    Answer,
    ReflectionAnswer,
    RemarkAnswer,
    Request,
    RequestFailure,
    RolloutAnswer,
)
from dspy_gepa.run.worker import Worker

__all__ = ["Recording", "Witness", "outcome"]


@dataclass(frozen=True)
class Witness:
    """A worker that does what another does, and remembers it. Safe in threads."""

    worker: Worker
    answers: list[Answer] = field(default_factory=list)
    """Every answer that was given, in the order in which that happened."""

    def __call__(self, request: Request) -> Answer:
        """The other worker's answer."""
        answer = self.worker(request)
        self.answers.append(answer)
        return answer

    @property
    def rolled_out(self) -> list[RolloutKey]:
        """Every rollout that was carried out, repeated ones repeatedly."""
        return [answer.key for answer in self.answers if isinstance(answer, RolloutAnswer)]

    @property
    def tally(self) -> Tally:
        """What was carried out, counted from the answers; proposals and costs are not seen here."""
        rollouts = [a.rollout for a in self.answers if isinstance(a, RolloutAnswer)]
        remarks = [a.remark for a in self.answers if isinstance(a, RemarkAnswer)]
        reflections = [a for a in self.answers if isinstance(a, ReflectionAnswer)]
        setbacks = [a for a in self.answers if isinstance(a, RequestFailure)]
        return Tally(
            rollouts=len(rollouts) + sum(setback.rollouts for setback in setbacks),
            metric_calls=sum(rollout.metric_calls for rollout in rollouts)
            + sum(remark.metric_calls for remark in remarks)
            + sum(reflection.metric_calls for reflection in reflections)
            + sum(setback.metric_calls for setback in setbacks),
            reflection_calls=sum(reflection.lm_calls for reflection in reflections)
            + sum(setback.lm_calls for setback in setbacks),
        )


@dataclass(frozen=True)
class Recording:
    """A listener that keeps every event, and the state after it."""

    events: list[Event] = field(default_factory=list)
    states: list[RunState] = field(default_factory=list)

    def __call__(self, event: Event, state: RunState) -> None:
        """Keep them."""
        self.events.append(event)
        self.states.append(state)


def outcome(state: RunState) -> Sequence[object]:
    """Everything that two runs share if they are the same run, whatever order answers came in."""
    # NaN, a pair that was not scored, is not equal to itself; written out it is.
    rows = [(member, str(member.scores.tolist())) for member in state.members]
    known, remarks, charged = dict(state.known), dict(state.remarks), dict(state.charged)
    history, tally = list(state.history), state.tally
    return rows, history, state.live, known, remarks, charged, state.spent, tally, state.ending

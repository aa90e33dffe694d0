"""Evidence, sorted for one component: what it was given, what it wrote, what was said about it.

A record is one rollout seen from one component, with every call of that component, failures first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionRequest
from dspy_gepa.reflect.values import text_of

__all__ = ["Call", "Record", "Turn", "records_of"]

_NO_FEEDBACK: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the component, with its place among all of the rollout's calls of it."""

    number: int
    """Counted from 1."""
    inputs: Mapping[str, object]
    outputs: Mapping[str, object]
    """Empty where the call failed."""
    failure: str = ""
    """Why the call gave no usable output; empty where it did."""
    reply: str = ""
    """The model's raw reply where it could not be parsed; empty otherwise."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of the whole program, as it looks from the component."""

    component: str
    call: int = 0
    """Which call of the component itself it is, from 1; 0 for a step of another component."""
    inputs: Mapping[str, object] = field(default_factory=dict)
    """Empty for the component itself, whose calls are shown on their own."""
    outputs: Mapping[str, object] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One rollout, as far as it concerns one component."""

    example: int
    score: float
    """Of the call of the metric that the feedback comes from."""
    passed: bool
    """Whether nothing is left to improve: no failure, and a score that counts as perfect."""
    feedback: str = ""
    """On this component where there is such feedback, otherwise on the whole rollout."""
    failure: str = ""
    """Why the rollout gave no answer to score; empty where it gave one."""
    calls: tuple[Call, ...] = ()
    """In order; empty only where the program crashed before it reached the component."""
    calls_made: int = 0
    """How many calls there were; more than `calls` holds where they exceed the bound."""
    turns: tuple[Turn, ...] = ()
    """All steps of the rollout in order; empty where no other component was called."""
    inputs: Mapping[str, object] = field(default_factory=dict)
    """What the program was given, as far as no call of the component was given the same."""
    outputs: Mapping[str, object] = field(default_factory=dict)
    """What the program answered, as far as no call of the component wrote the same."""
    attachments: Mapping[str, object] = field(default_factory=dict)
    """Name to whatever else the metric handed over."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """What was measured beside the score."""


def records_of(
    request: ReflectionRequest,
    component: str,
    *,
    feedback: Mapping[int, str] = _NO_FEEDBACK,
    perfect_score: float | None = 1.0,
    calls_per_record: int = 8,
    shows_unparsed: bool = True,
) -> tuple[Record, ...]:
    """One record per rollout that says something about the component, failing ones first.

    Among failing ones a failed rollout comes before a low score, and a low score before a higher
    one; equals keep the minibatch's order. A rollout that never called the component is left out,
    unless it crashed: then its failure may be the reason.

    Args:
        request: What is to be improved, with its evidence.
        component: Whose calls to show.
        feedback: Example id to feedback on this component; replaces the rollout's own feedback.
        perfect_score: The score that leaves nothing to improve; None where no score is perfect,
            so that every record counts as failing.
        calls_per_record: How many calls a record holds at most. Failed calls are kept first, then
            the outermost ones: the first shows the task, the last what came of it.
        shows_unparsed: Whether rollouts count in which a reply of the component was unreadable.
    """
    found = [
        _record(
            evidence,
            component,
            feedback=feedback.get(evidence.example, ""),
            perfect_score=perfect_score,
            calls_per_record=calls_per_record,
        )
        for evidence in request.evidence
        if _concerns(evidence.rollout, component, shows_unparsed=shows_unparsed)
    ]
    return tuple(sorted(found, key=lambda one: (one.passed, not one.failure, one.score)))


def _concerns(rollout: Rollout, component: str, *, shows_unparsed: bool) -> bool:
    steps = rollout.trace.calls_of(component)
    if not shows_unparsed and any(step.reply for step in steps):
        return False
    return bool(rollout.failure or steps)


def _record(
    evidence: Evidence,
    component: str,
    *,
    feedback: str,
    perfect_score: float | None,
    calls_per_record: int,
) -> Record:
    rollout = evidence.rollout
    steps = rollout.trace.calls_of(component)
    score = evidence.scores.get(component, rollout.score) if feedback.strip() else rollout.score
    reached = perfect_score is not None and score == perfect_score
    called = [(step.inputs, step.outputs) for step in steps]
    return Record(
        example=evidence.example,
        score=score,
        passed=reached and not rollout.failure,
        feedback=feedback if feedback.strip() else rollout.feedback,
        failure=rollout.failure,
        calls=_bounded(steps, calls_per_record),
        calls_made=len(steps),
        turns=_turns(rollout.trace, component),
        inputs=_beside(rollout.trace.inputs, [given for given, _ in called]),
        outputs=_beside(rollout.trace.outputs, [written for _, written in called]),
        attachments=rollout.attachments,
        objectives=rollout.objectives,
    )


def _turns(trace: Trace, component: str) -> tuple[Turn, ...]:
    """All steps in order; empty where all are the component's own."""
    turns: list[Turn] = []
    calls = 0
    for step in trace.steps:
        if step.component == component:
            calls += 1
            turns.append(Turn(component, calls))
        else:
            turns.append(
                Turn(step.component, 0, step.inputs, step.outputs, step.failure or step.reply)
            )
    return tuple(turns) if calls < len(turns) else ()


def _beside(
    whole: Mapping[str, object], called: Sequence[Mapping[str, object]]
) -> Mapping[str, object]:
    """The program's fields that are no field of a call with the same value."""
    return {
        name: value
        for name, value in whole.items()
        if not any(name in fields and _is_same(fields[name], value) for fields in called)
    }


def _is_same(one: object, other: object) -> bool:
    # By their words, because comparing arrays gives no bool and other objects may raise.
    return one is other or (type(one) is type(other) and text_of(one) == text_of(other))


def _bounded(steps: tuple[Step, ...], most: int) -> tuple[Call, ...]:
    """At most so many of the calls, in order."""
    last = len(steps) - 1

    def rank(place: int) -> tuple[bool, int, int]:
        return (not steps[place].failure, min(place, last - place), place)

    kept = sorted(sorted(range(len(steps)), key=rank)[:most])
    return tuple(_call(place + 1, steps[place]) for place in kept)


def _call(number: int, step: Step) -> Call:
    return Call(
        number=number,
        inputs=step.inputs,
        outputs=step.outputs,
        failure=step.failure,
        reply=step.reply,
    )

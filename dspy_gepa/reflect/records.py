"""Evidence for the components that are asked about: inputs, outputs, and what was said of them.

A record is one rollout with the calls of these components, failures first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, cycle, islice
from math import fsum
from types import MappingProxyType

from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionRequest
from dspy_gepa.reflect.overlap import words_of
from dspy_gepa.values.words import text_of

__all__ = ["EvidenceRecord", "alike", "records_of"]

_NO_FEEDBACK: Mapping[str, Mapping[int, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """One rollout, as far as it concerns the components asked about."""

    example: int
    score: float
    """Of the call of the metric that the feedback comes from."""
    passed: bool
    """Whether nothing is left to improve: no failure, and a score that counts as perfect."""
    is_contrast: bool = False
    """Whether it is shown beside the minibatch, because it did better."""
    feedback: str = ""
    """On the component where one alone is asked about and there is such feedback, otherwise on the
    whole rollout."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Component to feedback on it alone, where several are asked about."""
    failure: str = ""
    """Why the rollout gave no answer to score; empty if it gave one."""
    calls: tuple[tuple[int, Step], ...] = ()
    """Each with its number among those of the components asked about, from 1, in order; empty only
    if the program crashed before it reached them."""
    calls_made: int = 0
    """How many calls there were; more than `calls` holds where they exceed the bound."""
    turns: tuple[Step | int, ...] = ()
    """All steps of the rollout in order, but the number alone of each call of the components asked
    about; empty if no other component was called."""
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
    components: Sequence[str],
    *,
    feedback: Mapping[str, Mapping[int, str]] = _NO_FEEDBACK,
    perfect_score: float | None = 1.0,
    calls_per_record: int = 8,
    shows_unparsed: bool = True,
    contrasts: int = 0,
) -> tuple[EvidenceRecord, ...]:
    """One record per rollout that says something about the components, failing ones first.

    Among failing ones a failed rollout comes before a low score, and a low score before a higher
    one; equals keep the minibatch's order. A rollout that never called a component is left out,
    unless it crashed: then its failure may be the reason.

    Args:
        request: What is to be improved, with its evidence.
        components: Whose calls to show.
        feedback: Component to example id to feedback on it; that of a single component replaces
            the rollout's own feedback.
        perfect_score: The score that leaves nothing to improve; None if no score is perfect,
            so that every record counts as failing.
        calls_per_record: How many calls a record holds at most. Failed calls are kept first, then
            the outermost ones: the first shows the task, the last what came of it.
        shows_unparsed: Whether rollouts count in which a reply of a component was unreadable.
        contrasts: How many rollouts that did better are shown after the minibatch.
    """

    def concerning(evidence: Sequence[Evidence]) -> list[Evidence]:
        return [
            each
            for each in evidence
            if _concerns(each.rollout, components, shows_unparsed=shows_unparsed)
        ]

    def record(evidence: Evidence) -> EvidenceRecord:
        return _record(
            evidence,
            components,
            remarks={
                name: remark
                for name in components
                if (remark := feedback.get(name, {}).get(evidence.example, "")).strip()
            },
            perfect_score=perfect_score,
            calls_per_record=calls_per_record,
        )

    shown = concerning(request.evidence)
    records = sorted(map(record, shown), key=lambda one: (one.passed, not one.failure, one.score))
    beside = alike(concerning(request.contrasts), shown, contrasts) if records else []
    return (*records, *(replace(record(one), is_contrast=True) for one in beside))


def alike(others: Sequence[Evidence], shown: Sequence[Evidence], most: int) -> list[Evidence]:
    """Those of the others whose inputs are most like those of what went wrong, in their order.

    One for each failure in turn, the lowest score first. A word counts the more, the fewer have it:
    what most have in common is the form of the task. Beside its like a failure shows what it is due
    to, or that what was said of it cannot be right. Of equals, the first ones.
    """
    left = {place: _words(one) for place, one in enumerate(others)}
    best = max((one.rollout.score for one in (*shown, *others)), default=0.0)
    failed = [one for one in shown if one.rollout.score < best] or shown
    sought = [_words(one) for one in sorted(failed, key=lambda one: one.rollout.score)]
    shared = Counter(word for own in (*sought, *left.values()) for word in own)
    for own in islice(cycle(sought or [set()]), max(0, min(most, len(others)))):
        # `fsum`, because another process goes through a set in another order.
        likeness = {place: fsum(shared[word] ** -2 for word in left[place] & own) for place in left}
        del left[max(likeness, key=lambda place: likeness[place])]
    return [one for place, one in enumerate(others) if place not in left]


def _words(evidence: Evidence) -> set[str]:
    """The words of what the program was given."""
    inputs = " ".join(map(text_of, evidence.rollout.trace.inputs.values()))
    return set(words_of(inputs))


def _concerns(rollout: Rollout, components: Sequence[str], *, shows_unparsed: bool) -> bool:
    steps = [step for step in rollout.trace.steps if step.component in components]
    if not shows_unparsed and any(step.reply for step in steps):
        return False
    return bool(rollout.failure or steps)


def _record(
    evidence: Evidence,
    components: Sequence[str],
    *,
    remarks: Mapping[str, str],
    perfect_score: float | None,
    calls_per_record: int,
) -> EvidenceRecord:
    rollout = evidence.rollout
    steps = tuple(step for step in rollout.trace.steps if step.component in components)
    own = remarks if len(components) == 1 else {}
    score = evidence.scores.get(components[0], rollout.score) if own else rollout.score
    reached = perfect_score is not None and score == perfect_score
    called = [(step.inputs, step.outputs) for step in steps]
    return EvidenceRecord(
        example=evidence.example,
        score=score,
        passed=reached and not rollout.failure,
        feedback=next(iter(own.values()), rollout.feedback),
        remarks={
            name: _with_score(remark, evidence.scores.get(name, score), score)
            for name, remark in remarks.items()
            if name not in own and remark != rollout.feedback
        },
        failure=rollout.failure,
        calls=_bounded(steps, calls_per_record),
        calls_made=len(steps),
        turns=_turns(rollout.trace, components),
        inputs=_beside(rollout.trace.inputs, [inputs for inputs, _ in called]),
        outputs=_beside(rollout.trace.outputs, [written for _, written in called]),
        attachments=rollout.attachments,
        objectives=rollout.objectives,
    )


def _with_score(remark: str, score: float, shown: float) -> str:
    """Words on one component, with the score that came with them where it is another one."""
    return remark if score == shown else f"(score {score:g}) {remark}"


def _turns(trace: Trace, components: Sequence[str]) -> tuple[Step | int, ...]:
    """All steps in order; empty if all are of the components asked about."""
    numbers = count(1)
    turns = [next(numbers) if step.component in components else step for step in trace.steps]
    return tuple(turns) if any(isinstance(turn, Step) for turn in turns) else ()


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


def _bounded(steps: tuple[Step, ...], most: int) -> tuple[tuple[int, Step], ...]:
    """At most so many of the calls, with their numbers, in order."""
    last = len(steps) - 1

    def rank(place: int) -> tuple[bool, int, int]:
        return (not steps[place].failure, min(place, last - place), place)

    kept = sorted(sorted(range(len(steps)), key=rank)[:most])
    return tuple((place + 1, steps[place]) for place in kept)

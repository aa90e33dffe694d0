"""What a reflection is told beside its minibatch: what worked, and what came of earlier changes.

Only proposals that were over when its own was issued are looked at, so that the same question is
asked whenever the answers of others come. The words of a lesson are the reflection's, its outcome
is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.comparing import comparable
from dspy_gepa.core.frontier import with_failures_assumed
from dspy_gepa.core.proposal import Evaluation, Mutation, Proposal
from dspy_gepa.core.results import all_scores, place_of
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.state import Member, ProposalRecord, RunState
from dspy_gepa.core.work import Evidence, Lesson

__all__ = ["contrasts_of", "lessons_of"]

_MOST_OF_THE_LINE = 8
"""How many lessons of the line of ancestors are told, the newest ones. Our choice."""
_MOST_ATTEMPTS = 4
"""How many attempts on the parent itself are told, the newest ones, if not all of them are. Our
choice."""


def contrasts_of(
    state: RunState, proposal: Proposal, evaluation: Evaluation
) -> tuple[Evidence, ...]:
    """Rollouts of the parent on other training examples that did better than the worst shown.

    They are known already and cost nothing; the highest scores come first, and of equal ones what
    the proposal looked at itself.
    """
    origin, most = proposal.origin, state.settings.contrasts
    if not most or not isinstance(origin, Mutation):
        return ()
    drawn = [example for done in proposal.evaluations for example in done.examples]
    earlier: list[int] = []
    if state.members:
        training = state.members[origin.parent].results.before(origin.visible_proposals).training
        places = np.flatnonzero(~np.isnan(training)).tolist()
        earlier = [state.settings.train[place] for place in places]
    digest = evaluation.candidate.digest
    others = [
        Evidence(example, state.known[RolloutKey(digest, example)])
        for example in dict.fromkeys([*drawn, *earlier])
        if example not in evaluation.examples
    ]
    shown, scores = comparable(
        state.settings, state.rollouts(evaluation), [one.rollout for one in others]
    )
    better = [pair for pair in zip(scores, others, strict=True) if pair[0] > min(shown)]
    return tuple(one for _, one in sorted(better, key=lambda pair: -pair[0])[:most])


def lessons_of(state: RunState, proposal: Proposal) -> tuple[Lesson, ...]:
    """What the parent's line of ancestors tried and kept, and what was tried on the parent itself.

    Of what was tried on the parent, only what was rejected is told, unless the settings say that
    all of it is (`tells_attempts`).
    """
    origin = proposal.origin
    if not state.members or not isinstance(origin, Mutation):
        return ()
    line = [
        _kept(state, state.members[member], origin.visible_proposals)
        for member in sorted(_line(state, origin.parent))
        if isinstance(state.history[state.members[member].ticket].origin, Mutation)
    ]
    attempts = [
        _attempted(state, ticket, record, origin.visible_proposals)
        for ticket, record in _attempts(state, origin)
    ]
    lessons = [*line[-_MOST_OF_THE_LINE:], *attempts]
    return tuple(sorted(lessons, key=lambda lesson: lesson.ticket))


def _line(state: RunState, member: int) -> set[int]:
    """A member with all that it comes from, the seed left out."""
    line: set[int] = set()
    pending = [member]
    while pending:
        one = pending.pop()
        if one and one not in line:
            line.add(one)
            pending += state.members[one].parents
    return line


def _attempts(state: RunState, origin: Mutation) -> list[tuple[int, ProposalRecord]]:
    """The newest proposals on the same parent that wrote something new and were rejected.

    If the settings say so, all that wrote something new, accepted ones too (`tells_attempts`).
    """
    attempts: list[tuple[int, ProposalRecord]] = []
    parent = state.candidate_of(origin.parent)
    tells_all = state.settings.tells_attempts
    kinds = ("rejected", "accepted") if tells_all else ("rejected",)
    for ticket in reversed(range(origin.visible_proposals)):
        record = state.history[ticket]
        is_on_parent = isinstance(record.origin, Mutation) and record.origin.parent == origin.parent
        if is_on_parent and record.verdict.kind in kinds:
            if record.candidate != parent:
                attempts.append((ticket, record))
            if len(attempts) == _MOST_ATTEMPTS and not tells_all:
                break
    return attempts


def _kept(state: RunState, member: Member, visible_proposals: int) -> Lesson:
    parent = state.members[member.parents[0]]
    results = [each.results.before(visible_proposals) for each in (member, parent)]
    settings = state.settings
    everything = all_scores(results, len(settings.validation) + len(settings.train))
    rows = with_failures_assumed(everything, settings.assumed_failure_score)
    pairs = rows[:, ~np.isnan(rows).any(axis=0)].T.tolist()
    gains = [_gain(new, old) for new, old in pairs]
    record = state.history[member.ticket]
    lesson = _lesson(member.ticket, record, parent.candidate, gains, is_kept=True)
    if not state.settings.tells_attempts:
        return lesson
    return replace(lesson, evidence=_evidence(state, record, visible_proposals))


def _attempted(
    state: RunState, ticket: int, record: ProposalRecord, visible_proposals: int
) -> Lesson:
    assert isinstance(record.origin, Mutation)
    parent = state.candidate_of(record.origin.parent)
    gains = list(_gains(state, record, parent, visible_proposals))
    is_kept = record.verdict.kind == "accepted"
    lesson = _lesson(ticket, record, parent, gains, is_kept=is_kept)
    evidence = _evidence(state, record, visible_proposals)
    if not evidence:
        return lesson
    return replace(lesson, candidate=record.candidate, evidence=evidence)


def _evidence(
    state: RunState, record: ProposalRecord, visible_proposals: int
) -> tuple[Evidence, ...]:
    """What is known of a proposal's candidate on the examples that its reflection was shown."""
    digest = record.candidate.digest
    keys = [RolloutKey(digest, example) for example in record.reflected_examples]
    known = [key for key in keys if state.charged.get(key, visible_proposals) < visible_proposals]
    return tuple(Evidence(key.example, state.known[key]) for key in known)


def _gains(
    state: RunState, record: ProposalRecord, parent: Candidate, visible_proposals: int
) -> Iterator[float]:
    """How much higher what was proposed scored than the parent, on what both were run on."""
    place = place_of(state.settings.validation)
    validated = (example for example in record.evaluated if example in place)
    for example in dict.fromkeys((*record.reflected_examples, *validated)):
        keys = [RolloutKey(each.digest, example) for each in (record.candidate, parent)]
        if all(state.charged.get(key, visible_proposals) < visible_proposals for key in keys):
            (new,), (old,) = comparable(state.settings, *([state.known[key]] for key in keys))
            yield _gain(new, old)


def _gain(new: float, old: float) -> float:
    return 0.0 if new == old else new - old  # two failures without a score are equal


def _lesson(
    ticket: int,
    record: ProposalRecord,
    parent: Candidate,
    gains: list[float],
    *,
    is_kept: bool,
) -> Lesson:
    changed = (name for name, text in record.candidate.items() if text != parent.get(name))
    return Lesson(
        ticket,
        tuple(changed),
        record.lesson,
        is_kept,
        gained=sum(gain > 0 for gain in gains),
        lost=sum(gain < 0 for gain in gains),
        examples=len(gains),
    )

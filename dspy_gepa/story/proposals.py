"""The proposals of a story, those that are over and those under way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.comparing import comparable
from dspy_gepa.core.proposal import (
    CheckingMustPass,
    EvaluatingChild,
    EvaluatingParent,
    Evaluation,
    Merge,
    Mutation,
    Origin,
    Phase,
    Proposal,
    Reflecting,
    Remarking,
    Repairing,
    Revalidation,
    Seed,
    Settled,
    TextsReady,
    Validating,
)
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import ProposalRecord, RunState
from dspy_gepa.core.work import Fault
from dspy_gepa.story.diff import changes_between
from dspy_gepa.story.members import program_answer
from dspy_gepa.story.parts import Spending
from dspy_gepa.story.story import Pair, ProposalStory, Shown
from dspy_gepa.story.teller import Note, Teller, spending_of

__all__ = ["phase_in_words", "proposals_of"]

_KINDS: dict[type[Origin], Literal["seed", "rewrite", "merge", "revalidation"]] = {
    Seed: "seed",
    Mutation: "rewrite",
    Merge: "merge",
    Revalidation: "revalidation",
}
_PHASES: dict[type[Phase], str] = {
    EvaluatingParent: "looking for failures",
    Remarking: "asking for feedback",
    Reflecting: "reflecting",
    Repairing: "asking again",
    TextsReady: "reflecting",
    EvaluatingChild: "comparing",
    CheckingMustPass: "checking what must pass",
    Validating: "validating",
    Settled: "waiting for its turn",
}


def phase_in_words(phase: Phase) -> str:
    """What a proposal is at."""
    return _PHASES[type(phase)]


def proposals_of(teller: Teller) -> tuple[ProposalStory, ...]:
    """All proposals, by number."""
    state = teller.state
    joined = {member.ticket: number for number, member in enumerate(state.members)}
    over = (
        _over(state, ticket, record, teller.notes.get(ticket, Note()), joined.get(ticket))
        for ticket, record in enumerate(state.history)
    )
    live = (_live(state, each, teller.notes.get(each.ticket, Note())) for each in state.live)
    return (*over, *live)


def _over(
    state: RunState, ticket: int, settled: ProposalRecord, note: Note, member: int | None
) -> ProposalStory:
    origin, child = settled.origin, settled.candidate
    parent = _parent(state, origin)
    ended, began = note.ended_at, note.began_at
    return ProposalStory(
        number=ticket,
        kind=_KINDS[type(origin)],
        parents=origin.parents,
        verdict=settled.verdict.kind,
        reason=settled.verdict.reason,
        phase="",
        member=member,
        changes=() if parent is None else changes_between(parent, child),
        spending=spending_of(settled.charge),
        began_at=began,
        ended_at=ended,
        shown=_shown(state, note, settled),
        components=note.components,
        diagnosis=settled.diagnosis,
        lesson=settled.lesson,
        faults=_faults(settled.faults),
        exchanges=tuple(note.exchanges),
        gate=tuple(_pairs(state, note.gate, _parents(state, origin))),
        anchors=tuple(_pairs(state, note.anchors, [each.candidate for each in note.reference])),
        validation=tuple(_pairs(state, note.validation, _parents(state, origin))),
        seconds=None if ended is None or began is None else ended - began,
    )


def _live(state: RunState, proposal: Proposal, note: Note) -> ProposalStory:
    origin = proposal.origin
    return ProposalStory(
        number=proposal.ticket,
        kind=_KINDS[type(origin)],
        parents=origin.parents,
        verdict="",
        reason="",
        phase=phase_in_words(proposal.phase),
        member=None,
        changes=(),
        spending=Spending(),
        began_at=note.began_at,
        components=note.components,
        diagnosis=proposal.diagnosis,
        lesson=proposal.lesson,
        faults=_faults(proposal.faults),
        exchanges=tuple(note.exchanges),
        shown=_shown_of(state, note.shown),
        gate=tuple(_pairs(state, note.gate, _parents(state, origin))),
        validation=tuple(_pairs(state, note.validation, _parents(state, origin))),
    )


def _faults(faults: Sequence[Fault]) -> tuple[tuple[str, str], ...]:
    return tuple((", ".join(fault.components), fault.reason) for fault in faults)


def _parent(state: RunState, origin: Origin) -> Candidate | None:
    parents = _parents(state, origin)
    return parents[0] if parents else None


def _parents(state: RunState, origin: Origin) -> list[Candidate]:
    return [state.members[number].candidate for number in origin.parents if state.members]


def _shown(state: RunState, note: Note, settled: ProposalRecord) -> tuple[Shown, ...]:
    if (
        note.shown is None
        and settled.reflected_examples
        and (parent := _parent(state, settled.origin))
    ):
        return _shown_of(state, Evaluation(parent, settled.reflected_examples))
    return _shown_of(state, note.shown)


def _shown_of(state: RunState, evaluation: Evaluation | None) -> tuple[Shown, ...]:
    if evaluation is None:
        return ()
    (row,) = _answered(state, [evaluation.candidate], evaluation.examples)
    return tuple(Shown(example=key, answer=program_answer(*each)) for key, each in row.items())


def _pairs(
    state: RunState, evaluation: Evaluation | None, others: Sequence[Candidate]
) -> Iterator[Pair]:
    """The child's score on each example, beside the highest of these others."""
    if evaluation is None:
        return
    candidates = [evaluation.candidate, *others]
    child, *rows = _answered(state, candidates, evaluation.examples)
    for example in evaluation.examples:
        known = [row[example].score for row in rows if example in row]
        after = child[example].score if example in child else None
        if after is not None or known:
            yield Pair(example=example, before=max(known, default=None), after=after)


class _Answered(NamedTuple):
    rollout: Rollout
    score: float


def _answered(
    state: RunState, candidates: Sequence[Candidate], examples: Sequence[int]
) -> list[Mapping[int, _Answered]]:
    """For each candidate the rollouts that are known, by example, as they compare."""
    rows = [
        {key.example: state.known[key] for key in keys if key in state.known}
        for keys in (Evaluation(each, tuple(examples)).keys for each in candidates)
    ]
    scores = comparable(state.settings, *([*row.values()] for row in rows))
    return [
        {example: _Answered(row[example], score) for example, score in zip(row, own, strict=True)}
        for row, own in zip(rows, scores, strict=True)
    ]

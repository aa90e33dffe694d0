"""What a reflection is told of texts that were tried in vain, and when telling it does harm.

A capable model does better than what it is told was rejected. A small one writes it again: shown
its rejected texts, Qwen2.5-Coder with 1.5 billion parameters took about 0.7 of its new words over
from them, whatever the examples said, and almost none where it was not shown any. So they are told
until a reflection copies one of them, and then never again in the run. Our choice.
"""

from __future__ import annotations

from itertools import islice

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.choices import candidate_of
from dspy_gepa.core.proposal import Mutation, Settled
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Attempt

__all__ = ["attempts_told", "has_copied", "is_copied"]

_MOST_TOLD = 3
"""Our choice: the newest say most."""
_RUN = 5
"""Words in a row that are compared. Our choice: fewer are phrases that any two texts share."""
_COPIED = 0.5
"""The share of a text's new runs that makes it a copy. Our choice: of 13 texts that the model above
wrote with rejected ones in sight 11 reach it; of 24 that it wrote without, none is above 0.34."""


def attempts_told(state: RunState, origin: Mutation) -> tuple[Attempt, ...]:
    """What earlier reflections on this parent wrote in vain, as known when it was issued."""
    if state.copied_from is not None and state.copied_from <= origin.seen:
        return ()
    parent = candidate_of(state, origin.parent)
    newest_first = (state.history[position] for position in reversed(range(origin.seen)))
    rejected = (
        Attempt(settlement.candidate, settlement.verdict.reason)
        for settlement in newest_first
        if settlement.verdict.kind == "rejected"
        and isinstance(settlement.origin, Mutation)
        and settlement.origin.parent == origin.parent
        and settlement.candidate != parent
    )
    return tuple(islice(rejected, _MOST_TOLD))[::-1]


def has_copied(state: RunState) -> bool:
    """Whether the proposal to be committed next is a copy of an attempt that it was told of."""
    origin, phase = state.live[0].origin, state.live[0].phase
    assert isinstance(phase, Settled)
    if not isinstance(origin, Mutation):
        return False
    parent = candidate_of(state, origin.parent)
    told = attempts_told(state, origin)
    return any(is_copied(phase.candidate, attempt.candidate, parent) for attempt in told)


def is_copied(child: Candidate, attempt: Candidate, parent: Candidate) -> bool:
    """Whether what a child says beyond its parent is mostly what an attempt said."""
    return any(
        _share(child[component], attempt[component], parent[component]) >= _COPIED
        for component in child
        if child[component] != parent[component] != attempt[component]
    )


def _share(new: str, attempt: str, old: str) -> float:
    """Of the runs of words that are new, how many stand in the attempt."""
    added = _runs(new) - _runs(old)
    return len(added & _runs(attempt)) / len(added) if added else 0.0


def _runs(text: str) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {tuple(words[start : start + _RUN]) for start in range(max(1, len(words) - _RUN + 1))}

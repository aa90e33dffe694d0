"""System-aware merge: a child that takes from two members what each changed since their ancestor.

Paper, appendix F. Where the paper leaves order open, ours is fixed by labelled chance. The paper
merges whole components; a `TextMerge` goes on where both members changed the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import TypeAlias

import numpy as np

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.frontier import Scores

__all__ = [
    "Lineage",
    "MergePlan",
    "TextMerge",
    "better_text",
    "has_own_text",
    "merge_examples",
    "plan_merge",
]

TextMerge: TypeAlias = Callable[[str, str, str, str], str]
"""From a component and its texts in an ancestor, in the better member and in the other one, all
different, to the text that a merge of the two gets."""


def better_text(component: str, origin: str, better: str, other: str) -> str:  # noqa: ARG001
    """The better member's. Paper, appendix F."""
    return better


@dataclass(frozen=True, slots=True)
class Lineage:
    """One member, as a merge sees it; a member's id is its position among all."""

    candidate: Candidate
    parents: tuple[int, ...]
    """Ids of older members; empty for the seed."""
    mean: float
    """Mean validation score."""


@dataclass(frozen=True, slots=True)
class MergePlan:
    """A merge that may be tried."""

    parents: tuple[int, int]
    """Ascending ids."""
    ancestor: int
    child: Candidate


def plan_merge(
    members: Sequence[Lineage],
    frontier: Collection[int],
    tried: Collection[tuple[int, int, int]],
    random: Random,
    text_merge: TextMerge = better_text,
) -> MergePlan | None:
    """A merge of two frontier members, or None if no pair of them can be merged.

    Eligible are pairs of which neither descends from the other, with a common ancestor that is
    no better than either, where at least one component was changed by one of them only, or gets
    a text that neither has. Every eligible pair is equally likely; among its ancestors, better
    ones are likelier. A merge that was tried, or whose texts a member already has, is not planned
    again.

    `tried` holds (parent, parent, ancestor), parents ascending.
    """
    ancestors = _ancestors(members)
    pairs = list(combinations(sorted(frontier), 2))
    random.shuffle(pairs)
    existing = {member.candidate for member in members}
    for first, second in pairs:
        if first in ancestors[second] or second in ancestors[first]:
            continue
        common = [
            ancestor
            for ancestor in sorted(ancestors[first] & ancestors[second])
            if (first, second, ancestor) not in tried
            and members[ancestor].mean <= min(members[first].mean, members[second].mean)
        ]
        while common:
            ancestor = common.pop(_weighted_position([members[a].mean for a in common], random))
            child = _child(members, ancestor, first, second, random, text_merge=text_merge)
            is_eligible = _has_one_sided_change(members, ancestor, first, second) or has_own_text(
                child, [members[first].candidate, members[second].candidate]
            )
            if is_eligible and child not in existing:
                return MergePlan((first, second), ancestor, child)
    return None


def merge_examples(
    scores: Scores, columns: Sequence[int], parents: tuple[int, int], size: int, random: Random
) -> tuple[int, ...]:
    """The validation examples on which a merge is compared with its parents.

    A third each, as far as they reach: where the first parent is better, where the second is,
    where they tie; filled up from the rest. At most `size`, none twice. `scores` has a row a
    member; `columns` names its columns' examples.
    """
    first, second = scores[parents[0]], scores[parents[1]]
    both = np.flatnonzero(~np.isnan(first) & ~np.isnan(second)).tolist()
    groups = [
        [i for i in both if first[i] > second[i]],
        [i for i in both if second[i] > first[i]],
        [i for i in both if first[i] == second[i]],
    ]
    share = -(-size // len(groups))
    taken: list[int] = []
    for group in groups:
        taken += random.sample(group, min(share, len(group), size - len(taken)))
    rest = [i for i in both if i not in taken]
    taken += random.sample(rest, min(size - len(taken), len(rest)))
    return tuple(columns[i] for i in taken)


def has_own_text(child: Candidate, parents: Sequence[Candidate]) -> bool:
    """Whether one of a child's texts is none of its parents'."""
    return any(all(text != parent[name] for parent in parents) for name, text in child.items())


def _ancestors(members: Sequence[Lineage]) -> list[frozenset[int]]:
    """For every member, the ids of all that it descends from. Parents are older than children."""
    ancestors: list[frozenset[int]] = []
    for member in members:
        ancestors.append(frozenset(member.parents).union(*(ancestors[p] for p in member.parents)))
    return ancestors


def _has_one_sided_change(
    members: Sequence[Lineage], ancestor: int, first: int, second: int
) -> bool:
    origin, one, other = (members[i].candidate for i in (ancestor, first, second))
    return any(
        one[name] != other[name] and origin[name] in (one[name], other[name]) for name in origin
    )


def _child(
    members: Sequence[Lineage],
    ancestor: int,
    first: int,
    second: int,
    random: Random,
    *,
    text_merge: TextMerge,
) -> Candidate:
    """The ancestor with every component as the member has it that changed it.

    Where both changed it, their texts are merged, at a tie either as the better one by chance.
    """
    origin, one, other = (members[i].candidate for i in (ancestor, first, second))
    lead = members[first].mean - members[second].mean
    texts = {}
    for name in origin:
        if one[name] == other[name] or other[name] == origin[name]:
            texts[name] = one[name]
        elif one[name] == origin[name]:
            texts[name] = other[name]
        else:
            is_first_better = lead > 0 if lead else random.choice((True, False))
            better, worse = (one, other) if is_first_better else (other, one)
            texts[name] = text_merge(name, origin[name], better[name], worse[name])
    return Candidate.of(texts)


def _weighted_position(means: Sequence[float], random: Random) -> int:
    """A position, with probability in proportion to the mean.

    Our choice: where a mean is negative or all are zero, such weights do not exist, and the means
    are shifted so that the lowest still has a chance.
    """
    low, high = min(means), max(means)
    weights = means
    if low < 0 or high <= 0:
        margin = (high - low or 1.0) / 10
        weights = [mean - low + margin for mean in means]
    return random.choices(range(len(means)), weights)[0]

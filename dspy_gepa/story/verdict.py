"""Seed against returned: what was seen, what is checked, and the one sentence that says both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import comb, isnan, nan
from statistics import fmean

from dspy_gepa.story.parts import AnswerStory, Check
from dspy_gepa.story.story import Comparison, MemberStory, ObjectivePair
from dspy_gepa.story.wording import counted, score, score_in_words

__all__ = [
    "SURE",
    "chance_of",
    "compared_members",
    "headline",
    "objectives_in_words",
    "paired_in_words",
    "seen_in_words",
]

SURE = 0.025
"""A lead is called better if chance alone shows as much in at most this share of runs.

It is the upper side of 5 %, as in a 95 % interval."""


def compared_members(
    before: MemberStory, after: MemberStory, minimized: Collection[str] = ()
) -> Comparison:
    """Two members on the validation examples that both were run on.

    Args:
        before: Mostly the seed.
        after: The one that is compared with it.
        minimized: The objectives of which less is better.
    """
    better: list[int] = []
    worse: list[int] = []
    same: list[int] = []
    for example, answer in after.answers.items():
        if (other := before.answers.get(example)) is None:
            continue
        one, two = _score(other), _score(answer)
        (better if two > one else worse if two < one else same).append(example)
    return Comparison(
        before=before.number,
        after=after.number,
        better=tuple(better),
        worse=tuple(worse),
        same=tuple(same),
        objectives=tuple(_objectives(before, after, minimized)),
    )


def _objectives(
    before: MemberStory, after: MemberStory, minimized: Collection[str]
) -> Iterator[ObjectivePair]:
    both = [
        (before.answers[example].objectives, answer.objectives)
        for example, answer in after.answers.items()
        if example in before.answers
    ]
    for name in sorted({name for one, _ in both for name in one}):
        values = [(one.get(name, nan), two.get(name, nan)) for one, two in both]
        if pairs := [(one, two) for one, two in values if not isnan(one) and not isnan(two)]:
            yield ObjectivePair(
                name=name,
                before=fmean(one for one, _ in pairs),
                after=fmean(two for _, two in pairs),
                examples=len(pairs),
                is_minimized=name in minimized,
            )


def _score(answer: AnswerStory) -> float:
    return float("-inf") if answer.score is None else answer.score


def chance_of(comparison: Comparison, members: int) -> float:
    """How often chance alone would show one of so many members so much better: a sign test.

    The test has one side, that of leads. It is multiplied by the number of members beside the
    seed, because each of them is a chance. 1 if no more examples are better than worse.
    """
    better, worse = len(comparison.better), len(comparison.worse)
    count = better + worse
    if better <= worse:
        return 1.0
    tail = sum(comb(count, k) for k in range(better, count + 1)) / 2**count
    return float(min(1.0, tail * max(1, members - 1)))


def seen_in_words(member: MemberStory) -> str:
    """What was really seen of a member: "13 of 15 right"."""
    return score_in_words(right=member.right, seen=member.seen, mean=member.mean)


def paired_in_words(found: Comparison) -> str:
    """Two members on what both were run on: "both ran on 10: 8 better, 0 worse, 2 same"."""
    if not found.examples:
        return "no example was run by both"
    return (
        f"both ran on {found.examples}: {len(found.better)} better, {len(found.worse)} worse, "
        f"{len(found.same)} same"
    )


def objectives_in_words(found: Comparison) -> str:
    """What became of each objective: "... steps 2 to 2, the same; tokens 5 to 9, worse".

    Empty where there is none.
    """
    told = [
        f"{each.name} {score(each.before)} to {score(each.after)}, {each.became}"
        for each in found.objectives
    ]
    return f"objectives where both ran, by their means: {'; '.join(told)}" if told else ""


def headline(
    members: Mapping[int, MemberStory] | tuple[MemberStory, ...],
    returned: int | None,
    comparison: Comparison | None,
    check: Check,
    *,
    has_outcome: bool,
) -> str:
    """The verdict in one sentence."""
    if returned is None:
        return "Nothing to compare yet: the program as it was is not validated."
    if check.kind != "not checked":
        return f"{check.sentence[:1].upper()}{check.sentence[1:]}"
    seed = seen_in_words(members[0])
    if comparison is None:
        tried = counted(len(members) - 1, "other member")
        state = "is returned as it was" if has_outcome else "leads as it was"
        beside = f"; {tried} did not do better for sure" if len(members) > 1 else ""
        return f"No improvement: the program {state} ({seed}){beside}."
    evidence = seen_in_words(members[returned])
    chance = chance_of(comparison, len(members))
    sentence = (
        "Looks better"
        if chance <= SURE
        else "Perhaps better, on too little to tell"
        if len(comparison.better) >= len(comparison.worse)
        else "Not seen to be better"
    )
    return f"{sentence}: {evidence} (as it was: {seed}). {_why_not_checked(check)}"


def _why_not_checked(check: Check) -> str:
    """Why held-out examples said nothing, or what to give so that there are any."""
    if check.sentence and "heldout=" not in check.sentence:
        return f"{check.sentence[:1].upper()}{check.sentence[1:]}"
    return "Not checked on examples of its own: compile(..., heldout=0.2) does that."

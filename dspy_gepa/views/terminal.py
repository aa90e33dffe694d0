"""A run, its members and comparisons as lines for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from dspy_gepa.story.diff import unified
from dspy_gepa.story.story import MemberStory, Story
from dspy_gepa.story.verdict import (
    compared_members,
    objectives_in_words,
    paired_in_words,
    seen_in_words,
)
from dspy_gepa.story.wording import clock, counted, listed, moment, money, spent_in_words

__all__ = ["compared_lines", "member_lines", "run_lines", "run_row", "table"]


def run_lines(story: Story) -> Iterator[str]:
    """A run on one screen: how it stands, the verdict, and its members."""
    took = [] if story.seconds is None else [clock(story.seconds)]
    yield f"{story.name}: {', '.join([story.status, *took, spent_in_words(story.total)])}"
    if story.ending:
        yield f"ended: {story.ending}"
    yield story.headline
    if story.comparison is not None:
        yield paired_in_words(story.comparison)
        if said := objectives_in_words(story.comparison):
            yield said
    yield ""
    rows = [
        [
            f"{'* ' if member.number == story.returned else ''}{member.number}",
            listed(tuple(map(str, member.parents))) or "start",
            str(member.proposal),
            seen_in_words(member),
            "" if member.estimate is None else f"{member.estimate:.2f}",
            str(len(member.tops)) if member.is_frontier else "-",
            f"{sum(map(len, member.texts.values())):,}",
        ]
        for member in story.members
    ]
    head = ["member", "from", "proposal", "seen", "estimate", "best on", "characters"]
    yield from table(head, rows)
    for trouble in story.troubles:
        yield f"trouble, {counted(trouble.times, 'time')}: {' '.join(trouble.cause.split())[:200]}"


def member_lines(story: Story, member: MemberStory) -> Iterator[str]:
    """A member: where it comes from, what was seen, its texts, and what changed."""
    made = "the program as it was"
    if member.parents:
        made = f"made from member {listed(tuple(map(str, member.parents)))}"
    yield f"member {member.number}: {made}, proposal {member.proposal}"
    if member.estimate is None:
        yield seen_in_words(member)
    else:
        yield f"{seen_in_words(member)}, estimate {member.estimate:.2f}"
    proposal = story.proposals[member.proposal]
    for label, text in (("why", proposal.diagnosis), ("change", proposal.lesson)):
        if text:
            yield f"{label}: {text}"
    if member.children:
        yield f"children: {listed(tuple(map(str, member.children)))}"
    for name, text in member.texts.items():
        yield from ("", f"[{name}]", text)
    for change in proposal.changes:
        yield from ("", f"[{change.component}, against member {member.parents[0]}]")
        yield from unified(change.before, change.after)


def compared_lines(before: MemberStory, after: MemberStory, minimized: Collection[str]) -> str:
    """Two members on what both were run on; less is better of the objectives that are minimized."""
    found = compared_members(before, after, minimized)
    return "\n".join(filter(None, [paired_in_words(found), objectives_in_words(found)]))


def run_row(story: Story | str) -> list[str]:
    """A run in a table of runs; what is wrong with it where it cannot be read."""
    if isinstance(story, str):
        return [story]
    began = "-" if story.began_at is None else moment(story.began_at)
    if story.returned is None:
        return [began, story.status, "-", "-", "-", money(story.total)]
    returned = story.members[story.returned]
    seen = [seen_in_words(returned), seen_in_words(story.members[0])]
    return [began, story.status, f"member {story.returned}", *seen, money(story.total)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns below each other. A row that is shorter than the others may be as wide as it is."""
    whole = [row for row in rows if len(row) == len(head)]
    widths = [max(map(len, column)) for column in zip(head, *whole, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if len(row) == len(head) else cell
            for cell, width in zip(row, widths, strict=False)
        ).rstrip()
        for row in (head, *rows)
    ]

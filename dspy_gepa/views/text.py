"""A story as text: the block at the end of a run, tables and diffs for a terminal.

Nothing here quotes an example, an answer or a metric's words: those are the users' data.
"""

from __future__ import annotations

from collections.abc import Iterator

from dspy_gepa.errors import readable
from dspy_gepa.story.diff import changes_between, diffed
from dspy_gepa.story.story import MemberStory, Story
from dspy_gepa.story.verdict import (
    compared_members,
    objectives_in_words,
    paired_in_words,
    seen_in_words,
)
from dspy_gepa.story.wording import clock, counted, spent_in_words

__all__ = ["diff_of", "explained", "member_in_a_line", "summary_of"]

_BEGINNINGS = {
    "finished": "Done",
    "stopped": "Stopped",
    "broke": "Broke",
    "died": "Died",
    "under way": "Under way",
}
_LONGEST_REASON = 160


def summary_of(story: Story) -> str:
    """How a run stands or ended, in at most 12 lines."""
    return readable("\n".join(_summary_lines(story)))


def _summary_lines(story: Story) -> Iterator[str]:
    after = "" if story.seconds is None else f" after {clock(story.seconds)}"
    ending = " ".join(story.ending.split())[:_LONGEST_REASON]
    yield f"{_BEGINNINGS[story.status]}{after}{f': {ending}' if ending else ''}"
    if story.returned is None:
        yield "  returned     nothing: the program as it was is not validated"
    else:
        is_final = story.has_outcome or story.status in ("finished", "stopped")
        title = "returned" if is_final else "best so far"
        member = story.members[story.returned]
        yield f"  {title:<12} member {member.number} of {len(story.members)}: {_seen(member)}"
        if story.returned:
            both = f"; {paired_in_words(story.comparison)}" if story.comparison else ""
            yield f"  as it was    member 0: {_seen(story.members[0])}{both}"
    yield f"  checked      {_checked(story)}"
    yield f"  spent        {spent_in_words(story.total)}"
    objectives = objectives_in_words(story.comparison) if story.comparison else ""
    for title, words in (
        ("objectives", objectives.partition(": ")[2]),
        ("demos", story.demonstrations),
        ("specialists", story.routing),
        ("troubles", _troubles(story)),
        ("not called", ", ".join(story.uncalled)),
    ):
        if words:
            yield f"  {title:<12} {' '.join(words.split())[:_LONGEST_REASON]}"
    if story.name:
        yield f"  look         dspy-gepa show {story.name}, or report {story.name}"


def _seen(member: MemberStory) -> str:
    estimate = "" if member.estimate is None else f", estimate {member.estimate:.2f}"
    return f"{seen_in_words(member)}{estimate}"


def _checked(story: Story) -> str:
    if story.check.kind != "not checked":
        return story.check.sentence
    if story.check.sentence and "heldout=" not in story.check.sentence:
        return story.check.sentence
    return "not on examples of its own: compile(..., heldout=0.2) does that"


def _troubles(story: Story) -> str:
    times = sum(each.times for each in story.troubles)
    if not times:
        return ""
    return f"{counted(times, 'request')} not carried out: {story.troubles[0].cause}"


def diff_of(story: Story, before: int, after: int) -> str:
    """What changed from one member to another, by component, and what was seen of both."""
    one, two = story.members[before], story.members[after]
    parts = []
    for change in changes_between(one.texts, two.texts):
        lines = [f"{line.sign} {line.text}" for line in diffed(change.before, change.after)]
        parts.append("\n".join([change.component, *lines]))
    if not parts:
        parts.append("The texts are the same.")
    found = compared_members(one, two, story.minimized)
    both = "\n".join(filter(None, [paired_in_words(found), objectives_in_words(found)]))
    return readable("\n\n".join([*parts, both]))


def explained(story: Story, number: int) -> str:
    """Where a member comes from, why it was kept, and how it does: texts, no data."""
    member = story.members[number]
    lines = [member_in_a_line(member)]
    for older, newer in _line_of(story, number):
        proposal = story.proposals[newer.proposal]
        lines.append(f"\nproposal {proposal.number}: {proposal.kind} of member {older.number}")
        if proposal.diagnosis:
            lines.append(f"diagnosis: {proposal.diagnosis}")
        if proposal.lesson:
            lines.append(f"idea: {proposal.lesson}")
        lines.append(diff_of(story, older.number, newer.number))
        lines.append(f"verdict: {proposal.verdict}, {proposal.reason}")
    if not member.parents:
        lines.append("the program as it was given")
    return readable("\n".join(lines))


def _line_of(story: Story, number: int) -> list[tuple[MemberStory, MemberStory]]:
    """Parent and child, from the seed on, along first parents."""
    steps = []
    member = story.members[number]
    while member.parents:
        parent = story.members[member.parents[0]]
        steps.append((parent, member))
        member = parent
    return steps[::-1]


def member_in_a_line(member: MemberStory) -> str:
    """A member without its texts."""
    origin = f"from {' and '.join(map(str, member.parents))}" if member.parents else "as it was"
    return f"member {member.number} ({origin}): {_seen(member)}"

"""Stories for views: one in which every field is filled, whatever fields there are."""

import dataclasses
import typing
from collections.abc import Mapping
from types import NoneType, UnionType

from dspy_gepa.story.story import MemberStory, ProposalStory, Story

ROW = 3
"""Members, proposals and examples."""


def made(hint, text, number=0):  # noqa: PLR0911 - one for each kind of type
    """A value of this type in which every text is `text`."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is str:
        return text
    if hint in (int, float, bool):
        return hint(number) if hint is not float else number / ROW
    if origin is typing.Literal:
        return parts[number % len(parts)]
    if origin in (typing.Union, UnionType):
        return made(next(part for part in parts if part is not NoneType), text, number)
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return tuple(made(parts[0], text, place) for place in range(ROW))
        return tuple(made(part, text, number) for part in parts)
    if origin in (Mapping, dict):
        keys = [text] if parts[0] is str else range(ROW)
        return {key: made(parts[1], text, place) for place, key in enumerate(keys)}
    assert dataclasses.is_dataclass(hint), hint
    hints = typing.get_type_hints(hint)
    fields = {each.name: made(hints[each.name], text, number) for each in dataclasses.fields(hint)}
    return hint(**fields)


def story_of_texts(text):
    """A story that is consistent in its numbers, with this text wherever there is a text."""
    story = made(Story, text)
    members = tuple(_member(each, place) for place, each in enumerate(story.members))
    proposals = tuple(_proposal(each, place) for place, each in enumerate(story.proposals))
    examples = {
        number: dataclasses.replace(each, number=number, position=number, is_validation=True)
        for number, each in story.examples.items()
    }
    # Not the text itself: what was changed is to be seen.
    components = tuple(
        dataclasses.replace(each, text="as it was " + each.text) for each in story.components
    )
    comparison = dataclasses.replace(
        story.comparison, before=0, after=2, better=(0,), worse=(1,), same=(2,)
    )
    return dataclasses.replace(
        story,
        members=members,
        proposals=proposals,
        examples=examples,
        components=components,
        comparison=comparison,
        best=2,
        returned=2,
        check=dataclasses.replace(story.check, kind="better"),
    )


def _member(member: MemberStory, number):
    parents = (0, 1)[:number]
    return dataclasses.replace(
        member, number=number, parents=parents, proposal=number, is_frontier=True, right=number
    )


def _proposal(proposal: ProposalStory, number):
    kind = ("seed", "rewrite", "merge")[number]
    return dataclasses.replace(
        proposal, number=number, kind=kind, parents=(0, 1)[:number], member=number or None
    )

"""The examples of a page: what got worse first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from dspy_gepa.story.parts import AnswerStory, ExampleStory
from dspy_gepa.story.story import MemberStory, Story
from dspy_gepa.story.wording import first_line, score

__all__ = ["ExampleRow", "ExampleRows"]

_MOST_MEMBERS = 3
"""Beside the seed and the returned one, whose answers are shown in full."""
_MOST_COLUMNS = 40
_MOST_ROWS = 300
_KINDS = ("worse", "better", "same", "not both")


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """A validation example, and how the returned member compares with the seed on it."""

    example: ExampleStory
    kind: str
    """ "worse", "better", "same" or "not both"."""
    is_never_right: bool
    """Whether no member reached the highest score."""


class ExampleRows:
    """Made from a story."""

    def __init__(self, story: Story) -> None:
        self.story = story

    @cached_property
    def all(self) -> Sequence[ExampleRow]:
        """The validation examples: what got worse first; of each kind what is never right."""
        comparison = self.story.comparison
        kinds = {
            number: kind
            for kind in _KINDS[:3]
            for number in (() if comparison is None else getattr(comparison, kind))
        }
        rows = [
            ExampleRow(each, kinds.get(each.number, "not both"), self._is_never_right(each.number))
            for each in self.story.examples.values()
            if each.is_validation
        ]
        return sorted(
            rows,
            key=lambda row: (_KINDS.index(row.kind), not row.is_never_right, row.example.position),
        )

    @property
    def first(self) -> Sequence[ExampleRow]:
        """As many as a page shows."""
        return self.all[:_MOST_ROWS]

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many examples there are of each kind."""
        numbers = {kind: sum(row.kind == kind for row in self.all) for kind in _KINDS}
        return {**numbers, "never right": sum(row.is_never_right for row in self.all)}

    @cached_property
    def members(self) -> Sequence[tuple[MemberStory, str]]:
        """Those whose answers are shown: the seed, the returned one, and others that lead."""
        story = self.story
        if not story.members:
            return []
        shown = [(story.members[0], "As it was")]
        if story.returned:
            title = "Returned" if story.has_outcome else "Best"
            shown.append((story.members[story.returned], f"{title}, member {story.returned}"))
        others = [each for each in story.members[1:] if each.number != story.returned]
        leading = sorted(
            (each for each in others if each.is_frontier),
            key=lambda each: (-len(each.tops), each.number),
        )
        return [*shown, *((each, f"Member {each.number}") for each in leading[:_MOST_MEMBERS])]

    @property
    def columns(self) -> Sequence[MemberStory]:
        """The members of the table of scores; if too many, the seed and first those that lead."""
        members = self.story.members
        if len(members) <= _MOST_COLUMNS:
            return members
        ranked = sorted(members, key=lambda each: (each.number > 0, not each.is_frontier))
        return sorted(ranked[:_MOST_COLUMNS], key=lambda each: each.number)

    def name(self, number: int) -> str:
        """Where an example stands in the user's data, in words."""
        example = self.story.examples.get(number)
        if example is None:
            return f"example {number}"
        if example.is_validation:
            return f"validation {example.position}"
        return f"training {example.position}" if example.is_training else f"must-pass {number}"

    def scores(self, number: int) -> str:
        """The seed's score and the returned member's, in words."""
        shown = self.members[: 2 if self.story.returned else 1]
        return " \u2192 ".join(
            self._score(member.answers[number].score) if number in member.answers else "not run"
            for member, _ in shown
        )

    def _score(self, value: float | None) -> str:
        if value is not None and self.story.is_right_or_wrong:
            return "right" if value == self.story.highest_score else "wrong"
        return "failed" if value is None else score(value)

    def preview(self, example: ExampleStory) -> str:
        """The beginning of what is in it."""
        inputs = example.inputs or {}
        return first_line("; ".join(text for text in inputs.values() if text), 110)

    @property
    def is_without_inputs(self) -> bool:
        """Whether nothing is known of what stands in them."""
        return all(row.example.inputs is None for row in self.all)

    @property
    def is_without_outputs(self) -> bool:
        """Whether nothing is known of what was answered."""
        answers = [each for member in self.story.members for each in member.answers.values()]
        return all(each.output is None and not each.failure for each in answers)

    @cached_property
    def failing(self) -> Sequence[int]:
        """Those on which every member that was run there failed."""
        return [
            row.example.number
            for row in self.all
            if (answers := self._answers(row.example.number))
            and all(each.failure for each in answers)
        ]

    def _answers(self, number: int) -> list[AnswerStory]:
        members = self.story.members
        return [each.answers[number] for each in members if number in each.answers]

    def _is_never_right(self, number: int) -> bool:
        highest, answers = self.story.highest_score, self._answers(number)
        if highest is None or not answers:
            return False
        return all(each.score is None or each.score < highest for each in answers)

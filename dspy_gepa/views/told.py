"""What everything that has a story can show of it."""

from __future__ import annotations

from typing import Any

from dspy_gepa.errors import SettingsError
from dspy_gepa.story.story import Story
from dspy_gepa.views.html import notebook_html
from dspy_gepa.views.tables import Tables, dictionary_of, tables_of
from dspy_gepa.views.text import diff_of, explained, summary_of

__all__ = ["Told"]


class Told:
    """Prints, compares and explains by a story."""

    __slots__ = ()

    @property
    def story(self) -> Story:
        """What happened."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """At most 12 lines, without data of the user's."""
        return summary_of(self.story)

    def _repr_html_(self) -> str:
        return notebook_html(self.story)

    def to_dict(self) -> dict[str, Any]:
        """The story as JSON can have it, without sessions; with examples and answers if kept."""
        return dictionary_of(self.story)

    def to_pandas(self) -> Tables:
        """Members, proposals, scores (a row for each member and example) and spending.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return tables_of(self.story)

    def diff(self, before: int = 0, after: int | None = None) -> str:
        """What changed from one member to another: the seed and the returned one by default.

        Raises:
            SettingsError: there is no such member.
        """
        story = self.story
        newer = (story.returned or 0) if after is None else after
        _check_members(story, before, newer)
        return diff_of(story, before, newer)

    def explain(self, member: int | None = None) -> str:
        """How a member came about, step by step; the returned one where none is named.

        Raises:
            SettingsError: there is no such member.
        """
        story = self.story
        number = (story.returned or 0) if member is None else member
        _check_members(story, number)
        return explained(story, number)


def _check_members(story: Story, *numbers: int) -> None:
    for number in numbers:
        if not 0 <= number < len(story.members):
            raise SettingsError(
                f"member {number} was asked for; the run has {len(story.members)} members, "
                "numbered from 0."
            )

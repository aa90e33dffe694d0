"""What two runs returned, on the validation examples that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dspy_gepa.story.story import Story

__all__ = ["Comparing", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """Positions are those in the newer run's validation set."""

    better: tuple[int, ...]
    worse: tuple[int, ...]
    same: tuple[int, ...]
    before: float
    """The mean score of what the older run returned."""
    after: float
    """Of what the newer one did."""

    @property
    def examples(self) -> int:
        """How many are shared."""
        return len(self.better) + len(self.worse) + len(self.same)

    @property
    def is_regression(self) -> bool:
        """Whether the newer one scores less in all."""
        return self.after < self.before


def compare(old: Story, new: Story) -> Comparing:
    """By what is in an example, wherever it stands. A failure counts as the lowest score."""
    before, after = _scores(old), _scores(new)
    shared = [digest for digest in after if digest in before]
    pairs = [(after[each][0], before[each][1], after[each][1]) for each in shared]
    count = len(pairs) or 1
    return Comparing(
        better=tuple(place for place, one, two in pairs if two > one),
        worse=tuple(place for place, one, two in pairs if two < one),
        same=tuple(place for place, one, two in pairs if two == one),
        before=sum(one for _, one, _ in pairs) / count,
        after=sum(two for _, _, two in pairs) / count,
    )


def _scores(story: Story) -> Mapping[str, tuple[int, float]]:
    """Digest to position and score, of what was returned."""
    if story.returned is None:
        return {}
    answers = story.members[story.returned].answers
    pairs = ((story.examples[number], answer.score) for number, answer in answers.items())
    return {
        example.digest: (example.position, story.lowest_score if score is None else score)
        for example, score in pairs
        if example.digest
    }

"""Long texts are shortened, as little as a page of a given size allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["LONGEST", "Shortened", "Shortener", "without_middle"]

LONGEST = 8_000
"""Characters of one text in a page. What is longer nobody reads there."""


class Shortened(NamedTuple):
    """A text, or its beginning and its end."""

    text: str
    left_out: int
    """How many characters."""


def without_middle(text: str, longest: int = LONGEST) -> Shortened:
    """The text, without its middle where it has more characters than that."""
    if len(text) <= longest:
        return Shortened(text, 0)
    # What is asked stands at the end of a prompt, what it is about at the beginning.
    end = longest // 3
    left_out = len(text) - longest
    middle = f"\n[... {left_out:,} characters are left out here ...]\n"
    return Shortened(text[: longest - end] + middle + text[-end:], left_out)


@dataclass
class Shortener:
    """Shortens texts, and knows how many characters it let through."""

    longest: int = LONGEST
    lengths: list[int] = field(default_factory=list)

    def __call__(self, text: str) -> Shortened:
        """The text, without its middle where it is too long."""
        self.lengths.append(min(len(text), self.longest))
        return without_middle(text, self.longest)

    @property
    def total(self) -> int:
        """Characters in all."""
        return sum(self.lengths)

    def fitting(self, most: int) -> Shortener:
        """One with which the same texts have about so many characters in all: the longest give."""
        left, lengths = most, sorted(self.lengths)
        for place, length in enumerate(lengths):
            share = left // (len(lengths) - place)
            if length > share:
                return Shortener(longest=max(200, share))
            left -= length
        return Shortener(longest=self.longest)

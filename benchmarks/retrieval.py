"""Search over a closed set of paragraphs, ranked by BM25, the same at every run."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np

__all__ = ["Index", "Paragraph", "paragraph", "shown", "spelled"]

K1, B = 1.5, 0.75
WORD = re.compile(r"\w+")


class Paragraph(NamedTuple):
    """The beginning of an article."""

    title: str
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.title} | {''.join(self.sentences)}"


def paragraph(title: str, sentences: Iterable[str]) -> Paragraph:
    """A paragraph whose title is spelled in one way only."""
    return Paragraph(spelled(title), tuple(sentences))


def spelled(title: str) -> str:
    """A title as the index spells it."""
    return normalize("NFC", title)


class Index:
    """Paragraphs that can be searched; it never changes, so copies of a program share it."""

    def __init__(self, paragraphs: Iterable[Paragraph]) -> None:
        self.by_title = {each.title: each for each in paragraphs}
        self.paragraphs = tuple(self.by_title.values())
        counts = [Counter(words(str(each))) for each in self.paragraphs]
        lengths = np.array([sum(count.values()) for count in counts], dtype=np.float64)
        self._norms = K1 * (1 - B + B * lengths / max(1.0, float(lengths.mean())))
        places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, count in enumerate(counts):
            for word, times in count.items():
                places[word].append((number, times))
        self._places = {word: np.array(each, dtype=np.int64) for word, each in places.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> Index:
        return self

    def __len__(self) -> int:
        return len(self.paragraphs)

    def search(self, query: str, count: int) -> list[Paragraph]:
        """The paragraphs that fit the query best, the best one first; ties in their own order."""
        scores = np.zeros(len(self.paragraphs))
        for word, repeats in Counter(words(query)).items():
            if word in self._places:
                numbers, times = self._places[word].T
                rarity = math.log(1 + (len(scores) - len(numbers) + 0.5) / (len(numbers) + 0.5))
                scores[numbers] += repeats * rarity * times / (times + self._norms[numbers])
        order = np.argsort(-scores, kind="stable")[:count]
        return [self.paragraphs[number] for number in order if scores[number] > 0]


def words(text: str) -> list[str]:
    """The words of a text in small letters, without the ending of most plurals."""
    return [stem(word) for word in WORD.findall(normalize("NFC", text).lower())]


def stem(word: str) -> str:
    """The word without a plural's s."""
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] not in "su" else word


def shown(paragraphs: Sequence[Paragraph]) -> str:
    """Paragraphs as a program is shown them."""
    return "\n\n".join(f"[{place}] {each}" for place, each in enumerate(paragraphs, start=1))

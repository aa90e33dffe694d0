"""Passages that a text has word for word from one of many other texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["LEAST_WORDS", "Sources"]

LEAST_WORDS = 12
"""Words in a row that count as copied. Our choice: labels, names, formats and the vocabulary of a
task are shorter, and two people seldom write twelve words alike by chance."""
_LETTERS = 30
"""Letters in twelve of them: in Chinese, twelve characters are only half a sentence, and twelve
figures are a table or a scale."""
_SHARED_BY = 3
"""Texts of which a passage is the task's own form and no example, such as a common preamble."""
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
    r"|[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)
"""A word, or a character of a script that is written without spaces."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Texts from which nothing is to be copied."""

    texts: Sequence[str]
    least_words: int = LEAST_WORDS
    """Words in a row that count as copied."""
    _folded: list[str] = field(init=False, repr=False, compare=False, default_factory=list)
    """The words of each text, joined: to take a text apart costs more than all look-ups in it."""
    _places: dict[tuple[str, ...], list[tuple[int, int]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """Every sixth run of six words, say, to the texts and places where it stands: any twelve words
    in a row hold such a run, so a sixth of all runs finds all copies, and all that share them."""

    def __post_init__(self) -> None:
        for number, text in enumerate(self.texts):
            words = _words(text)
            self._folded.append(_joined(words))
            for start in range(0, len(words) - self._step + 1, self._step):
                run = tuple(words[start : start + self._step])
                self._places.setdefault(run, []).append((number, start))

    @property
    def _least_letters(self) -> int:
        return _LETTERS * self.least_words // LEAST_WORDS

    @property
    def _step(self) -> int:
        return self.least_words // 2

    def copied(self, new: str, old: str = "") -> str:
        """The first passage of `new` that stands in a source and not in `old`; empty without one.

        Case, punctuation and line breaks do not matter. A passage that more than three sources
        share is no copy of an example.
        """
        words = _words(new)
        known = _joined(_words(old))
        sources: dict[int, list[str]] = {}
        for start in range(len(words) - self._step + 1):
            # Of a run that is everywhere, a few places tell as much as all.
            for number, place in self._standing(words[start : start + self._step])[
                : _SHARED_BY + 1
            ]:
                if number not in sources:
                    sources[number] = self._folded[number].split()
                passage = _around(words, start, sources[number], place, self.least_words)
                if len(passage) < self.least_words or _letters(passage) < self._least_letters:
                    continue
                if _joined(passage) not in known and not self._is_shared(passage):
                    return " ".join(passage)
        return ""

    def _is_shared(self, passage: Sequence[str]) -> bool:
        row, seen, count = _joined(passage), set(), 0
        for start in range(self._step):
            for number, _ in self._standing(passage[start : start + self._step]):
                if number not in seen:
                    seen.add(number)
                    count += row in self._folded[number]
                if count > _SHARED_BY:
                    return True
        return False

    def _standing(self, run: Sequence[str]) -> Sequence[tuple[int, int]]:
        """The texts and places where a run of words is known to stand."""
        return self._places.get(tuple(run), ())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _letters(words: Sequence[str]) -> int:
    return sum(map(str.isalpha, "".join(words)))


def _joined(words: Sequence[str]) -> str:
    """Words as one text in which any row of them can be looked up."""
    return f" {' '.join(words)} "


def _around(
    one: Sequence[str], start: int, other: Sequence[str], place: int, most_before: int
) -> Sequence[str]:
    """The words that both have in a row around places where both have the same word.

    At most so many on each side as it takes to tell: texts may repeat themselves without end.
    """
    before = 0
    most = min(start, place, most_before)
    while before < most and one[start - before - 1] == other[place - before - 1]:
        before += 1
    after = 0
    most = min(len(one) - start, len(other) - place, _LETTERS)
    while after < most and one[start + after] == other[place + after]:
        after += 1
    return one[start - before : start + after]

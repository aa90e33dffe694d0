"""Passages that a text has word for word from one of many other texts."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

__all__ = ["LEAST_WORDS", "Sources"]

LEAST_WORDS = 12
"""Words in a row that count as copied. Our choice: labels, names, formats and the vocabulary of a
task are shorter, and two people seldom write twelve words alike by chance."""
_LETTERS = 30
"""Letters in twelve of them: in Chinese, twelve characters are only half a sentence, and twelve
figures are a table or a scale."""
_SHARED_BY = 3
"""Texts of which a passage is the task's own form and no example, such as a common preamble."""
_PLACE_BITS = 32
"""The low bits of what is kept of a run of words say where it stands, the bits above them are its
hash. Two runs may have the same hash, which shows when the text is looked at."""
_LARGEST = (1 << _PLACE_BITS) - 1
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
    r"|[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)
"""A word, or a character of a script that is written without spaces."""


class Sources:
    """Texts from which nothing is to be copied.

    They may be large, so that no second form of them is kept: only which runs of words they have,
    as numbers. Whatever is found by those is looked up in the texts.

    Args:
        texts: Whose passages are not to be copied.
        least_words: How many words in a row count as copied.
    """

    def __init__(self, texts: Sequence[str], least_words: int = LEAST_WORDS) -> None:
        self._texts = texts
        self._least_words = least_words
        self._step = least_words // 2
        self._least_letters = _LETTERS * least_words // LEAST_WORDS
        # Every sixth run of six words, say: any twelve words in a row hold such a run, so a sixth
        # of all runs finds all copies, and all that share them.
        runs, firsts = array("Q"), array("Q")
        for text in texts:
            firsts.append(len(runs))
            for run in zip(*[_each_word(text)] * self._step, strict=False):
                runs.append(_number(run) << _PLACE_BITS | len(runs))
        # Sorted where they are: a second copy would be as large as the texts.
        self._runs = np.frombuffer(runs, dtype=np.uint64) if runs else np.empty(0, dtype=np.uint64)
        self._runs.sort()
        self._firsts = np.array(firsts, dtype=np.uint64)

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
            standing = islice(self._standing(words[start : start + self._step]), _SHARED_BY + 1)
            for number, place in standing:
                if number not in sources:
                    sources[number] = _words(self._texts[number])
                passage = _around(words, start, sources[number], place, self._least_words)
                if len(passage) < self._least_words or _letters(passage) < self._least_letters:
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
                    count += row in _joined(_words(self._texts[number]))
                if count > _SHARED_BY:
                    return True
        return False

    def _standing(self, run: Sequence[str]) -> Iterator[tuple[int, int]]:
        """The texts and places where a run of words may be found, in order."""
        wanted = _number(run)
        place = int(np.searchsorted(self._runs, np.uint64(wanted << _PLACE_BITS)))
        while place < len(self._runs) and int(self._runs[place]) >> _PLACE_BITS == wanted:
            word_number = int(self._runs[place]) & _LARGEST
            number = int(np.searchsorted(self._firsts, np.uint64(word_number), side="right")) - 1
            yield number, (word_number - int(self._firsts[number])) * self._step
            place += 1


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _each_word(text: str) -> Iterator[str]:
    """The same one by one: of a long text, all of them take many times its size."""
    return (match[0] for match in _WORD.finditer(text.casefold()))


def _number(run: Sequence[str]) -> int:
    return hash(tuple(run)) & _LARGEST


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

"""Passages that a text has word for word from one of many other texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

__all__ = ["LEAST_WORDS", "copied", "words_of"]

LEAST_WORDS = 12
"""Words in a row that count as copied. Our choice: labels, names, formats and the vocabulary of a
task are shorter, and two people seldom write twelve words alike by chance."""
_LETTERS = 30
"""Letters in twelve of them: in Chinese, twelve characters are only half a sentence, and twelve
figures are a table or a scale."""
_SHARED_BY = 3
"""Texts of which a passage is the task's own form and no example, such as a common preamble."""
_SPACELESS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+(?:_+[^\W_{_SPACELESS}]+)*")
"""A word, or a character of a script that is written without spaces."""


def copied(new: str, old: str, sources: Iterable[str], least_words: int = LEAST_WORDS) -> str:
    """The first passage of `new` that stands in a source and not in `old`; empty without one.

    Case, punctuation, emphasis, line breaks and the ways to write the same letter do not matter.
    Words in a row that more than three sources share are no copy of an example.
    """
    words, half = words_of(new), least_words // 2
    runs, halves = list(_runs(words, least_words)), set(_runs(words, half))
    of_old = set(_runs(words_of(old), least_words))
    having: dict[tuple[str, ...], set[int]] = {run: set() for run in runs if run not in of_old}
    for number, source in enumerate(sources if having else ()):
        of_source = words_of(source)
        # Any twelve words in a row hold one of these runs of six, which are a sixth of all.
        if not halves.isdisjoint(zip(*[iter(of_source)] * half, strict=False)):
            for run in _runs(of_source, least_words):
                if run in having:
                    having[run].add(number)
    of_few = [
        found if len(found := having.get(run, set())) <= _SHARED_BY else set() for run in runs
    ]
    start = 0
    while start < len(runs):
        common, end = of_few[start], start + 1
        while end < len(runs) and common & of_few[end]:
            common, end = common & of_few[end], end + 1
        passage = words[start : end - 1 + least_words]
        letters = sum(map(str.isalpha, "".join(passage)))
        if common and letters >= _LETTERS * least_words // LEAST_WORDS:
            return " ".join(passage)
        start = end
    return ""


def words_of(text: str) -> list[str]:
    """Its words in order, in one spelling; where a script has no spaces, its characters."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _runs(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """Every so many words in a row."""
    return zip(*(islice(words, start, None) for start in range(length)), strict=False)

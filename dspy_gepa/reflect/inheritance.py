"""What a new text has of the current one: whether it goes on from it, and what it leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from dspy_gepa.reflect.overlap import words_of
from dspy_gepa.reflect.pieces import is_placeholder

__all__ = ["goes_on", "omission"]

_DIFF_HEADING = re.compile(r"(?:diff|index|---|\+\+\+|@@|\*\*\*|\\)(?: .*)?|\s*")
"""A line of a diff that says where it applies, or that says nothing."""
_STUB_OPENINGS, _DOTS = ("(", "[", "（", "［", "【", "<!--"), ("...", "\u2026", "\u22ee")
_MOST_STUBS = 3
"""Stub lines of a text: more of them are its form, and stand for nothing."""
_LEAST_LEFT_OUT, _ENOUGH_LEFT_OUT = 0.2, 30
"""What a stub line stands for at least, as a share of the words of the current text, or in words
where that is long. Our choice: less may go because of what was changed around it."""
_LEAST_COPIED = 0.3
"""Of the words of a text with a stub line. Our choice: below this the text is a rewrite, and the
line is part of it."""
_LEAST_SHARED = 8
"""Bytes of words in a row that stand in both texts because one goes on from the other: two words of
English, three characters of Chinese. Our choice."""
_LEAST_INHERITED = 0.4
"""Of the bytes of the current text. Our choice: where nothing says that a text is meant as the new
one, that it goes on from the current one does. Rewrites mostly keep more; talk about the current
text, errors of servers, and answers to the program's task, less."""


def goes_on(current: str, text: str) -> bool:
    """Whether much of the current text stands in the other one, in the same order."""
    old = words_of(current)
    runs = (old[start:end] for start, end, _ in _shared(old, words_of(text)))
    return sum(map(_size, runs)) >= _LEAST_INHERITED * max(1, _size(old))


def omission(current: str, text: str, *, is_prose: bool) -> str:
    """Why the text is not whole; empty if it is."""
    if _is_diff_of(current, text):
        return "it is a diff of the current text, and not the new one"
    line = _stub_in(current, text, is_prose=is_prose)
    return f"it leaves a part out: {line}" if line else ""


def _is_diff_of(current: str, text: str) -> bool:
    """Whether its lines are the current ones and others, as the sign before each of them says.

    A current line is one without its sign, too. One sign alone tells nothing: a minus makes another
    number of a number.
    """
    old = {*map(str.rstrip, current.splitlines())}
    lines = [
        line
        for line in map(str.rstrip, text.splitlines())
        if line not in old and not _DIFF_HEADING.fullmatch(line)
    ]
    signs = {line[0] for line in lines}
    return 1 < len(signs & {*" +-"}) == len(signs) and all(
        line[1:] in old for line in lines if line[0] != "+"
    )


def _stub_in(current: str, text: str, *, is_prose: bool) -> str:
    """The stub line, which stands for a part of the current text; empty if there is none.

    It begins with dots or, in prose, it is in brackets, and between what stands before it and what
    stands after it, or the end, much of the current text is missing. Where all is written anew,
    such a line stands for nothing.
    """
    lines, old = text.split("\n"), words_of(current)
    old_lines = {*map(str.strip, current.split("\n"))}
    enough = min(_LEAST_LEFT_OUT * len(old), _ENOUGH_LEFT_OUT)
    places = [
        place
        for place, line in enumerate(lines)
        if line.strip() not in old_lines and _is_stub(line, is_prose=is_prose)
    ]
    for place in places if len(places) <= _MOST_STUBS else ():
        above = words_of("\n".join(lines[:place]))
        below = words_of("\n".join(lines[place + 1 :]))
        # The line is a word of its own, so that nothing that is shared goes across it.
        shared = list(_shared(old, [*above, "\n", *below]))
        stop = max((end for _, end, there in shared if there < len(above)), default=0)
        rest = (start for start, _, there in shared if there > len(above))
        start = min(rest, default=len(old))
        copied = sum(end - start for start, end, _ in shared)
        is_copy = copied >= max(1, _LEAST_COPIED * len(above + below))
        if is_copy and start - stop >= enough:
            return lines[place].strip()
    return ""


def _shared(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Where words in a row of the old ones begin and end, and where they begin in the new ones."""
    least = min(_LEAST_SHARED, _size(old))
    for start, there, size in SequenceMatcher(None, old, new).get_matching_blocks():
        if size and _size(old[start : start + size]) >= least:
            yield start, start + size, there


def _size(words: Sequence[str]) -> int:
    return len("".join(words).encode("utf-8", "surrogatepass"))


def _is_stub(line: str, *, is_prose: bool) -> bool:
    """Whether it may be a stub line: it begins with dots or is in brackets, behind other signs.

    Where texts are no prose, brackets and dots alone are code.
    """
    bare = line.lstrip(" \t*_`>|-#/")
    inside = bare.lstrip("0123456789.- ")
    has_words = any(map(str.isalpha, line))
    if not is_prose:
        return has_words and bare.startswith(_DOTS)
    return bare.startswith(_DOTS) or (inside.startswith(_STUB_OPENINGS) and is_placeholder(inside))

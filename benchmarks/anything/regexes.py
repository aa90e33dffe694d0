"""A regular expression for strings that nobody has seen yet.

The artifact is a regular expression. An example is a string with whether it is to match as a whole;
score 1 where it is right. It is learned from 40 strings, chosen by 40 others and judged by 1,000.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["OBJECTIVE", "SEED", "Strings", "evaluate", "model", "strings"]

OBJECTIVE = "Write a Python regular expression that matches exactly the strings of one kind, whole."
SEED = "(?!)"
_TOLD = re.compile(r'"([^"\n]*)" should (not )?match')
_CLASSES = {"A": "[A-Z]", "a": "[a-z]", "0": r"\d"}


@dataclass(frozen=True)
class Strings:
    """The three sets."""

    train: list[tuple[str, bool]]
    validation: list[tuple[str, bool]]
    unseen: list[tuple[str, bool]]


def strings(seed: int) -> Strings:
    """Strings of the hidden kind, and others that are nearly of it, as many of either."""
    chance = random.Random(seed)
    rows = [(_good(chance), True) if n % 2 else (_bad(chance), False) for n in range(1_080)]
    chance.shuffle(rows)
    return Strings(rows[:40], rows[40:80], rows[80:])


def evaluate(artifact: str, example: tuple[str, bool]) -> tuple[float, dict[str, str]]:
    """Whether the expression says of this string what it is to say."""
    text, wanted = example
    is_right = bool(re.fullmatch(artifact.strip(), text)) == wanted
    told = f'"{text}" should {"" if wanted else "not "}match'
    return float(is_right), {
        "Feedback": f"{told}, and it does{'' if is_right == wanted else ' not'}"
    }


def _of(chance: random.Random, letters: str, least: int, most: int) -> str:
    return "".join(chance.choice(letters) for _ in range(chance.randint(least, most)))


_UPPER, _LOWER, _DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"


def _good(chance: random.Random) -> str:
    tail = f"/{_of(chance, _LOWER, 1, 6)}" if chance.random() < 0.5 else ""
    return f"{_of(chance, _UPPER, 2, 2)}-{_of(chance, _DIGITS, 3, 5)}{tail}"


def _bad(chance: random.Random) -> str:
    head, number = _of(chance, _UPPER, 2, 2), _of(chance, _DIGITS, 3, 5)
    tail = f"/{_of(chance, _LOWER, 1, 6)}" if chance.random() < 0.5 else ""
    return chance.choice(
        [
            lambda: f"{_of(chance, _UPPER, 1, 1)}-{number}{tail}",
            lambda: f"{_of(chance, _UPPER, 3, 4)}-{number}{tail}",
            lambda: f"{head.lower()}-{number}{tail}",
            lambda: f"{head}{number}{tail}",
            lambda: f"{head}-{_of(chance, _DIGITS, 1, 2)}{tail}",
            lambda: f"{head}-{_of(chance, _DIGITS, 6, 8)}{tail}",
            lambda: f"{head}-{number}/",
            lambda: f"{head}-{number}/{_of(chance, _LOWER, 7, 9)}",
            lambda: f"{head}-{number}/{_of(chance, _UPPER, 1, 6)}",
            lambda: f"{head}-{number}{_of(chance, _LOWER, 1, 6)}",
        ]
    )()


def model(seed: int, *, blind: bool = False, shuffled: bool = False) -> Callable[[str], str]:
    """An honest scripted model: it sees the prompt and knows nothing of the hidden kind.

    It reads which strings are to match and which are not, and changes the current expression: a new
    shape is added, a known one is widened, and one that matches too much is narrowed where it can.
    Blind it is shown no strings; shuffled it is shown them with the answers of others.
    """
    asked = Counter[str]()

    def answer(prompt: Any) -> str:
        prompt = prompt if isinstance(prompt, str) else str(prompt)
        asked[prompt] += 1
        drawn = hashlib.sha256(f"{seed} {asked[prompt]} {prompt}".encode()).hexdigest()
        chance = random.Random(drawn)
        told = [(text, not no) for text, no in dict.fromkeys(_TOLD.findall(prompt))]
        if blind:
            told = []
        if shuffled:
            answers = [wanted for _, wanted in told]
            chance.shuffle(answers)
            told = [(text, wanted) for (text, _), wanted in zip(told, answers, strict=True)]
        shapes = _current(prompt)
        for text, wanted in told:
            if wanted:
                _widen(shapes, text)
        for text, wanted in told:
            if not wanted:
                _narrow(shapes, text, chance)
        if not told:
            shapes = shapes or {("A",): [[1, chance.randint(1, 9)]]}
            for lengths in chance.choice(list(shapes.values())):
                lengths[1] = max(1, lengths[1] + chance.choice([-1, 1]))
                lengths[0] = min(lengths)
        return f"```\n{_written(shapes)}\n```"

    return answer


Shapes = dict[tuple[str, ...], list[list[int]]]
"""Kinds of characters in a row, with how many of each there may be."""
_ALTERNATIVE = re.compile(r"(\[A-Z\]|\[a-z\]|\\d|\\.)\{(\d+),(\d+)\}")


def _current(prompt: str) -> Shapes:
    """The shapes of the first expression of its own form in the prompt."""
    found = next((line for line in prompt.split("\n") if _ALTERNATIVE.match(line.strip())), "")
    kinds = {words: kind for kind, words in _CLASSES.items()}
    shapes: Shapes = {}
    for alternative in found.strip().split("|"):
        parts = _ALTERNATIVE.findall(alternative)
        if parts:
            shape = tuple(kinds.get(words, words[-1]) for words, _, _ in parts)
            shapes[shape] = [[int(low), int(high)] for _, low, high in parts]
    return shapes


def _runs(text: str) -> tuple[tuple[str, ...], list[int]]:
    kinds = [
        "A" if c.isupper() else "a" if c.islower() else "0" if c.isdigit() else c for c in text
    ]
    shape, lengths = list[str](), list[int]()
    for kind in kinds:
        if shape and shape[-1] == kind:
            lengths[-1] += 1
        else:
            shape.append(kind)
            lengths.append(1)
    return tuple(shape), lengths


def _widen(shapes: Shapes, text: str) -> None:
    shape, lengths = _runs(text)
    known = shapes.setdefault(shape, [[n, n] for n in lengths])
    for bounds, n in zip(known, lengths, strict=True):
        bounds[0], bounds[1] = min(bounds[0], n), max(bounds[1], n)


def _narrow(shapes: Shapes, text: str, chance: random.Random) -> None:
    """One bound less, where the string is at the edge of what its shape allows; else any."""
    shape, lengths = _runs(text)
    known = shapes.get(shape)
    if known is None or not all(
        low <= n <= high for (low, high), n in zip(known, lengths, strict=True)
    ):
        return
    place = chance.randrange(len(known))
    low, high = known[place]
    n = lengths[place]
    if n > low:
        known[place][1] = n - 1
    elif n < high:
        known[place][0] = n + 1
    else:
        del shapes[shape]


def _written(shapes: Shapes) -> str:
    alternatives = [
        "".join(
            f"{_CLASSES.get(kind, re.escape(kind) if kind in '-./+' else kind)}{{{low},{high}}}"
            for kind, (low, high) in zip(shape, lengths, strict=True)
        )
        for shape, lengths in shapes.items()
    ]
    return "|".join(alternatives).replace("/{", r"\/{") or SEED

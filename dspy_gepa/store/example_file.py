"""`examples.jsonl`: what the examples of a run are, in words; a line each, in the order of ids.

It is there to be read by people: a run is carried on without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.values.plain import dumps, loads
from dspy_gepa.values.words import text_of

__all__ = ["EXAMPLES_FILE", "Described", "as_lines", "read_lines"]

EXAMPLES_FILE = "examples.jsonl"


class Described(NamedTuple):
    """An example: field name to value in words."""

    inputs: Mapping[str, str]
    expected: Mapping[str, str]
    """What the program is not given."""


def as_lines(examples: Iterable[tuple[Mapping[str, object], Mapping[str, object]]]) -> str:
    """The file, from inputs and the other fields of every example. It holds no media."""
    lines = (
        dumps({"inputs": _words(inputs), "expected": _words(expected)})
        for inputs, expected in examples
    )
    return "".join(f"{line}\n" for line in lines)


def read_lines(text: str) -> dict[int, Described]:
    """The examples by id.

    Raises:
        JournalCorrupt: it is no such file.
    """
    examples = {}
    # Not by `splitlines`: an example may hold signs at which that would split it.
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else ()):
        try:
            described = loads(line)
            sides = (dict(described["inputs"]), dict(described["expected"]))
        except (JournalCorrupt, LookupError, TypeError, ValueError) as error:
            raise JournalCorrupt(
                f"{EXAMPLES_FILE}, line {number + 1} holds no example: {error}. Remove the file: "
                "no run needs it."
            ) from None
        examples[number] = Described(*sides)
    return examples


def _words(fields: Mapping[str, object]) -> dict[str, str]:
    return {str(name): text_of(value) for name, value in fields.items()}

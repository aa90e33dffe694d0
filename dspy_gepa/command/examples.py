"""Data sets that a config names: a file, something in code, or the examples themselves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dspy

from dspy_gepa.command.code import called, is_reference, object_named
from dspy_gepa.command.config_file import ConfigFile, read_text
from dspy_gepa.errors import SettingsError
from dspy_gepa.program.examples import is_example_set

__all__ = ["as_examples", "rows_given"]

_ENDINGS = (".jsonl", ".json", ".csv")


def rows_given(config: ConfigFile, argument: str, given: Any) -> Any:
    """What is in a data set, as it stands there.

    Raises:
        SettingsError: there is no such set, or it cannot be read.
    """
    if isinstance(given, Mapping):
        if others := sorted({*given} - {"file", "inputs"}):
            raise SettingsError(
                f"{config.name}: {argument} has {', '.join(map(str, others))}; a set has "
                '{ file = "train.jsonl", inputs = ["question"] }.'
            )
        given = given.get("file")
    if not isinstance(given, str):
        if isinstance(given, Sequence):
            return list(given)
        raise SettingsError(f"{config.name}: {argument} = {given!r:.200} was given; {_NEEDED}.")
    if is_reference(given):
        found = object_named(config, argument, given)
        return called(config, argument, given, found) if callable(found) else found
    path = config.beside(given)
    if path.suffix.lower() not in _ENDINGS:
        raise SettingsError(f"{config.name}: {argument} = {given!r} was given; {_NEEDED}.")
    rows = list(_READERS[path.suffix.lower()](str(path), read_text(path)))
    if not rows:
        raise SettingsError(f"{path} has no examples in it.")
    return rows


_NEEDED = (
    f'a file ({", ".join(_ENDINGS)}), "module:name", "file.py:name" or a list of examples is needed'
)


def as_examples(config: ConfigFile, argument: str, given: Any) -> Any:
    """The same as DSPy's examples, which know what their inputs are.

    Raises:
        SettingsError: as for `rows_given`; or it is not said which fields are inputs.
    """
    if isinstance(given, (int, float)) and argument == "heldout":
        return given
    rows = rows_given(config, argument, given)
    inputs = given.get("inputs") if isinstance(given, Mapping) else None
    inputs = config.values.get("inputs") if inputs is None else inputs
    if isinstance(inputs, str):
        inputs = [inputs]
    if not is_example_set(rows):
        return rows
    place = f"{config.name}: {argument}"
    return [_example(f"{place}[{number}]", row, inputs) for number, row in enumerate(rows)]


def _example(place: str, row: object, inputs: Any) -> object:
    if isinstance(row, dspy.Example) or not isinstance(row, Mapping):
        # What is none at all is refused where sets are checked, with what to do.
        return row
    fields = ", ".join(map(str, row))
    if not inputs or not isinstance(inputs, Sequence):
        raise SettingsError(
            f"{place} has the fields {fields}, and it is not said which of them the program is "
            'given. Say it for all sets: inputs = ["..."].'
        )
    if absent := [name for name in inputs if name not in row]:
        raise SettingsError(f"{place} lacks the input {absent[0]!r}; its fields are {fields}.")
    # Not by keywords: a field may have the name of one of the constructor's own.
    return dspy.Example(dict(row)).with_inputs(*inputs)


def _json_lines(path: str, text: str) -> Iterator[Any]:
    # Not `splitlines`, which also divides where a text has a line separator in it.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _json(f"{path}, line {number},", line)


def _json_list(path: str, text: str) -> Iterator[Any]:
    rows = _json(path, text)
    if not isinstance(rows, list):
        raise SettingsError(f"{path} holds a {type(rows).__name__}; a list of examples is needed.")
    yield from rows


def _json(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{place} is no JSON: {error}.") from None


def _table(path: str, text: str) -> Iterator[Any]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    usual_limit = csv.field_size_limit(len(text))
    try:
        head = list(reader.fieldnames or ())
        if twice := [name for name in head if name and head.count(name) > 1]:
            raise SettingsError(f"{path} has several columns with the name {twice[0]!r}.")
        for row in reader:
            if None in row or None in row.values():
                raise SettingsError(
                    f"{path}, line {reader.line_num}, has another number of cells than its head."
                )
            yield row
    except csv.Error as error:
        raise SettingsError(f"{path}, line {reader.line_num}, is no CSV: {error}.") from None
    finally:
        csv.field_size_limit(usual_limit)


_READERS = {".jsonl": _json_lines, ".json": _json_list, ".csv": _table}

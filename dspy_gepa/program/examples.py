"""Examples under numbers: the search knows an example by its id only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import dspy

from dspy_gepa.errors import SettingsError, WrongType

__all__ = ["ExampleTable", "tabulate"]


@dataclass(frozen=True, slots=True)
class ExampleTable:
    """All examples of a run; an example's id is its position."""

    examples: tuple[dspy.Example, ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    anchors: tuple[int, ...] = ()
    """Examples that must keep passing."""


def tabulate(
    trainset: Iterable[dspy.Example],
    valset: Iterable[dspy.Example] | None,
    must_pass: Iterable[dspy.Example] = (),
    *,
    times: int = 1,
    check: Callable[[str, object], None] | None = None,
) -> ExampleTable:
    """The sets under ids; the very same object in several has one id, so it is paid once.

    Without a validation set the training set serves as one. Each is gone through once, so they may
    make their examples as they are asked for them.

    Args:
        trainset: Examples to learn from.
        valset: Examples to choose by.
        must_pass: Examples that must keep passing.
        times: How often an example stands in the validation set.
        check: Raises where something in a set is no example; that it is a dspy.Example where it is
            None.

    Raises:
        SettingsError: the training set is empty, or an example does not say what its inputs are.
        WrongType: something in a set is not a dspy.Example.
    """
    # Objects are told apart by their ids, which hold for as long as the objects are kept.
    learned, validated, anchored = list(trainset or ()), list(valset or ()), list(must_pass)
    if not learned:
        raise SettingsError(
            f"Trainset must be provided and non-empty, and {trainset!r} was given. "
            "Pass a list of dspy.Example, for instance trainset=examples[:50]."
        )
    sets = {"trainset": learned, "valset": validated, "must_pass": anchored}
    for name, examples in sets.items():
        for position, example in enumerate(examples):
            (check or _check)(f"{name}[{position}]", example)
    train = tuple(range(len(learned)))
    if not validated and times == 1:
        return _anchored(learned, train, train, anchored)
    table = list(learned)
    shared = {id(example): position for position, example in enumerate(learned)}
    validation = []
    for example in (validated or learned) * times:
        # Taken out, because an object that stands twice in a set counts twice there.
        known = shared.pop(id(example), None)
        validation.append(len(table) if known is None else known)
        if known is None:
            table.append(example)
    return _anchored(table, train, tuple(validation), anchored)


def _anchored(
    table: list[dspy.Example],
    train: tuple[int, ...],
    validation: tuple[int, ...],
    must_pass: list[dspy.Example],
) -> ExampleTable:
    """The table with what must keep passing, each once."""
    known = {id(example): position for position, example in reversed([*enumerate(table)])}
    anchors: dict[int, None] = {}
    for example in must_pass:
        if id(example) not in known:
            known[id(example)] = len(table)
            table.append(example)
        anchors[known[id(example)]] = None
    return ExampleTable(tuple(table), train, validation, tuple(anchors))


def _check(name: str, example: object) -> None:
    if not isinstance(example, dspy.Example):
        raise WrongType(
            f"{name} is a {type(example).__name__}, and a dspy.Example is needed. "
            'Make one: dspy.Example(question="...", answer="...").with_inputs("question").'
        )
    try:
        example.inputs()
    except ValueError:
        raise SettingsError(
            f"{name} does not say which of its fields {sorted(example.keys())} are inputs. "
            'Call with_inputs on it, for instance example.with_inputs("question").'
        ) from None

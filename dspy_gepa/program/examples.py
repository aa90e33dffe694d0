"""Examples under numbers: the search knows an example by its id only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dspy

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.models.catching import catching

__all__ = ["ExampleTable", "Shelf", "checked_examples", "is_example_set", "tabulate"]


_LOOKED_AT = 4
"""Items of a list that are enough to tell most lists apart."""
_NAMED = 20
"""So many examples are named in one message."""


@dataclass(frozen=True, slots=True)
class ExampleTable:
    """All examples of a run; an example's id is its position."""

    examples: tuple[dspy.Example, ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    anchors: tuple[int, ...] = ()
    """Examples that must keep passing."""
    times: int = 1
    """How often each validation example stands in the validation set."""
    has_validation: bool = True
    """Whether there are examples to choose by; else those to learn from serve for both."""
    heldout: tuple[int, ...] = ()
    """Examples that the search never sees, each once. They come last."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Example to its place in what the user gave, if the sets of this table do not tell it."""

    @property
    def searched(self) -> tuple[dspy.Example, ...]:
        """The examples that the search may see."""
        return self.examples[: len(self.examples) - len(self.heldout)]

    def name_of(self, example: int) -> str:
        """Where an example stands in what the user gave: "valset[17]".

        One that stands in several sets is named by the first of them: trainset, valset, must_pass.
        """
        if example in self.names:
            return self.names[example]
        if example in self.train:
            return f"trainset[{self.train.index(example)}]"
        if example in self.validation:
            count = len(self.validation) // self.times
            source = "valset" if self.has_validation else "trainset"
            return f"{source}[{self.validation.index(example) % count}]"
        if example in self.anchors:
            return f"must_pass[{self.anchors.index(example)}]"
        return f"heldout[{self.heldout.index(example)}]"

    def part(self, train: tuple[int, ...], validation: tuple[int, ...]) -> ExampleTable:
        """The table for a search on these examples alone, under their names here."""
        return replace(
            self,
            examples=self.searched,
            train=train,
            validation=validation,
            times=1,
            heldout=(),
            names={each: self.name_of(each) for each in (*train, *validation)},
        )

    def with_heldout(self, heldout: Iterable[dspy.Example]) -> ExampleTable:
        """The table, and these examples that the search never sees; equal ones count once.

        Raises:
            WrongType: something in it is not a dspy.Example.
            SettingsError: the search would see one of them.
        """
        known, seen, own = Shelf(self.examples), [], Shelf(())
        held: list[dspy.Example] = []
        for position, example in enumerate(checked_examples("heldout", heldout)):
            if (known_at := known.position_of(example)) is not None:
                seen.append(f"heldout[{position}] is {self.name_of(known_at)}")
            elif own.position_of(example) is None:
                own.put(position, example)
                held.append(example)
        if seen:
            more = f", and {len(seen) - _NAMED} more" if len(seen) > _NAMED else ""
            raise SettingsError(
                f"{len(seen)} held-out examples are among those that the search sees: "
                f"{', '.join(seen[:_NAMED])}{more}. What it learns from or chooses by says nothing "
                "about others: leave them out of one of the two, or give a share, heldout=0.2."
            )
        first = len(self.examples)
        ids = tuple(range(first, first + len(held)))
        return replace(self, examples=(*self.examples, *held), heldout=ids)


def tabulate(
    trainset: Iterable[dspy.Example],
    valset: Iterable[dspy.Example] | None,
    must_pass: Iterable[dspy.Example] = (),
    *,
    times: int = 1,
    check: Callable[[str, object], None] | None = None,
) -> ExampleTable:
    """The sets under ids; an example that stands in several has one id, so it is paid once.

    It may be the very same object or an equal copy: the same inputs and fields, of the same types.
    Without a validation set the training set serves as one. Each is gone through once, so they may
    make their examples as they are asked for them.

    Args:
        trainset: Examples to learn from.
        valset: Examples to choose by.
        must_pass: Examples that must keep passing.
        times: How often each example stands in the validation set.
        check: Given the place and the example, raises if it cannot be used. None checks that it is
            a dspy.Example that says what its inputs are.

    Raises:
        SettingsError: the training set is empty, or an example does not say what its inputs are.
        WrongType: something in a set is not a dspy.Example.
    """
    sets = {"trainset": trainset, "valset": valset, "must_pass": must_pass}
    learned, validated, anchored = (checked_examples(name, of, check) for name, of in sets.items())
    if not learned:
        raise SettingsError(
            f"Trainset must be provided and non-empty, and {trainset!r:.200} was given. "
            "Pass a list of dspy.Example, for instance trainset=examples[:50]."
        )
    table = list(learned)
    train, validation = tuple(range(len(learned))), list(range(len(learned)))
    if validated or times > 1:
        shared = Shelf(learned)
        validation = []
        for example in (validated or learned) * times:
            # Taken out, because an example that stands twice in a set counts twice there.
            known = shared.taken(example)
            validation.append(len(table) if known is None else known)
            if known is None:
                table.append(example)
    anchors = _anchors(table, anchored)
    return ExampleTable(
        tuple(table), train, tuple(validation), anchors, times, has_validation=bool(validated)
    )


def _anchors(table: list[dspy.Example], must_pass: list[dspy.Example]) -> tuple[int, ...]:
    """What must keep passing, each once; what is new is added to the table."""
    known = Shelf(table)
    anchors: dict[int, None] = {}
    for example in must_pass:
        position = known.position_of(example)
        if position is None:
            position = len(table)
            table.append(example)
            known.put(position, example)
        anchors[position] = None
    return tuple(anchors)


class Shelf:
    """Examples at positions, looked up by what they are."""

    def __init__(self, examples: Iterable[Any]) -> None:
        self._alike: dict[Hashable, list[tuple[int, Any]]] = {}
        for position, example in enumerate(examples):
            self.put(position, example)

    def put(self, position: int, example: Any) -> None:
        """Put an example there."""
        self._alike.setdefault(_look(example), []).append((position, example))

    def position_of(self, example: Any) -> int | None:
        """Where the first such example is; None if there is none."""
        alike = self._alike.get(_look(example), ())
        same = [position for position, other in alike if other is example]
        return (
            next(iter(same), None)
            if same
            else next((position for position, other in alike if _is_same(other, example)), None)
        )

    def taken(self, example: Any) -> int | None:
        """What `position_of` says; from now on that example is not found any more."""
        position = self.position_of(example)
        if position is not None:
            alike = self._alike[_look(example)]
            alike[:] = [one for one in alike if one[0] != position]
        return position


def _look(example: Any) -> Hashable:
    """What equal examples share, quickly."""
    return tuple((name, _look_of(value)) for name, value in _fields(example).items())


def _look_of(value: Any) -> Hashable:
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return len(value), *(_look_of(item) for item in value[:_LOOKED_AT])
    return type(value), len(value) if isinstance(value, dict) else 0


def _fields(example: Any) -> dict[Any, Any]:
    if isinstance(example, (dspy.Example, dict)):
        return dict(example.items())
    return {"": example}


def _is_same(one: Any, other: Any) -> bool:
    """Whether nothing tells them apart: the same inputs and fields, equal and of the same types."""
    if isinstance(one, dspy.Example) and isinstance(other, dspy.Example):
        inputs = [set(each.inputs().keys()) for each in (one, other)]
        return inputs[0] == inputs[1] and _is_equal(_fields(one), _fields(other))
    return _is_equal(one, other)


def _is_equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_equal(v, other[k]) for k, v in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    # Of some kinds of objects the comparison is no truth value, or raises.
    return catching(lambda: bool(one == other)) is True


def checked_examples(
    name: str, examples: Any, check: Callable[[str, object], None] | None = None
) -> list[dspy.Example]:
    """The examples of a set, whatever holds them, each of them checked.

    Raises:
        WrongType, SettingsError: it holds something else, or what it holds cannot be used.
    """
    if examples is None:
        return []
    if check is None and not is_example_set(examples):
        rows = f'{name}.to_dict("records")' if _is_table(examples) else "rows"
        advice = f'Make one: [dspy.Example(**row).with_inputs("question") for row in {rows}].'
        if isinstance(examples, dspy.Example):
            advice = f"Of one example: {name}=[example]."
        elif isinstance(examples, Mapping) and examples:
            advice = f"Give what is in it: {name}=data[{next(iter(examples))!r:.80}], or list(...)."
        raise WrongType(
            f"{name} is a {type(examples).__name__}, and a list of dspy.Example is needed. {advice}"
        )
    gone_through = list(examples)
    for position, example in enumerate(gone_through):
        (check or _check)(f"{name}[{position}]", example)
    return gone_through


def is_example_set(examples: object) -> bool:
    """Whether its items are examples, or are meant to be: those of a text or a table are not."""
    if isinstance(examples, (str, bytes, Mapping, dspy.Example)) or _is_table(examples):
        return False
    # Data sets often only have places, and no iterator.
    return isinstance(examples, Iterable) or hasattr(type(examples), "__getitem__")


def _is_table(examples: object) -> bool:
    return hasattr(examples, "columns") and hasattr(examples, "to_dict")


def _check(name: str, example: object) -> None:
    if not isinstance(example, dspy.Example):
        recipe = (
            'dspy.Example(**row).with_inputs("question") for each row'
            if isinstance(example, Mapping)
            else 'dspy.Example(question="...", answer="...").with_inputs("question")'
        )
        raise WrongType(
            f"{name} is a {type(example).__name__}, and a dspy.Example is needed. Make one: "
            f"{recipe}."
        )
    try:
        example.inputs()
    except ValueError:
        raise SettingsError(
            f"{name} does not say which of its fields {sorted(example.keys())} are inputs. "
            'Call with_inputs on it, for instance example.with_inputs("question").'
        ) from None

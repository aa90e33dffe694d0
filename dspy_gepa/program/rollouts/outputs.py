"""What a program answered, in a form that a run directory keeps as values and not as text.

Plain values are kept as they are. Others are kept if an output field of a signature of the program
has their type: by that they are written down and made again, as DSPy makes them from a reply.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args

import dspy
from pydantic import TypeAdapter

from dspy_gepa.core.rollout import Opaque
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.models.media import captured, revived
from dspy_gepa.values.foreign import entered
from dspy_gepa.values.media import Media

__all__ = ["OutputForms", "lost_in"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_PREDICTION, _OTHER = "prediction", "other"
_LEAVES = (type(None), bool, int, float, str, bytes, Media)
_CONTAINERS = (list, tuple, set, frozenset, dict)
_DEEPEST = 50
"""Levels of containers that an answer may have and still count as plain."""


class _Kept(NamedTuple):
    """A value as it is kept."""

    kind: int
    """The number of its type among those of the signatures; -1 if it is plain."""
    value: Any


class OutputForms:
    """Turns what a program answers into what is kept of it, and back.

    Args:
        student: The program; its signatures say which types there are.
        warns: Whether a warning says so when the first answer cannot be kept as a value.
    """

    def __init__(self, student: dspy.Module, *, warns: bool = False) -> None:
        self._has_warned = not warns
        self._types: list[TypeAdapter[Any]] = []
        annotations = (
            annotation
            for _, predictor in student.named_predictors()
            for field in predictor.signature.output_fields.values()
            for annotation in _parts(field.annotation)
        )
        # A type need not be hashable, nor one that pydantic knows.
        seen: list[Any] = []
        for annotation in annotations:
            if annotation not in seen:
                seen.append(annotation)
                made = catching(lambda annotation=annotation: TypeAdapter(annotation))  # type: ignore[misc]
                if not isinstance(made, Failed):
                    self._types.append(made)

    def stored(self, output: object) -> object:
        """What is kept of an answer: plain values, but for what cannot be kept."""
        if isinstance(output, dspy.Example):
            return _PREDICTION, {name: tuple(self._kept(item)) for name, item in output.items()}
        return _OTHER, tuple(self._kept(output))

    def restored(self, stored: object) -> object:
        """The answer again; what could not be kept is an `Opaque` in it."""
        match stored:
            case ("prediction", dict() as fields):
                return dspy.Prediction(**{name: self._value(kept) for name, kept in fields.items()})
            case ("other", tuple() as kept):
                return self._value(kept)
        return stored

    def _kept(self, value: Any) -> _Kept:
        plain = captured(value)
        if _is_plain(plain):
            return _Kept(-1, plain)
        for kind, by in enumerate(self._types):
            dumped = catching(lambda by=by: _dumped(by, value))  # type: ignore[misc]
            if not isinstance(dumped, Failed):
                return _Kept(kind, dumped)
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "Of answers of type %s only the text is kept in log_dir, because no output field "
                "of the program's signatures has this type: with an aggregate_metric the run "
                "cannot be carried on.",
                type(value).__name__,
            )
        return _Kept(-1, plain)

    def _value(self, kept: Any) -> Any:
        kind, value = kept
        if kind < 0:
            return revived(value)
        made = catching(lambda: self._types[kind].validate_python(value))
        return Opaque(str(value)) if isinstance(made, Failed) else made


def lost_in(output: object) -> str:
    """The text of something in an answer of which only that was kept; empty if all is there."""
    inside = output.values() if isinstance(output, (dspy.Example, Mapping)) else [output]
    return next((str(value) for value in inside for value in _opaque_in(value, ())), "")


def _opaque_in(value: Any, within: tuple[int, ...]) -> Iterator[Opaque]:
    if isinstance(value, Opaque):
        yield value
    elif isinstance(value, _CONTAINERS) and (inside := entered(value, within, _DEEPEST)):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        for item in items:
            yield from _opaque_in(item, inside)


def _is_plain(value: Any, within: tuple[int, ...] = ()) -> bool:
    """Whether JSON and its like have it to the last bit, of exactly this type."""
    if type(value) in _LEAVES:
        return True
    if type(value) not in _CONTAINERS:
        return False
    inside = entered(value, within, _DEEPEST)
    items = [*value, *value.values()] if type(value) is dict else value
    return inside is not None and all(_is_plain(item, inside) for item in items)


def _dumped(by: TypeAdapter[Any], value: Any) -> Any:
    """What a value is made again from.

    Raises:
        ValueError: it comes back as another one.
    """
    dumped = by.dump_python(value, mode="json", warnings="error")
    made = by.validate_python(dumped)
    if type(made) is not type(value) or made != value:
        raise ValueError
    return dumped


def _parts(annotation: Any) -> Iterator[Any]:
    """A type, and those that it is made of."""
    yield annotation
    for part in get_args(annotation):
        if isinstance(part, type) or get_args(part):
            yield from _parts(part)

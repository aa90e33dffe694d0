"""Which field a metric is about, and what stands in it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import dspy
import pydantic
import pydantic_core

from dspy_gepa.errors import MetricError
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.judging.fields import fields_of

__all__ = [
    "MISSING",
    "answer_in",
    "field_of",
    "field_text",
    "label_in",
    "opened",
    "quoted",
    "scored_nothing",
]

MISSING = object()
"""Stands in place of an answer where the output has no such field; None is an answer."""
_LONGEST = 300
"""Characters of a value that feedback quotes."""


def field_of(metric: object, field: str | None, gold: dspy.Example, pred: object) -> str:
    """The field's name: the one that was named, or else the only label of the example.

    An example without labels leaves the only field of the prediction.

    Raises:
        MetricError: none was named, and there are several, or none.
    """
    if field is not None:
        return field
    labels = _labels(gold)
    names = labels or list(fields_of(pred))
    if len(names) == 1:
        return names[0]
    kind = type(metric).__name__
    reason = "the example has the labels" if labels else "there is no label, and the output has"
    raise MetricError(
        f"{kind} looks at one field, and {reason} {sorted(names)}. "
        f'Name the field: {kind}(..., field="{min(names, default="answer")}").'
    )


def label_in(metric: object, field: str, gold: dspy.Example) -> Any:
    """What the example says is right.

    Raises:
        MetricError: it says nothing about this field.
    """
    if field in gold:
        return gold[field]
    raise MetricError(
        f"{type(metric).__name__} compares with the field {field!r} of the example, which has "
        f"{sorted(gold.keys())}. Name one of those, or add the field to the example."
    )


def answer_in(field: str, pred: object) -> Any:
    """What the program gave; `MISSING` where it gave no such field."""
    return fields_of(pred).get(field, MISSING)


def scored_nothing(field: str, pred: object, expected: object = MISSING) -> Feedback:
    """The feedback on a prediction that lacks the field, or holds None if more is expected."""
    fields = fields_of(pred)
    feedback = f"The output has no {field!r}; it has {sorted(fields)}."
    if field in fields:
        feedback = f"The output's {field!r} is empty."
    wanted = "" if expected is MISSING else f" Expected {field}: {quoted(expected)}"
    return Feedback(0.0, feedback + wanted)


def field_text(value: object) -> str:
    """The value as one would write it down: text as it is, containers and models as JSON."""
    plain = _plain(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, (dict, list)) else str(plain)


def opened(value: object) -> object:
    """What is within an enum, a model or a dataclass, by field; any other value as it is."""
    if isinstance(value, Enum):
        return opened(value.value)
    if isinstance(value, pydantic.RootModel):
        return opened(value.root)
    if isinstance(value, pydantic.BaseModel) and not isinstance(value, dspy.Type):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return value


def quoted(value: object) -> str:
    """The value's text, cut where it is long."""
    text = field_text(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} [...]"


def _plain(value: object) -> object:
    """The value as JSON has it: sets in order, and as a text whatever JSON has no form for."""
    value = opened(value)
    if isinstance(value, Mapping):
        return {field_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value), key=field_text)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (dt.date, dt.time, dt.timedelta)):
        return pydantic_core.to_jsonable_python(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _labels(gold: dspy.Example) -> Sequence[str]:
    try:
        return list(gold.labels().keys())
    except (AttributeError, ValueError):
        return []  # nobody said which of its fields are inputs

"""Metrics of every shape, each noting what it is given beyond example and prediction."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import dspy

__all__ = ["GIVEN", "SHAPES", "Shape"]

GIVEN: list[dict[str, object]] = []
"""What every call so far was given."""


def _noted(**given: object) -> float:
    GIVEN.append(given)
    return 1.0


def two(gold, pred):
    return _noted()


def three(gold, pred, trace=None):
    return _noted(trace=trace)


def three_required(gold, pred, trace):
    return _noted(trace=trace)


def three_renamed(gold, pred, steps):
    return _noted(steps=steps)


def five(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return _noted(trace=trace, pred_name=pred_name, pred_trace=pred_trace)


def five_required(gold, pred, trace, pred_name, pred_trace):
    return _noted(trace=trace, pred_name=pred_name, pred_trace=pred_trace)


def five_renamed(g, p, t, n, pt):
    return _noted(t=t, n=n, pt=pt)


def six(gold, pred, trace, pred_name, pred_trace, program_trace):  # noqa: PLR0917 - DSPy's order
    return _noted(trace=trace, program_trace=program_trace)


def by_keyword(gold, pred, *, pred_name, trace=None):
    return _noted(trace=trace, pred_name=pred_name)


def by_position(gold, pred, weight=3, trace=None, /):
    return _noted(weight=weight, trace=trace)


def with_a_third_of_its_own(example, prediction, weight=0.5):
    return _noted(weight=weight)


def with_a_fourth_of_its_own(example, pred, trace=None, frac=0.5):
    return _noted(trace=trace, frac=frac)


def with_five_of_its_own(example, pred, trace=None, frac=0.5, unit="m"):
    return _noted(trace=trace, frac=frac, unit=unit)


def anything(*args, **kwargs):
    return _noted(more=args[2:], kwargs=kwargs)


def unfinished(unit, gold, pred, trace=None):
    return _noted(unit=unit, trace=trace)


@functools.wraps(three)
def wrapped(*args, **kwargs):
    return three(*args, **kwargs)


@functools.wraps(five)
def narrowed(gold, pred, trace=None):
    return five(gold, pred, trace)


class Holder:
    def method(self, gold, pred, trace=None):
        return _noted(trace=trace)

    def __call__(self, gold, pred, trace=None):
        return _noted(trace=trace)


class Judge(dspy.Module):
    def forward(self, gold, pred, trace=None):
        return _noted(trace=trace)


class Shape(NamedTuple):
    """A metric, what it is given while scoring, and whether it can be asked about a component."""

    metric: Any
    given: dict[str, object]
    asks: bool = False


_LEGACY = {"trace": None}
_ASKED = {"trace": None, "pred_name": None, "pred_trace": None}

SHAPES = {
    "two": Shape(two, {}),
    "three": Shape(three, _LEGACY),
    "three required": Shape(three_required, _LEGACY),
    "three renamed": Shape(three_renamed, {"steps": None}),
    "five": Shape(five, _ASKED, asks=True),
    "five required": Shape(five_required, _ASKED, asks=True),
    "five renamed": Shape(five_renamed, {"t": None, "n": None, "pt": None}, asks=True),
    "six": Shape(six, {"trace": None, "program_trace": None}, asks=True),
    "by keyword": Shape(by_keyword, {"trace": None, "pred_name": None}, asks=True),
    "by position": Shape(by_position, {"weight": 3, "trace": None}),
    "a third of its own": Shape(with_a_third_of_its_own, {"weight": 0.5}),
    "a fourth of its own": Shape(with_a_fourth_of_its_own, {"trace": None, "frac": 0.5}),
    "five of its own": Shape(with_five_of_its_own, {"trace": None, "frac": 0.5, "unit": "m"}),
    "anything": Shape(anything, {"more": (), "kwargs": {}}),
    "partial": Shape(functools.partial(unfinished, "m"), {"unit": "m", "trace": None}),
    "partial by name": Shape(
        functools.partial(with_a_fourth_of_its_own, frac=1), {"trace": None, "frac": 1}
    ),
    "wrapped": Shape(wrapped, _LEGACY),
    "narrowed": Shape(narrowed, _ASKED),
    "bound method": Shape(Holder().method, _LEGACY),
    "object": Shape(Holder(), _LEGACY),
    "module": Shape(Judge(), _LEGACY),
}
"""Name to shape."""

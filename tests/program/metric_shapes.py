"""Metrics of every shape, each noting what it is given beyond example and prediction."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import dspy

__all__ = ["FORWARDING", "GIVEN", "SHAPES", "Shape"]

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


def the_rest(gold, pred, *rest):
    return _noted(rest=rest)


def named_rest(gold, pred, **named):
    return _noted(**named)


def after_a_trace(gold, pred, trace=None, *rest):
    return _noted(trace=trace, rest=rest)


def a_trace_and_names(gold, pred, trace=None, **named):
    return _noted(trace=trace, **named)


def the_rest_and_a_name(gold, pred, *rest, pred_name=None):
    return _noted(rest=rest, pred_name=pred_name)


def weighted_rest(gold, pred, weight=0.5, *rest):
    return _noted(weight=weight, rest=rest)


def thrown_away(gold, pred, trace=None, *_, **__):
    return _noted(trace=trace, rest=_, named=__)


def keywords_alone(*, gold, pred, trace=None):
    return _noted(trace=trace)


def keywords_turned_round(*, prediction, example, pred_name=None):
    assert (example.answer, prediction.answer) == ("2", "2")
    return _noted(pred_name=pred_name)


def a_keyword_prediction(gold, *, pred, trace=None, pred_name=None, pred_trace=None):
    return _noted(trace=trace, pred_name=pred_name, pred_trace=pred_trace)


def a_lone_position(gold, /, *, prediction):
    return _noted()


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


def undeclared(metric):
    """The metric behind a decorator that says nothing of what it takes."""

    def timed(*args, **kwargs):
        return metric(*args, **kwargs)

    return timed


class Forwarding:
    """The same as an object."""

    def __init__(self, metric):
        self._metric = metric

    def __call__(self, *args, **kwargs):
        return self._metric(*args, **kwargs)


class ForwardingJudge(dspy.Module):
    """The same as a module."""

    def __init__(self, metric):
        super().__init__()
        self._metric = metric

    def forward(self, *args, **kwargs):
        return self._metric(*args, **kwargs)


def by_names(metric):
    """The same with the first two parameters declared and the others passed on by name."""

    def checked(gold, pred, **kwargs):
        return metric(gold, pred, **kwargs)

    return checked


FORWARDING = {"decorator": undeclared, "object": Forwarding, "module": ForwardingJudge}
FORWARDING["names"] = by_names
"""Ways of hiding what a metric takes."""


def positions_only(metric):
    """A decorator that names what it wraps, and passes on positions alone."""

    @functools.wraps(metric)
    def checked(*given):
        return metric(*given)

    return checked


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
    "anything": Shape(anything, {"more": (None,) * 3, "kwargs": {}}, asks=True),
    "the rest": Shape(the_rest, {"rest": (None,) * 3}, asks=True),
    "named rest": Shape(named_rest, _ASKED, asks=True),
    "after a trace": Shape(after_a_trace, {"trace": None, "rest": (None,) * 2}, asks=True),
    "a trace and names": Shape(a_trace_and_names, _ASKED, asks=True),
    "the rest and a name": Shape(the_rest_and_a_name, {"rest": (), "pred_name": None}, asks=True),
    "weighted rest": Shape(weighted_rest, {"weight": 0.5, "rest": ()}),
    "thrown away": Shape(thrown_away, _LEGACY | {"rest": (), "named": {}}),
    "keywords alone": Shape(keywords_alone, _LEGACY),
    "keywords turned round": Shape(keywords_turned_round, {"pred_name": None}, asks=True),
    "a lone position": Shape(a_lone_position, {}),
    "a keyword prediction": Shape(a_keyword_prediction, _ASKED, asks=True),
    "partial": Shape(functools.partial(unfinished, "m"), {"unit": "m", "trace": None}),
    "partial by name": Shape(
        functools.partial(with_a_fourth_of_its_own, frac=1), {"trace": None, "frac": 1}
    ),
    "wrapped": Shape(wrapped, _LEGACY),
    "narrowed": Shape(narrowed, _ASKED),
    "five through positions": Shape(positions_only(five), _ASKED, asks=True),
    "a fourth through positions": Shape(
        positions_only(with_a_fourth_of_its_own), {"trace": None, "frac": 0.5}
    ),
    "bound method": Shape(Holder().method, _LEGACY),
    "object": Shape(Holder(), _LEGACY),
    "module": Shape(Judge(), _LEGACY),
}
"""Name to shape."""

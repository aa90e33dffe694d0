"""Which of a metric's parameters mean what.

A parameter has a role by its name or by its place; everything else is left alone. A metric that
takes anything (`*args`) has room for all roles, and only a call shows whether it can use them.
"""

from __future__ import annotations

import inspect
from collections.abc import Container, Sequence
from inspect import Parameter
from typing import Any, NamedTuple

import dspy

from dspy_gepa.errors import WrongType

__all__ = ["Argument", "arguments_of"]

_ROLES_IN_ORDER = ("trace", "pred_name", "pred_trace")
"""What dspy.GEPA passes after example and prediction."""
_ROLES = frozenset({*_ROLES_IN_ORDER, "program_trace"})
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_NEEDED = "A metric is called as metric(gold, pred) or metric(gold, pred, trace=None)."


class Argument(NamedTuple):
    """A parameter of a metric, with what is passed for it."""

    name: str
    kind: Any
    """By keyword, or by position where it can be passed in no other way."""
    default: object
    role: str
    """What is passed for it; empty if it keeps its default."""
    is_sure: bool = True
    """Whether the metric declares it; else it has room for more, and nothing says what for."""


_GIVEN = (
    Argument("gold", Parameter.POSITIONAL_ONLY, None, "gold"),
    Argument("pred", Parameter.POSITIONAL_ONLY, None, "pred"),
)
"""The example and the prediction, as metrics mostly take them."""


def arguments_of(metric: object, name: str) -> tuple[Argument, ...]:
    """What the metric is passed, in order: first the example and the prediction.

    Raises:
        WrongType: it cannot be called with those two.
    """
    target = _target(metric, name)
    try:
        signature = inspect.signature(target, follow_wrapped=False)
        passed_on = {each.kind for each in signature.parameters.values()}.intersection(_VARIABLE)
        if passed_on:
            # A decorator that takes anything: what it wraps says more, where it says it.
            signature = inspect.signature(target)
    except ValueError:
        return _GIVEN  # some built-ins do not say what they take
    parameters = list(signature.parameters.values())
    # What is named with an underscore is thrown away.
    kinds = {each.kind for each in parameters if not each.name.startswith("_")}
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    keywords = [each for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
    takes_any = any(each.kind is Parameter.VAR_POSITIONAL for each in parameters)
    is_by_position = len(positional) >= 2 or takes_any
    given = _GIVEN if is_by_position else _by_keyword([*positional, *keywords])
    if len(given) < 2:
        hint = f" Pass an instance: {name}(...)." if isinstance(metric, type) else ""
        raise WrongType(f"The metric {name}{signature} takes too few arguments. {_NEEDED}{hint}")
    names = {each.name for each in (positional[:2] if is_by_position else given)}
    rest = [each for each in (*positional, *keywords) if each.name not in names]
    roles = _roles_of(positional[2:], rest)
    unknown = [each.name for each in rest if _is_required(each) and each.name not in roles]
    if unknown:
        raise WrongType(
            f"The metric {name}{signature} requires {', '.join(unknown)}, and nothing can be "
            f"passed for that: give it a default. {_NEEDED}"
        )
    declared = [Argument(p.name, p.kind, p.default, roles.get(p.name, "")) for p in rest]
    more = _undeclared(declared, kinds)
    by_position = any(each.kind is Parameter.POSITIONAL_ONLY for each in more)
    if by_position or passed_on == {Parameter.VAR_POSITIONAL}:
        # What comes before them, or goes through a decorator that takes no keywords.
        declared = [
            each._replace(kind=Parameter.POSITIONAL_ONLY) if each.kind in _POSITIONAL else each
            for each in declared
        ]
    return (*given, *declared, *more)


def _by_keyword(parameters: Sequence[Parameter]) -> tuple[Argument, ...]:
    """How a metric of fewer than two positional parameters is given example and prediction."""
    free = [each for each in parameters if each.name not in _ROLES][:2]
    if all(each.kind is Parameter.KEYWORD_ONLY for each in free):
        # Their order says nothing.
        free.sort(key=lambda each: each.name.startswith("pred"))
    return tuple(
        Argument(each.name, each.kind, None, argument.role)
        for each, argument in zip(free, _GIVEN, strict=False)
    )


def _undeclared(declared: Sequence[Argument], kinds: Container[Any]) -> tuple[Argument, ...]:
    """What there is room for beside the declared parameters, as dspy.GEPA would pass it.

    `kinds` are those of the parameters that are used.
    """
    known = [each.role for each in declared]
    missing = [role for role in _ROLES_IN_ORDER if role not in known]
    kind: Any = Parameter.KEYWORD_ONLY
    if Parameter.VAR_POSITIONAL in kinds:
        kind = Parameter.POSITIONAL_ONLY
        if known != list(_ROLES_IN_ORDER[: len(known)]):
            return ()  # the declared ones are not the first in that order
    elif Parameter.VAR_KEYWORD not in kinds:
        return ()
    return tuple(Argument(role, kind, None, role, is_sure=False) for role in missing)


def _target(metric: object, name: str) -> Any:
    """What says which parameters the metric has."""
    if not callable(metric):
        raise WrongType(f"The metric is {metric!r}, which cannot be called. {_NEEDED}")
    if isinstance(metric, type) and issubclass(metric, dspy.Module):
        raise WrongType(f"The metric is the class {name}. Pass an instance: {name}().")
    target: Any = metric
    if isinstance(metric, dspy.Module):
        if inspect.getattr_static(metric, "forward", None) is None:
            raise WrongType(f"The metric {name} is a module without `forward`. {_NEEDED}")
        # DSPy warns where `forward` is looked up in the ordinary way outside a call.
        target = object.__getattribute__(metric, "forward")
    if any(inspect.iscoroutinefunction(each) for each in (target, type(target).__call__)):
        raise WrongType(f"The metric {name} is asynchronous. {_NEEDED}")
    return target


def _roles_of(extra: Sequence[Parameter], rest: Sequence[Parameter]) -> dict[str, str]:
    """Parameter name to role.

    `answer_exact_match(example, pred, trace=None, frac=1.0)` shows why place alone says little:
    only five parameters of which the last three may be None are in dspy.GEPA's order. A third one
    that has no default is the trace.
    """
    roles = {each.name: each.name for each in rest if each.name in _ROLES}
    may_be_none = [_is_required(each) or each.default is None for each in extra[:3]]
    is_in_order = len(may_be_none) == 3 and all(may_be_none)
    for parameter, role in zip(extra, _ROLES_IN_ORDER, strict=False):
        is_third = role == "trace" and _is_required(parameter)
        if (is_in_order or is_third) and role not in roles and parameter.name not in roles:
            roles[parameter.name] = role
    return roles


def _is_required(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty

"""Which of a metric's parameters mean what.

A parameter has a role by its name, or by its place among five; everything else is left alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from inspect import Parameter
from typing import Any, NamedTuple

import dspy

from dspy_gepa.errors import WrongType

__all__ = ["Argument", "arguments_of"]

_ROLES_IN_ORDER = ("trace", "pred_name", "pred_trace")
"""What dspy.GEPA passes after example and prediction."""
_ROLES = frozenset({*_ROLES_IN_ORDER, "program_trace"})
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NEEDED = "A metric is called as metric(gold, pred) or metric(gold, pred, trace=None)."


class Argument(NamedTuple):
    """A parameter after the example and the prediction."""

    name: str
    kind: Any
    default: object
    role: str
    """What is passed for it; empty where it keeps its default."""


def arguments_of(metric: object, name: str) -> tuple[Argument, ...]:
    """The metric's parameters after the example and the prediction, in order.

    Raises:
        WrongType: it cannot be called with those two.
    """
    target = _target(metric, name)
    try:
        signature = inspect.signature(target, follow_wrapped=False)
        if any(each.kind is Parameter.VAR_POSITIONAL for each in signature.parameters.values()):
            # A decorator that takes anything: what it wraps says more, where it says it.
            signature = inspect.signature(target)
    except ValueError:
        return ()  # some built-ins do not say what they take
    parameters = list(signature.parameters.values())
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    takes_any = any(each.kind is Parameter.VAR_POSITIONAL for each in parameters)
    if len(positional) < 2 and not takes_any:
        raise WrongType(f"The metric {name}{signature} takes too few arguments. {_NEEDED}")
    rest = positional[2:] + [each for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
    roles = _roles_of(positional[2:], rest)
    unknown = [each.name for each in rest if _is_required(each) and each.name not in roles]
    if unknown:
        raise WrongType(
            f"The metric {name}{signature} requires {', '.join(unknown)}, and nothing can be "
            f"passed for that: give it a default. {_NEEDED}"
        )
    return tuple(Argument(p.name, p.kind, p.default, roles.get(p.name, "")) for p in rest)


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
    only five parameters of which the last three may be None are in dspy.GEPA's order.
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

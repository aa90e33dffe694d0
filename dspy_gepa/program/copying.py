"""Copies of a program that share what must not be copied: its models, its locks, its sockets.

The program that is copied is never changed.
"""

from __future__ import annotations

import copy
import functools
import pickle
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import dspy

from dspy_gepa.errors import SettingsError

__all__ = ["copied", "reachable"]

_REFUSALS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    copy.Error,
    pickle.PickleError,
)
"""What an object raises that cannot be copied."""
_NOT_COPIED = ("history", "callbacks")
"""Attributes that DSPy leaves out of a copied module."""
_WITHOUT_PARTS = (str, bytes, int, float, type, types.FunctionType, types.ModuleType)


def copied(program: dspy.Module) -> dspy.Module:
    """A deep copy that runs on the same models, with the same callbacks and an empty history.

    A model is shared wherever it is held: its history and its costs would otherwise be lost. An
    attribute that cannot be copied is shared as well.

    Raises:
        SettingsError: the program refuses to be copied.
    """
    reached: list[Any] = list(reachable(program))
    shared = {id(each): each for each in reached if _is_model(each)}
    memo = dict(shared)
    try:
        duplicate = copy.deepcopy(program, memo)
    except _REFUSALS:
        memo = {**shared, **{id(each): each for each in _uncopyable(program, shared)}}
        try:
            duplicate = copy.deepcopy(program, memo)
        except _REFUSALS as error:
            raise SettingsError(
                f"The program {type(program).__name__} cannot be copied, and every candidate is a "
                f"copy of it: {error}. Let its class be copied by copy.deepcopy."
            ) from error
    for module in reached:
        if isinstance(module, dspy.Module) and id(module) in memo:
            memo[id(module)].callbacks = list(module.callbacks)
    return duplicate


def _is_model(each: object) -> bool:
    # The second kind is DSPy's client for decision requests, which is no BaseLM. Asked of the
    # type, because an instance may answer to any name.
    return isinstance(each, dspy.BaseLM) or (
        getattr(type(each), "supports_decision_requests", False) is True
    )


def reachable(program: dspy.Module) -> Iterator[object]:
    """Everything that a deep copy would visit, once each, without what models consist of."""
    seen: dict[int, object] = {}
    pending: list[object] = [program]
    while pending:
        each = pending.pop()
        if isinstance(each, _WITHOUT_PARTS) or each is None or id(each) in seen:
            continue
        seen[id(each)] = each
        yield each
        if not _is_model(each):
            pending.extend(_items_of(each))
            pending.extend(_attributes_of(each))


def _uncopyable(program: dspy.Module, shared: dict[int, Any]) -> Iterator[object]:
    """What cannot be copied of all that the program's modules, tools and containers hold."""
    seen: set[int] = set(shared)
    pending: list[object] = [program]
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, (dspy.Module, dspy.Tool)):
            # A tool is copied whatever it calls: each candidate has its own description of it.
            pending.extend(_attributes_of(each))
        elif isinstance(each, (dict, list, tuple, functools.partial, types.MethodType)):
            # Looked into, as they may hold predictors, which must not be shared.
            pending.extend(_items_of(each))
        else:
            try:
                copy.deepcopy(each, dict(shared))
            except _REFUSALS:
                yield each


def _items_of(each: object) -> Iterable[object]:
    # The built-in kinds only: iterating over anything else may compute, block or never end.
    if isinstance(each, dict):
        return list(dict.values(each))
    if isinstance(each, (list, tuple, set, frozenset, deque)):
        return list(each)
    if isinstance(each, functools.partial):
        return [each.func, each.args, each.keywords]
    if isinstance(each, types.MethodType):
        return [each.__self__]
    return []


def _attributes_of(each: object) -> Iterable[object]:
    attributes = dict(getattr(each, "__dict__", {}))
    for kind in type(each).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(each, name):
                attributes[name] = getattr(each, name)
    left_out = _NOT_COPIED if isinstance(each, dspy.Module) else ()
    return [value for name, value in attributes.items() if name not in left_out]

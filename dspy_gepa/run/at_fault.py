"""Which part of a value cannot be sent to another process, and by what name it is reached."""

from __future__ import annotations

import functools
import inspect
import pickle
import reprlib
import types
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["CANNOT_TRAVEL", "at_fault"]

CANNOT_TRAVEL = (
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.PickleError,
)
"""What an object raises that cannot be sent or cannot be read again."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def at_fault(value: object, name: str, can_be_sent: Callable[[object], bool]) -> str:
    """The innermost part that cannot be sent, as one would write it down, and what it is.

    Args:
        value: What cannot be sent.
        name: How the user knows it.
        can_be_sent: Whether a part can be sent by itself.
    """
    seen: set[int] = set()
    while id(value) not in seen:
        seen.add(id(value))
        for part_name, part in _parts(value):
            if id(part) not in seen and not can_be_sent(part):
                value, name = part, f"{name}{part_name}"
                break
    return f"{name} ({type(value).__module__}.{type(value).__name__})"


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """What is sent with a value, each with what its name adds to that of the whole."""
    if isinstance(value, dict):
        yield from ((f"[{_shown(key)}]", part) for key, part in value.items())
        yield from ((f" (its key {_shown(key)})", key) for key in value)
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{position}]", part) for position, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f" (its item {_shown(part)})", part) for part in value)
    if isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(value, types.MethodType):
        yield from ((f".{key}", getattr(value, key)) for key in ("__self__", "__func__"))
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif isinstance(value, (staticmethod, classmethod)):
        yield "", value.__func__
    elif isinstance(value, property):
        yield from ((f".{key}", getattr(value, key)) for key in ("fget", "fset", "fdel"))
    elif isinstance(value, type):
        yield from ((f" (its base {base.__qualname__})", base) for base in value.__bases__)
        yield " (its class)", type(value)
        yield from ((f".{key}", part) for key, part in vars(value).items())
    else:
        yield from _of_instance(value)


def _shown(key: object) -> str:
    """A key or an item in a short line, also if its own `__repr__` raises."""
    return " ".join(_SHORT.repr(key).split())


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """What a function takes along from where it was defined."""
    yield from ((f".{key}", part) for key, part in vars(function).items())
    for key, part in inspect.getclosurevars(function).nonlocals.items():
        yield f" (its variable {key})", part
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    own = zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False)
    for key, part in (*own, *(function.__kwdefaults__ or {}).items()):
        yield f" (the default of its argument {key})", part
    for key in _names(code):
        if key in function.__globals__:
            yield f" (the global variable {key})", function.__globals__[key]


def _names(code: types.CodeType) -> list[str]:
    """The names that a function or one within it looks up outside."""
    within = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    names = [*code.co_names, *(name for each in within for name in _names(each))]
    return list(dict.fromkeys(names))


def _of_instance(value: object) -> Iterator[tuple[str, object]]:
    """What an object says that it is made from: its state, also in slots, and its items.

    So an attribute that `__getstate__` leaves out is not at fault.
    """
    try:
        reduced = value.__reduce_ex__(4)
    except CANNOT_TRAVEL:
        return
    if not isinstance(reduced, tuple):
        return
    parts: tuple[Any, ...] = (*reduced, None, None, None)
    _, arguments, state, items, pairs, *_ = parts
    states = state if isinstance(state, tuple) else (state,)
    for own in states:
        if isinstance(own, dict):
            yield from ((f".{key}", part) for key, part in own.items())
        elif own is not None:
            yield " (its state)", own
    if not isinstance(value, (dict, list, tuple)):
        yield from ((f"[{position}]", part) for position, part in enumerate(items or ()))
        yield from ((f"[{_shown(key)}]", part) for key, part in pairs or ())
    for position, part in enumerate(arguments or ()):
        is_class = part is type(value)
        yield " (its class)" if is_class else f" (what it is made from, {position})", part

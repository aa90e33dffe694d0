"""How an argument is checked: what was given, in plain Python; or an error that says what to do.

Numbers may come from numpy or from elsewhere, as long as they are numbers.
"""

from __future__ import annotations

import inspect
import math
import operator
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

from dspy_gepa.errors import SettingsError, WrongType

__all__ = [
    "allowed",
    "are",
    "check_frozen_parts",
    "check_function",
    "check_predicates",
    "check_type",
    "folder",
    "positive_number",
    "set_checked",
    "whole",
]

_BOOLEANS = (bool, np.bool_)


def whole(name: str, value: Any, lowest: int) -> int | None:
    """The whole number; None if none was given.

    Raises:
        SettingsError: it is none, or too low.
    """
    if value is None:
        return None
    if isinstance(value, _BOOLEANS) or not isinstance(value, SupportsIndex):
        raise WrongType(f"{name}={value!r:.200} was given, and a whole number is needed.")
    number = _index(name, value)
    if number < lowest:
        raise SettingsError(f"{name}={number} was given; {lowest} is the lowest allowed.")
    return number


def _index(name: str, value: SupportsIndex) -> int:
    try:
        return operator.index(value)
    except TypeError:  # an array has the method, and is no index for that
        raise WrongType(f"{name}={value!r:.200} was given; one whole number is needed.") from None


def positive_number(name: str, value: Any) -> float | None:
    """The number above 0; None if none was given.

    Raises:
        SettingsError: it is none, or not above 0.
    """
    if value is None:
        return None
    is_number = isinstance(value, SupportsFloat) and not isinstance(value, (*_BOOLEANS, str, bytes))
    is_array = bool(getattr(value, "shape", None))
    if not is_number or is_array:
        raise WrongType(f"{name}={value!r:.200} was given, and a number is needed.")
    number = float(value)
    if not 0 < number < math.inf:
        raise SettingsError(f"{name}={number} was given; a finite number above 0 is needed.")
    return int(value) if isinstance(value, SupportsIndex) else number


def allowed(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Nothing, where it is one of these.

    Raises:
        SettingsError: it is none of them.
    """
    if not isinstance(value, (str, type(None))) or value not in choices:
        known = ", ".join(map(repr, choices))
        raise SettingsError(f"{name}={value!r:.200} was given; allowed: {known}.")


def folder(name: str, value: Any) -> str | None:
    """The path of a directory, with the home directory in place of "~"; None if none was given.

    Raises:
        SettingsError: it is no path.
    """
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise WrongType(f"{name}={value!r:.200} was given; the path of a directory is needed.")
    # Nothing is kept at an address; and of somebody who is not known, there is no home.
    here = os.path.expanduser(path)  # noqa: PTH111 - Path raises where there is no such user
    if not path.strip() or "\0" in path or "://" in path or here.startswith("~"):
        raise SettingsError(
            f"{name}={value!r:.200} was given, which is no path on this machine. Give the path of "
            f"a directory, {name}='runs/first' for instance, or None for none."
        )
    return here


def are(kind: Any, values: Any, *, alone: bool = False) -> bool:
    """Whether all items are of this kind; with `alone` one text or path may stand for a list."""
    if isinstance(values, (str, os.PathLike)):
        return alone and isinstance(values, kind)
    items = values.values() if isinstance(values, Mapping) else values
    return isinstance(values, (Mapping, Sequence)) and all(isinstance(i, kind) for i in items)


def check_type(name: str, value: Any, needed: str, *, is_right: bool) -> None:
    """Nothing, if it is right.

    Raises:
        WrongType: it is not. `needed` says in words what is.
    """
    if not is_right:
        raise WrongType(f"{name}={value!r:.200} was given; {needed} is needed.")


def check_function(name: str, value: Any) -> None:
    """Nothing, if it can be called or is None.

    Raises:
        WrongType: it cannot.
    """
    if value is not None and not callable(value):
        raise WrongType(f"{name}={value!r} was given; a function is needed.")


def check_frozen_parts(component: str, parts: object) -> None:
    """Nothing, if these are parts of a component's text that can stay.

    Raises:
        SettingsError: a part that is in every text.
        WrongType: no list of texts and patterns.
    """
    if isinstance(parts, (str, re.Pattern)) or not isinstance(parts, Sequence):
        raise WrongType(f"frozen has {parts!r:.200} for {component!r}; give a list of parts.")
    for part in parts:
        if not isinstance(part, (str, re.Pattern)) or (
            isinstance(part, re.Pattern) and not isinstance(part.pattern, str)
        ):
            raise WrongType(
                f"frozen has {part!r:.200} for {component!r}; a part is a text or a pattern made "
                "with re.compile."
            )
        if part in ("", re.compile("")):
            raise SettingsError(
                f"frozen has {part!r:.200} for {component!r}, which is in every text and keeps "
                "nothing."
            )


def check_predicates(argument: str, predicates: Iterable[object]) -> None:
    """Nothing, where each can be asked about a text.

    Raises:
        WrongType: one cannot be called with a component, an old and a new text, or only be
            awaited. Names the argument under which they were given.
    """
    needed = (
        "Give functions that are called as function(component, old, new), with three texts, and "
        "return False or a reason where the new one is refused."
    )
    for predicate in predicates:
        subject = f"{argument} has {predicate!r:.200}"
        if not callable(predicate):
            raise WrongType(f"{subject}. {needed}")
        if any(map(inspect.iscoroutinefunction, (predicate, type(predicate).__call__))):
            raise WrongType(f"{subject}, which is asynchronous. {needed}")
        try:
            signature = inspect.signature(predicate)
        except ValueError:
            continue  # a built-in that does not say so
        try:
            signature.bind("component", "old", "new")
        except TypeError as error:
            raise WrongType(f"{subject}, which takes {signature}: {error}. {needed}") from None


def set_checked(settings: object, **values: Any) -> None:
    """Keep these fields of a frozen value in plain Python, wherever what was given came from."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)

"""Where secrets are: in the environment, and in whatever can be reached from some objects.

What a setting, an attribute or a variable is called says whether it holds one, and so does its
place: a header, an address with a password in it.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dspy_gepa.store.redaction import names_password, names_secret
from dspy_gepa.values.foreign import IN_USER_CODE

__all__ = ["credentials"]

_LEAST, _LEAST_OF_PASSWORDS = 12, 6
"""Characters: stand-ins such as "none" or "not-needed" must not be cut out of other texts."""
_MOST_OBJECTS = 20_000
"""So many objects are looked at, those that are nearest first; data comes last."""
_MOST_ITEMS = 200
"""So many items of one container."""
_IN_ADDRESS = re.compile(r"://([^/@\s:]*):(?!\d+/)([^@\s]+)@")
"""A slash in a password is one unless what is before it can be a port."""
_BETWEEN = re.compile(r"[\s,;|]+")
_SETTING = re.compile(r"([\w.-]+)=([^\s;&#\"'<>]+)")
"""A part of an address or of a connection string."""
_UNBROKEN = re.compile(r"[A-Za-z0-9+/]{20,}")
_LEAST_FIGURES = 2
_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[a-z0-9])|(?<=[0-9])(?=[A-Za-z])")
_SCHEME = re.compile(r"^(?:Bearer|Basic|Token|ApiKey)\s+", re.IGNORECASE)
_HEADERS = re.compile(r"headers?(?:\.|$)", re.IGNORECASE)
_INSTALLED = (
    *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib")),
    Path(sysconfig.get_path("platlib")).resolve(),
    Path(__file__).resolve().parents[1],
)
_CONTAINERS = (dict, list, tuple, set, frozenset)
_PLAIN = (type(None), bool, int, float, complex, bytes, range)


def credentials(
    environment: Mapping[str, str], roots: Mapping[str, object] = types.MappingProxyType({})
) -> dict[str, str]:
    """Name to secret, of all in the environment and in what can be reached from these objects.

    Args:
        environment: Name to value.
        roots: Name to object: models, a program, a metric. What their functions use is reached.
    """
    found: dict[str, str] = {}
    known: set[str] = set()

    def note(name: str, secrets: Iterator[tuple[str, str]]) -> None:
        for ending, secret in secrets:
            if secret not in known:
                known.add(secret)
                found[f"{name}{ending}"] = secret

    for name, value in sorted(environment.items()):
        # PWD is no password, and where a key lies is no key.
        if not os.path.exists(value):  # noqa: PTH110 - a Path of any text may not be made
            note(name, _of_text(name, value, is_secret=_is_drawn(value)))
    for name, text, is_secret in _texts_in(roots):
        note(name, _of_text(name, text, is_secret=is_secret))
    return found


def _of_text(path: str, text: str, *, is_secret: bool = False) -> Iterator[tuple[str, str]]:
    """The secrets that a text holds, given where it stands, each with an ending for its name."""
    place, _, name = path.rpartition(".")
    if is_secret or names_secret(name) or _is_in_headers(place, text):
        bare = _SCHEME.sub("", text)
        for ending, secret in (("", text), (".bare", bare), *_listed(text)):
            if _is_long_enough(name, secret):
                yield ending, secret
    yield from _settings_in(text)
    yield from _in_json(path, text, is_secret=is_secret or names_secret(name))
    for user, password in _IN_ADDRESS.findall(text):
        plain = unquote(user), unquote(password)
        joined = ":".join(plain)
        yield ".login", f"{user}:{password}"
        yield ".plain_login", joined
        yield ".basic", base64.b64encode(joined.encode()).decode()
        for ending, secret in ((".password", password), (".plain_password", plain[1])):
            if len(secret) >= _LEAST_OF_PASSWORDS:
                yield ending, secret


def _is_drawn(text: str) -> bool:
    """Whether a text looks as if it was drawn at random, as keys are.

    Capitals, small letters and figures follow on each other in it as they do in no name, date or
    version.
    """
    rows = (row for row in _UNBROKEN.findall(text) if sum(map(str.isdigit, row)) >= _LEAST_FIGURES)
    return any(4 * len(_CHANGE.findall(row)) >= len(row) for row in rows)


def _settings_in(text: str) -> Iterator[tuple[str, str]]:
    for setting, value in _SETTING.findall(text):
        for ending, secret in (("", value), (".plain", unquote(value))):
            if names_secret(setting) and _is_long_enough(setting, secret):
                yield f".{setting}{ending}", secret


def _listed(text: str) -> Iterator[tuple[str, str]]:
    """The secrets of a text that is a list of them, each as long as a key is."""
    parts = _BETWEEN.split(text.strip())
    if len(parts) > 1 and min(map(len, parts)) >= _LEAST:
        yield from ((f".{place}", part) for place, part in enumerate(parts))


def _in_json(path: str, text: str, *, is_secret: bool) -> Iterator[tuple[str, str]]:
    """The secrets in a text that is JSON, by the names in it."""
    if not text.lstrip().startswith(("{", "[")):
        return
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return
    waiting = [("", whole, is_secret)]
    while waiting:
        ending, value, holds = waiting.pop()
        if isinstance(value, str):
            found = _of_text(f"{path}{ending}", value, is_secret=holds)
            yield from ((f"{ending}{more}", secret) for more, secret in found)
        elif isinstance(value, (dict, list)):
            holds |= names_secret(ending.rpartition(".")[2])
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{ending}.{key}", part, holds) for key, part in parts]


def _is_long_enough(name: str, secret: str) -> bool:
    """Whether it is no word that stands in other texts by chance.

    A password that people chose may be short. It is one if it has letters and figures.
    """
    if len(secret) >= _LEAST:
        return True
    is_mixed = any(map(str.isdigit, secret)) and any(map(str.isalpha, secret))
    return names_password(name) and len(secret) >= _LEAST_OF_PASSWORDS and is_mixed


def _is_in_headers(place: str, text: str) -> bool:
    """Whether it is a header, also under an innocent name, that may be no one's business."""
    # A key has figures in it; the type of a content has none.
    return bool(_HEADERS.search(place)) and any(map(str.isdigit, text))


def _texts_in(roots: Mapping[str, object]) -> Iterator[tuple[str, str, bool]]:
    """Every text that can be reached, with the names that lead to it.

    With each: whether it is an item of a container whose name says that it holds secrets.
    """
    waiting = deque((path, value, False) for path, value in roots.items())
    seen: dict[int, Any] = {}
    while waiting and len(seen) < _MOST_OBJECTS:
        path, value, is_secret = waiting.popleft()
        if isinstance(value, str):
            yield path, value, is_secret
        elif id(value) not in seen and not isinstance(value, _PLAIN):
            seen[id(value)] = value  # kept, so that no other object gets its id
            holds_secrets = isinstance(value, _CONTAINERS) and (
                is_secret or names_secret(path.rpartition(".")[2])
            )
            parts = _parts_of(value)
            waiting.extend((f"{path}.{name}", item, holds_secrets) for name, item in parts)


def _parts_of(value: Any) -> list[tuple[str, object]]:
    """What an object holds or uses, by name; no code of its own is run for it."""
    parts: list[tuple[str, object]] = []
    if isinstance(value, types.ModuleType):
        return parts
    try:
        if isinstance(value, dict):
            parts += [(str(name), item) for name, item in islice(dict.items(value), _MOST_ITEMS)]
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            parts += [(str(number), item) for number, item in enumerate(islice(value, _MOST_ITEMS))]
        elif isinstance(value, functools.partial):
            parts += [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
        elif isinstance(value, types.MethodType):
            parts += [("self", value.__self__), ("func", value.__func__)]
        elif isinstance(value, types.FunctionType):
            parts += _used_by(value)
        parts += _attributes_of(value)
    except IN_USER_CODE:
        pass
    return parts


def _used_by(function: types.FunctionType) -> list[tuple[str, object]]:
    """What a function holds, and what its code refers to.

    Not what the code of a library refers to, which leads on to all that the process holds.
    """
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
    used = [(name, cell.cell_contents) for name, cell in cells if _is_filled(cell)]
    used += [("defaults", function.__defaults__), ("defaults", function.__kwdefaults__)]
    if _is_installed(code.co_filename):
        return used
    names = dict.fromkeys(_names_in(code))
    return used + [(n, function.__globals__[n]) for n in names if n in function.__globals__]


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises where nothing was put in yet
    except ValueError:
        return False
    return True


def _attributes_of(value: Any) -> list[tuple[str, object]]:
    """An object's attributes, and those that a class of the user's own gives all its objects."""
    own = [] if isinstance(value, type) else [getattr(value, "__dict__", {})]
    kinds = value.__mro__ if isinstance(value, type) else type(value).__mro__
    own += [vars(kind) for kind in kinds if not _is_of_library(kind)]
    parts = [(n, item) for names in own for n, item in names.items() if not n.startswith("__")]
    slots = [name for kind in kinds for name in _slots_of(kind)]
    return parts + [(name, getattr(value, name)) for name in slots if hasattr(value, name)]


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _is_of_library(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    # What is in the interpreter itself has no file.
    return module is None or _is_installed(getattr(module, "__file__", None) or "<frozen")


@functools.lru_cache(maxsize=4096)
def _is_installed(filename: str) -> bool:
    """Whether it is a file of Python, of a package that was installed, or of this one."""
    if filename.startswith("<frozen"):
        return True
    path = Path(filename).resolve()
    return any(path.is_relative_to(folder) for folder in _INSTALLED)

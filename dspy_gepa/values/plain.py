"""Any value as JSON and back: plain values and media exactly, containers as such, others as text.

Loading makes numbers, texts, bytes, containers, `Media` and `Opaque` only; no code of a stored
value's type is run. A mark is a dictionary with one key that begins with `$`; a user's own such
dictionary is stored in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields as fields_of
from functools import lru_cache
from types import NoneType
from typing import Any, TypeAlias, TypeVar

import ujson

from dspy_gepa.core.rollout import Opaque
from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.values.foreign import IN_USER_CODE, entered, is_writable, str_of
from dspy_gepa.values.media import Media, content_of, data_uri, without_base64

__all__ = ["Json", "dataclass_from", "dumps", "loads", "packed", "unpacked"]

Json: TypeAlias = Any
"""None, bool, int, float, str without surrogates, or lists and dictionaries of those."""

Within: TypeAlias = "tuple[int, ...]"
"""The ids of the containers around a value."""

Made = TypeVar("Made")

_DEEPEST = 100
"""Levels of containers that are kept; what lies deeper is stored as text."""
_MEDIA = ("kind", "uri", "name", "file_id")
"""The fields of media, in the order in which they are stored."""


def dumps(value: Json, *, sort_keys: bool = False) -> str:
    """The value as JSON in one line, legible in any language."""
    return ujson.dumps(
        value,
        ensure_ascii=False,
        escape_forward_slashes=False,
        allow_nan=False,
        sort_keys=sort_keys,
    )


def loads(text: str | bytes) -> Json:
    """The value that a JSON text stands for.

    Raises:
        JournalCorrupt: it is no JSON.
    """
    try:
        return ujson.loads(text)
    except ValueError as error:
        raise JournalCorrupt(f"this is not JSON: {error}") from None


def dataclass_from(kind: type[Made], fields: Mapping[str, Any]) -> Made:
    """The dataclass that was kept as these fields, without any that only another version knows."""
    names = {each.name for each in fields_of(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in fields.items() if name in names})


def packed(value: object) -> Json:
    """The value in JSON's terms."""
    return _packed(value, ())


def unpacked(value: Json) -> Any:
    """The value that was packed: equal for plain ones, an `Opaque` with the same text for others.

    Raises:
        JournalCorrupt: the value is nothing that `packed` returns.
    """
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((mark, content),) = value.items()
        if mark.startswith("$"):
            return _unmarked(mark, content)
    return {name: unpacked(item) for name, item in value.items()}


def _packed(value: object, within: Within) -> Json:
    pack = _PACKERS.get(type(value))
    if pack is not None:
        return pack(value, within)
    try:
        for kind, pack_as in _KINDS:
            if isinstance(value, kind):
                return pack_as(value, within)
    except IN_USER_CODE:
        pass
    return _pack_opaque(_spoken(value))


def _spoken(value: object) -> str:
    """What `str` says about it, without the encoded content that some objects write there."""
    return without_base64(str_of(value))


def _pack_as_is(value: Any, _within: Within) -> Json:
    return value


def _pack_int(value: int, _within: Within) -> Json:
    return value if is_writable(value) else _pack_opaque(str_of(value))


def _pack_text(value: str, _within: Within = ()) -> Json:
    # Two surrogates in a row would come back as one character, and one alone is no UTF-8.
    return value if _is_clean(value) else {"$text": value.encode("utf-8", "surrogatepass").hex()}


def _pack_float(value: float, _within: Within) -> Json:
    return value if math.isfinite(value) else {"$float": str(value)}


def _pack_number_like(value: Any, within: Within) -> Json:
    """A number of the user's own type, which in a container is written as the number it is."""
    number: int | float = float.__float__(value) if isinstance(value, float) else int.__int__(value)
    written = str(value)
    return _packed(number, within) if within or written == str(number) else _pack_opaque(written)


def _pack_text_like(value: str, _within: Within) -> Json:
    raw = value.encode("utf-8", "surrogatepass")
    return _pack_text(raw.decode("utf-8", "surrogatepass"))


def _pack_list(value: Any, within: Within) -> Json:
    inside = entered(value, within, _DEEPEST)
    if inside is None:
        return _pack_opaque("...")
    return [_packed(item, inside) for item in list(value)]


def _pack_tuple(value: Any, within: Within) -> Json:
    items = _pack_list(value, within)
    return {"$tuple": items} if isinstance(items, list) else items


def _pack_set(value: Any, within: Within) -> Json:
    mark = "$set" if isinstance(value, set) else "$frozenset"
    items = _pack_list(value, within)
    # In the same order whatever the hash seed.
    return {mark: sorted(items, key=dumps)} if isinstance(items, list) else items


def _pack_dict(value: Any, within: Within) -> Json:
    inside = entered(value, within, _DEEPEST)
    if inside is None:
        return _pack_opaque("...")
    pairs = list(value.items())
    if all(type(key) is str and key[:1] != "$" and _is_clean(key) for key, _ in pairs):
        return {key: _packed(item, inside) for key, item in pairs}
    return {"$pairs": [[_pack_key(key, inside), _packed(item, inside)] for key, item in pairs]}


def _pack_key(key: object, inside: Within) -> Json:
    # A prompt shows what `str` says about a key, also where it is a text or number of some kind.
    return _packed(key, inside) if type(key) in _PACKERS else _pack_opaque(_spoken(key))


def _pack_bytes(value: Any, _within: Within) -> Json:
    # As a data URI, whose content gets a file of its own.
    return {"$bytes": data_uri("", bytes(value))}


def _pack_media(value: Any, _within: Within) -> Json:
    return {"$media": [_pack_text(getattr(value, name)) for name in _MEDIA]}


def _pack_opaque(text: str) -> Json:
    return {"$opaque": _pack_text(text)}


def _is_clean(text: str) -> bool:
    """Whether it holds no surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_PACKERS: dict[type, Callable[[Any, Within], Json]] = {
    NoneType: _pack_as_is,
    bool: _pack_as_is,
    int: _pack_int,
    float: _pack_float,
    str: _pack_text,
    list: _pack_list,
    dict: _pack_dict,
    tuple: _pack_tuple,
    set: _pack_set,
    frozenset: _pack_set,
    Opaque: lambda value, _within: _pack_opaque(value.text),
    Media: _pack_media,
    bytes: _pack_bytes,
    bytearray: _pack_bytes,
}
_KINDS: tuple[tuple[type, Callable[[Any, Within], Json]], ...] = (
    (str, _pack_text_like),
    (int, _pack_number_like),
    (float, _pack_number_like),
    (Mapping, _pack_dict),
    (list, _pack_list),
    (tuple, _pack_tuple),
    (AbstractSet, _pack_set),
)
"""What values of other types are taken for, because a prompt shows them like that too."""


def _unmarked(mark: str, content: Json) -> Any:
    if mark not in _UNPACKERS:
        raise JournalCorrupt(f"there is no mark {mark!r}")
    try:
        return _UNPACKERS[mark](content)
    except (TypeError, ValueError, LookupError) as error:
        raise JournalCorrupt(f"{mark} does not fit what it marks: {error}") from None


@lru_cache(maxsize=128)
def _media(kind: str, uri: str, name: str, file_id: str) -> Media:
    # The very same value for equal ones, so that what many traces show is in memory once.
    return Media(kind, uri, name, file_id)


def _bytes(content: Json) -> bytes:
    decoded = content_of(_text(content))
    if decoded is None:
        raise ValueError("this is no data URI")
    return decoded[1]


def _text(content: Json) -> str:
    value = unpacked(content)
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} is no text")
    return value


_UNPACKERS: dict[str, Callable[[Json], Any]] = {
    "$text": lambda content: bytes.fromhex(content).decode("utf-8", "surrogatepass"),
    "$float": lambda content: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[content],
    "$tuple": lambda content: tuple(unpacked(content)),
    "$set": lambda content: set(unpacked(content)),
    "$frozenset": lambda content: frozenset(unpacked(content)),
    "$pairs": lambda content: {unpacked(key): unpacked(item) for key, item in content},
    "$opaque": lambda content: Opaque(_text(content)),
    "$bytes": _bytes,
    "$media": lambda content: _media(*map(_text, content)),
}

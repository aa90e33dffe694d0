"""How values are stored as JSON: field by field, by a table that names each of them.

A field that has the value named in the table as usual is left out of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.values.plain import Json, packed, unpacked

__all__ = [
    "Codec",
    "Defaulted",
    "RecordCodec",
    "as_list",
    "exact_text",
    "fixed",
    "leaf",
    "many",
    "tagged",
]


class Codec(NamedTuple):
    """From a value to JSON and back."""

    pack: Callable[[Any], Json]
    unpack: Callable[[Json], Any]


class Defaulted(NamedTuple):
    """A field that is left out where it has its usual value."""

    codec: Codec
    value: object


class RecordCodec:
    """How values of one dataclass are stored: as a dictionary with these fields.

    Args:
        kind: The dataclass.
        attributes: The attributes that are stored under another name, by that name.
        fields: How each is stored, by the name that it is stored under.
    """

    def __init__(
        self,
        kind: type,
        attributes: Mapping[str, str] = MappingProxyType({}),
        /,
        **fields: Codec | Defaulted,
    ) -> None:
        self.kind = kind
        self.fields: Mapping[str, Codec | Defaulted] = MappingProxyType(fields)
        self.attributes = {name: attributes.get(name, name) for name in fields}
        self._slots = [
            (name, slot.codec, slot) if isinstance(slot, Defaulted) else (name, slot, None)
            for name, slot in fields.items()
        ]
        self._required = [name for name, _, usual in self._slots if usual is None]

    def pack(self, value: object) -> dict[str, Json]:
        """The fields that are not as usual."""
        stored = {}
        for name, codec, usual in self._slots:
            held = getattr(value, self.attributes[name])
            if usual is None or not _is_same(held, usual.value):
                stored[name] = codec.pack(held)
        return stored

    def unpack(self, stored: Json) -> Any:
        """The value.

        Raises:
            JournalCorrupt: a field is missing, unknown or of the wrong type.
        """
        name = self.kind.__name__
        if not isinstance(stored, dict):
            raise JournalCorrupt(f"{name} is not stored as a {type(stored).__name__}")
        if missing := [field for field in self._required if field not in stored]:
            raise JournalCorrupt(f"{name} lacks {missing}")
        if unknown := [field for field in stored if field not in self.fields]:
            raise JournalCorrupt(f"{name} has no fields {unknown}")
        held = {
            self.attributes[field]: (
                codec.unpack(stored[field]) if field in stored else _value_of(usual)
            )
            for field, codec, usual in self._slots
        }
        return self.kind(**held)

    @property
    def codec(self) -> Codec:
        """For use as a field of another record."""
        return Codec(self.pack, self.unpack)


def _is_same(held: object, usual: object) -> bool:
    if held is usual:
        return True
    # Written out as well, because 0.0 is equal to -0.0 and still another value.
    return type(held) is type(usual) and held == usual and repr(held) == repr(usual)


def _value_of(usual: Defaulted | None) -> object:
    assert usual is not None
    # A record must not share a dictionary with another one.
    return dict(usual.value) if isinstance(usual.value, dict) else usual.value


def leaf(make: Callable[[Any], object], *kinds: type) -> Codec:
    """A value of one of these types; `make` gives the exact type to a value of a similar one."""

    def unpack(stored: Json) -> object:
        value = unpacked(stored)
        if type(value) not in kinds:
            raise JournalCorrupt(f"{value!r:.80} is no {kinds[0].__name__}")
        return value

    return Codec(lambda value: packed(value if type(value) in kinds else make(value)), unpack)


def exact_text(value: str) -> str:
    """The text, of exactly this type."""
    # `str` would ask a subclass what it says, which for an enumeration is its name.
    return "".join(list(value))


def as_list(stored: Json) -> list[Json]:
    """What is stored, which has to be a list.

    Raises:
        JournalCorrupt: it is none.
    """
    if not isinstance(stored, list):
        raise JournalCorrupt(f"{stored!r:.80} is no list")
    return stored


def many(codec: Codec) -> Codec:
    """A tuple of any length."""
    return Codec(
        lambda values: [codec.pack(value) for value in values],
        lambda stored: tuple(codec.unpack(item) for item in as_list(stored)),
    )


def fixed(make: Callable[..., Any], *codecs: Codec) -> Codec:
    """A tuple of known length."""

    def unpack(stored: Json) -> Any:
        if len(as_list(stored)) != len(codecs):
            raise JournalCorrupt(f"{stored!r:.80} does not have {len(codecs)} parts")
        return make(*(codec.unpack(part) for codec, part in zip(codecs, stored, strict=True)))

    return Codec(
        lambda value: [codec.pack(part) for codec, part in zip(codecs, value, strict=True)], unpack
    )


def tagged(key: str, records: Mapping[str, RecordCodec]) -> Codec:
    """One of several records, with its name under this key."""
    names = {record.kind: name for name, record in records.items()}

    def pack(value: object) -> Json:
        name = names[type(value)]
        return {key: name, **records[name].pack(value)}

    def unpack(stored: Json) -> Any:
        fields = dict(stored) if isinstance(stored, dict) else {}
        name = fields.pop(key, None)
        if not isinstance(name, str) or name not in records:
            raise JournalCorrupt(f"there is no {key} {name!r:.80}")
        return records[name].unpack(fields)

    return Codec(pack, unpack)

"""Two growing collections that are values: adding makes a new one and leaves the old as it was.

Versions share one store, so that adding costs the same however much is in it. Adding to an older
version something else than what was added to it before copies the store first; adding the same
again does not, because `decide` looks ahead at states that `evolve` makes a second time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar, overload

__all__ = ["PersistentList", "PersistentMap"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class PersistentList(Sequence[Value], Generic[Value]):
    """An immutable sequence with a cheap `plus`."""

    __slots__ = ("_length", "_store")

    def __init__(self, items: Sequence[Value] = ()) -> None:
        self._store = list(items)
        self._length = len(self._store)

    def plus(self, item: Value) -> PersistentList[Value]:
        """This list with one more item at its end."""
        longer: PersistentList[Value] = PersistentList.__new__(PersistentList)
        longer._length = self._length + 1
        longer._store = self._store
        if len(self._store) > self._length and self._store[self._length] is item:
            return longer
        if len(self._store) > self._length:
            longer._store = list(self)
        longer._store.append(item)
        return longer

    @overload
    def __getitem__(self, position: int) -> Value: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Value]: ...
    def __getitem__(self, position: int | slice) -> Value | Sequence[Value]:
        if isinstance(position, slice):
            return [self._store[i] for i in range(*position.indices(self._length))]
        return self._store[range(self._length)[position]]

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PersistentList) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PersistentList({list(self)!r})"


class PersistentMap(Mapping[Key, Value], Generic[Key, Value]):
    """An immutable mapping with a cheap `plus`; a key, once in, keeps its value."""

    __slots__ = ("_length", "_store")

    def __init__(self) -> None:
        self._store: dict[Key, tuple[int, Value]] = {}
        self._length = 0

    def plus(self, key: Key, value: Value) -> PersistentMap[Key, Value]:
        """This map with one more entry, or itself if the key is in it already."""
        if key in self:
            return self
        longer: PersistentMap[Key, Value] = PersistentMap.__new__(PersistentMap)
        longer._length = self._length + 1
        longer._store = self._store
        position, added = self._store.get(key, (-1, None))
        if position == self._length and added is value:
            return longer
        if len(self._store) > self._length:
            longer._store = {k: self._store[k] for k in self}
        longer._store[key] = (self._length, value)
        return longer

    def __getitem__(self, key: Key) -> Value:
        position, value = self._store[key]
        if position >= self._length:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        entry = self._store.get(key)  # type: ignore[arg-type]
        return entry is not None and entry[0] < self._length

    def __iter__(self) -> Iterator[Key]:
        # The store is in insertion order. It may grow while its entries are read.
        yield from tuple(islice(self._store, self._length))

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PersistentMap) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PersistentMap({dict(self)!r})"

"""A candidate: the texts of all components of a program, as one immutable value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Candidate"]


@dataclass(frozen=True)
class Candidate(Mapping[str, str]):
    """A full set of component texts, in the order in which the program names them.

    Two candidates with the same texts are the same candidate: equal, with an equal `digest`.
    """

    items_in_order: tuple[tuple[str, str], ...]
    """Pairs of component name and text."""

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> Candidate:
        """The candidate with these texts, in the mapping's order."""
        return cls(tuple(texts.items()))

    @classmethod
    def known_by(cls, digest: str, items_in_order: tuple[tuple[str, str], ...]) -> Candidate:
        """The candidate that had this digest before secrets were taken out of its texts."""
        candidate = cls(items_in_order)
        candidate.__dict__["digest"] = digest
        return candidate

    def __getitem__(self, component: str) -> str:
        return self._texts[component]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __hash__(self) -> int:
        return hash(self.items_in_order)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Candidate) and self.items_in_order == other.items_in_order

    def rewritten(self, texts: Mapping[str, str]) -> Candidate:
        """This candidate with the given components' texts in place of its own.

        Raises:
            KeyError: a component that this candidate does not have.
        """
        unknown = [component for component in texts if component not in self._texts]
        if unknown:
            raise KeyError(f"unknown components {unknown}; there are {list(self)}")
        return Candidate.of({**self._texts, **texts})

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits of SHA-256 over names and texts: the same in every process."""
        # Lone surrogates are legal in a Python string and must not make a digest fail.
        written = json.dumps(self.items_in_order, ensure_ascii=True)
        return hashlib.sha256(written.encode()).hexdigest()[:32]

    @cached_property
    def _texts(self) -> dict[str, str]:
        return dict(self.items_in_order)

"""Where in a program its predictors and tools are: one place for each module that may hold some.

What is in a sub-module that counts as compiled is frozen, and at no place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import dspy
from dspy.predict.parameter import Parameter

__all__ = ["Place", "places_of"]

_NOT_LOOKED_INTO = ("history", "callbacks")
"""Attributes of a module that hold records of calls, and nothing of the program."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A module of a program, with what it holds itself."""

    module: dspy.Module
    parent: Place | None
    """The module that holds it; None for the program itself."""
    predictors: tuple[dspy.Predict, ...]
    tools: Mapping[str, dspy.Tool]
    """By where it is, as in `tools['search']`: one in a list by its name, not by its number."""

    @property
    def outwards(self) -> Iterator[Place]:
        """This place, then each that it is within."""
        place: Place | None = self
        while place is not None:
            yield place
            place = place.parent

    @property
    def is_dspys(self) -> bool:
        """Whether the module is one of those that DSPy brings, or made from one."""
        kinds = type(self.module).__mro__
        return any(kind.__module__.startswith("dspy.predict.") for kind in kinds)


def places_of(program: dspy.Module) -> tuple[Place, ...]:
    """The places of a program, what is within another after it."""
    if isinstance(program, Parameter):
        own = (program,) if isinstance(program, dspy.Predict) else ()
        return (Place(program, None, own, {}),)
    return tuple(_visit(program, "", None, set()))


def _visit(module: dspy.Module, path: str, parent: Place | None, seen: set[int]) -> Iterator[Place]:
    seen.add(id(module))
    held = list(_held(module, path))
    tools: dict[str, dspy.Tool] = {}
    for name, each in held:
        if isinstance(each, dspy.Tool):
            tools.setdefault(name, each)
    predictors = tuple(each for _, each in held if isinstance(each, dspy.Predict))
    place = Place(module, parent, predictors, tools)
    yield place
    for name, each in held:
        is_inner = isinstance(each, dspy.Module) and not isinstance(each, Parameter)
        if is_inner and not getattr(each, "_compiled", False) and id(each) not in seen:
            yield from _visit(each, name, place, seen)


def _held(module: dspy.Module, path: str) -> Iterator[tuple[str, object]]:
    """All that a module holds, in containers too, by the paths that DSPy gives to predictors."""
    for attribute, value in vars(module).items():
        name = f"{path}.{attribute}" if path else attribute
        if attribute in _NOT_LOOKED_INTO:
            continue
        yield name, value
        if isinstance(value, (list, tuple)):
            for place, item in enumerate(value):
                is_tool = isinstance(item, dspy.Tool)
                yield (f"{name}['{item.name}']" if is_tool else f"{name}[{place}]"), item
        elif isinstance(value, dict):
            yield from ((f"{name}['{key}']", item) for key, item in value.items())

"""How a program is called: as its user calls it, and awaited where it has to be."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import dspy

from dspy_gepa.errors import SettingsError
from dspy_gepa.program.components.places import places_of

__all__ = ["Entry", "asynchronous_tools", "entry_of"]


class Entry(NamedTuple):
    """The way into a program."""

    name: str
    """The method that is run in the end: "forward", "aforward" or "__call__"."""
    is_asynchronous: bool
    """Whether what it answers is awaited."""

    def called(self, program: dspy.Module, inputs: Mapping[str, Any]) -> Any:
        """What a program answers that is not asynchronous.

        Raises:
            TypeError: it answers with a coroutine all the same.
        """
        output = program(**inputs)
        if inspect.iscoroutine(output):
            output.close()
            raise TypeError(
                f"`{self.name}` returned a coroutine, which nobody awaits. Write it as "
                f"`async def {self.name}`."
            )
        return output

    async def acalled(self, program: dspy.Module, inputs: Mapping[str, Any]) -> Any:
        """What a program answers that is asynchronous."""
        if self.name == "aforward":
            return await program.acall(**inputs)
        return await program(**inputs)


def entry_of(program: dspy.Module) -> Entry:
    """The way into this program: `forward`, unless nothing but `aforward` will do.

    That is where there is no other method, where `forward` was made of it by dspy.syncify, and
    where the program's tools can only be awaited. A `__call__` of the user's own goes before both.

    Raises:
        SettingsError: there is nothing that could be called.
    """
    kind = type(program)
    owner = next(each for each in kind.__mro__ if "__call__" in vars(each))
    if not owner.__module__.startswith("dspy."):
        return Entry("__call__", inspect.iscoroutinefunction(kind.__call__))
    forward = inspect.getattr_static(program, "forward", None)
    can_await = inspect.getattr_static(program, "aforward", None) is not None
    if forward is None and not can_await:
        raise SettingsError(
            f"The program {kind.__name__} has neither `forward` nor `aforward`, so it cannot be "
            "run. Define one of them."
        )
    is_made_of_it = inspect.getattr_static(kind, "forward", None) is None
    if can_await and (is_made_of_it or asynchronous_tools(program)):
        return Entry("aforward", is_asynchronous=True)
    return Entry("forward", inspect.iscoroutinefunction(forward))


def asynchronous_tools(program: dspy.Module) -> tuple[str, ...]:
    """The tools that can only be awaited; none where DSPy is configured to call them anyway."""
    if dspy.settings.allow_tool_async_sync_conversion:
        return ()
    tools = [tool for place in places_of(program) for tool in place.tools.values()]
    return tuple(str(tool.name) for tool in tools if _is_asynchronous(tool.func))


def _is_asynchronous(function: Any) -> bool:
    return any(inspect.iscoroutinefunction(each) for each in (function, type(function).__call__))

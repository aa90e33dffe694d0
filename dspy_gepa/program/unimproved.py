"""What of a program cannot be improved, or cannot be run: said before anything is spent.

Every candidate is a copy of the program with other texts. A copy shares all functions with the
program, and what those hold or name is the same for every candidate.
"""

from __future__ import annotations

import asyncio
import functools
import types
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import dspy

from dspy_gepa.errors import SettingsError
from dspy_gepa.program.components.flex import CODE_MODULES
from dspy_gepa.program.demos import NO_DEMOS, DemoSettings
from dspy_gepa.program.rollouts.entry import asynchronous_tools, entry_of

__all__ = ["check_program", "remarks_on"]

_NOT_LOOKED_INTO = ("history", "callbacks", "demos", "lm")
"""Attributes of a module that hold records of calls, data and models."""
_WITHOUT_PARTS = (
    types.NoneType,
    str,
    bytes,
    int,
    float,
    complex,
    type,
    types.ModuleType,
    dspy.BaseLM,
    dspy.Example,
)
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


class _Reached(NamedTuple):
    """Something that a program reaches."""

    value: object
    path: str
    """Where it is: attributes from the program on, or from the name that a function has for it."""
    function: str = ""
    """The function that holds or names it; empty if it is reached by attributes alone."""
    is_frozen: bool = False
    """Whether it is within a module that counts as compiled."""

    def __str__(self) -> str:
        return " in the function ".join(filter(None, [self.path, self.function]))


def check_program(program: dspy.Module) -> None:
    """Nothing, if copies of the program can be run and use their own texts.

    Raises:
        SettingsError: there is nothing to call; or a function was put in the place of its `forward`
            that runs another program, as dspy.KNNFewShot does it.
    """
    entry_of(program)
    if other := _run_instead(program):
        raise SettingsError(
            f"The program's `forward` was replaced by the function {other}, which runs a program "
            "of its own. Candidates are copies with other texts, and all of them would run that "
            "one, so nothing could be improved. Give the program as it was before, and replace "
            "the `forward` of what comes back: optimize first, and then dspy.KNNFewShot, say."
        )


def remarks_on(
    program: dspy.Module, demos: DemoSettings = NO_DEMOS, trainset: Sequence[dspy.Example] = ()
) -> Iterator[str]:
    """What its user should know before it is run many times, a sentence or two for each.

    Args:
        program: The student.
        demos: What demonstrations are asked for.
        trainset: What they would be made from.
    """
    entry = entry_of(program)
    if not entry.is_asynchronous and (tools := asynchronous_tools(program)):
        yield (
            f"The tools {', '.join(tools)} are asynchronous, and the program is run by its "
            f"`{entry.name}`, where DSPy refuses to call them. Give it an `aforward`, which then "
            "is run in its place, or call compile within "
            "dspy.context(allow_tool_async_sync_conversion=True)."
        )
    if entry.is_asynchronous and asynchronous_tools(program) and _runs_a_loop():
        yield (
            "compile is called within a running event loop, which stands still meanwhile: tools "
            "whose session was opened on it (MCP, say) would wait for ever. Have the program open "
            "its session itself."
        )
    if demos.is_asked_for and (reason := _without_demos(program, demos, trainset)):
        yield f"No demonstrations will be found: {reason}."
    yield from _remarks_on_predictors(program)


def _without_demos(
    program: dspy.Module, demos: DemoSettings, trainset: Sequence[dspy.Example]
) -> str:
    """Why no model would be shown any; empty if one may be."""
    if entry_of(program).is_asynchronous and demos.bootstrapped:
        return (
            "DSPy's BootstrapFewShot, which makes them, runs programs synchronously, and this one "
            "is asynchronous"
        )
    signatures = [predictor.signature for _, predictor in program.named_predictors()]
    if not signatures:
        return "the program has no predictor that could have some"
    # DSPy leaves out of a prompt what has nothing to say of inputs, or of outputs.
    is_shown = any(
        not set(example.keys()).isdisjoint(signature.input_fields)
        and not set(example.keys()).isdisjoint(signature.output_fields)
        for signature in signatures
        for example in trainset
    )
    if demos.bootstrapped or is_shown or not trainset:
        return ""
    return (
        "no training example has an input and an output of the same predictor, as labeled ones "
        "need to. Ask for max_bootstrapped_demos, which are made by running the program"
    )


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _remarks_on_predictors(program: dspy.Module) -> Iterator[str]:
    known = {id(predictor) for _, predictor in program.named_predictors()}
    missed = [
        each
        for each in _reached(program)
        if isinstance(each.value, dspy.Predict) and id(each.value) not in known
    ]
    if frozen := [str(each) for each in missed if each.is_frozen]:
        yield (
            f"Not improved, as they are in modules that count as compiled: {', '.join(frozen)}. "
            "Set `_compiled = False` on those to have them improved."
        )
    if hidden := [str(each) for each in missed if not each.is_frozen]:
        yield (
            f"Not improved, as DSPy does not count them as the program's: {', '.join(hidden)}. "
            "Hold them as attributes of the program or of a module in it, or in a list or a dict "
            "there, to have them improved."
        )
    for name, module in program.named_sub_modules(dspy.Module):
        if module is not program and (other := _run_instead(module)):
            yield (
                f"The `forward` of {name.removeprefix('self.')} was replaced by the function "
                f"{other}, which runs a program of its own. What is within it is rewritten in "
                "vain: name it in frozen=[...]."
            )


def _run_instead(module: dspy.Module) -> str:
    """The function that was put in place of a module's `forward` and holds another module."""
    for name in ("forward", "aforward"):
        function: Any = vars(module).get(name)
        function = getattr(function, "__func__", function)
        reached = _reached(function) if callable(function) else ()
        if any(isinstance(each.value, dspy.Module) for each in reached):
            return _named(function)
    return ""


def _reached(start: object) -> Iterator[_Reached]:
    """Everything that is reached from there, once each, nearest first."""
    seen: set[int] = set()
    pending = deque([_Reached(start, "")])
    while pending:
        each = pending.popleft()
        if id(each.value) not in seen:
            seen.add(id(each.value))
            yield each
            pending.extend(_within(each))


def _within(each: _Reached) -> Iterator[_Reached]:
    value, path, function, is_frozen = each
    if isinstance(value, dspy.Module) and path:
        is_frozen |= bool(getattr(value, "_compiled", False))
    for name, part in _parts_of(value):
        if isinstance(part, _WITHOUT_PARTS):
            continue
        if isinstance(value, types.FunctionType):
            yield _Reached(part, str(name), _named(value), is_frozen)
        elif isinstance(value, _CONTAINERS):
            yield _Reached(part, f"{path}[{name!r:.40}]", function, is_frozen)
        else:
            inner = ".".join(filter(None, [path, str(name)]))
            yield _Reached(part, inner, function, is_frozen)


def _parts_of(value: object) -> Iterator[tuple[object, object]]:
    """What it holds: attributes by name, items by key or place."""
    if isinstance(value, dict):
        yield from dict.items(value)
    elif isinstance(value, _CONTAINERS):
        yield from enumerate(value)
    elif isinstance(value, types.FunctionType):
        yield from _held_by(value)
    elif isinstance(value, types.MethodType):
        yield from (("", value.__self__), ("", value.__func__))
    elif isinstance(value, functools.partial):
        yield from (("", part) for part in (value.func, value.args, value.keywords))
    else:
        left_out = _NOT_LOOKED_INTO if isinstance(value, dspy.Module) else ()
        yield from ((n, part) for n, part in _attributes_of(value) if n not in left_out)
        if isinstance(value, dspy.Module) and not isinstance(value, CODE_MODULES):
            yield from (("", method) for method in _own_methods(type(value)))


def _own_methods(kind: type) -> Iterator[types.FunctionType]:
    """The methods that are the user's own: DSPy's hold nothing."""
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] not in ("dspy", "builtins"):
            yield from (m for m in vars(each).values() if isinstance(m, types.FunctionType))


def _held_by(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """What a function has around it, and the modules and functions that it names."""
    names = function.__code__.co_freevars
    cells = zip(names, function.__closure__ or (), strict=True)
    yield from ((name, _content(cell)) for name, cell in cells)
    for name in function.__code__.co_names:
        named = function.__globals__.get(name)
        is_near = getattr(named, "__module__", None) == function.__module__
        if isinstance(named, dspy.Module) or (isinstance(named, types.FunctionType) and is_near):
            yield name, named


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # it is not bound yet


def _attributes_of(value: object) -> Iterator[tuple[str, object]]:
    yield from dict(getattr(value, "__dict__", {})).items()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def _named(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__

"""By what a run notices that the code has changed that its stored scores came from."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

import dspy

from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.store.manifest import digest

__all__ = ["source_digests"]


def source_digests(written: Mapping[str, object]) -> dict[str, str]:
    """A digest of the source of functions, programs and other objects, by their names.

    Of a program the classes of all its modules count, and of another object its class, each with
    those that it inherits from; DSPy's and Python's own do not. What they call counts only where it
    stands in their own source. Left out is what has no source to be read, such as a function that
    `exec` made.

    What such code was made with has a digest of its own: the functions that a decorator wraps, and
    the numbers and texts that it closes over or was bound to.
    """
    found = {}
    for name, what in written.items():
        sources = [catching(functools.partial(_source, each)) for each in _coded(what)]
        if sources and not any(isinstance(source, Failed) for source in sources):
            found[name] = digest(sources)
            if made_with := [*_made_with(what)]:
                found[f"{name} (in what it was made with)"] = digest(made_with)
    return found


def _coded(what: object) -> Iterator[Any]:
    """Where the code stands that runs when this is called."""
    while isinstance(what, functools.partial):
        what = what.func
    if isinstance(what, dspy.Module):
        yield from _classes(type(module) for _, module in what.named_sub_modules(dspy.Module))
    elif inspect.isroutine(what) or inspect.isclass(what):
        yield inspect.unwrap(what)
    else:
        yield from _classes([type(what)])


def _classes(kinds: Iterable[type]) -> Iterator[type]:
    """These and those that they inherit from, each once, without what comes with an upgrade."""
    for base in dict.fromkeys(base for kind in kinds for base in kind.__mro__):
        if not _comes_with_an_upgrade(base.__module__):
            yield base


def _comes_with_an_upgrade(module: str) -> bool:
    package = module.partition(".")[0]
    return package == "dspy" or package in sys.stdlib_module_names


def _source(coded: Any) -> str:
    """The source of a function or a class.

    Python looks for a class by its name, and finds another one where a file has two: then its own
    functions are not in those lines, and stand for it.
    """
    lines, first = inspect.getsourcelines(coded)
    if inspect.isclass(coded):
        own = [each.__code__ for each in _functions(coded) if each.__module__ == coded.__module__]
        if not all(first <= code.co_firstlineno < first + len(lines) for code in own):
            return "".join(textwrap.dedent(inspect.getsource(code)) for code in own)
    return textwrap.dedent("".join(lines))


def _functions(kind: type) -> Iterator[FunctionType]:
    """Those that a class defines itself, not those that were handed to it from elsewhere."""
    for each in vars(kind).values():
        function = inspect.unwrap(getattr(each, "fget", None) or getattr(each, "__func__", each))
        is_own = inspect.isfunction(function) and function.__qualname__.startswith(
            f"{kind.__qualname__}."
        )
        if is_own:
            yield function


def _made_with(what: object) -> Iterator[object]:
    """What code holds that does not stand in its source."""
    seen: set[int] = set()
    while isinstance(what, functools.partial):
        bound = [*enumerate(what.args), *sorted(what.keywords.items())]
        yield from ([name, value] for name, value in bound if _is_constant(value))
        what = what.func
    if inspect.isroutine(what):
        function = getattr(what, "__func__", what)
        if hasattr(function, "__wrapped__"):  # else its source is what runs
            yield from _within("", function, seen)
        else:
            yield from _held(function, seen)
    else:
        for coded in _coded(what):
            for function in _functions(coded):
                yield from _held(function, seen)


def _held(function: Any, seen: set[int]) -> Iterator[object]:
    """What a function closes over, and functions in it likewise."""
    if not inspect.isfunction(function) or id(function) in seen:
        return
    seen.add(id(function))
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        value = catching(lambda cell=cell: cell.cell_contents)  # type: ignore[misc]
        if inspect.isfunction(value):
            yield from _within(name, value, seen)
        elif _is_constant(value) and not _is_stored(name, code):
            yield [name, value]


def _within(name: str, function: Any, seen: set[int]) -> Iterator[object]:
    """The source of a function that runs within another, and what it holds."""
    code = getattr(function, "__code__", None)
    if code is not None and not _comes_with_an_upgrade(function.__globals__.get("__name__", "")):
        source = catching(functools.partial(inspect.getsource, code))
        yield [name, "" if isinstance(source, Failed) else textwrap.dedent(source)]
    yield from _held(function, seen)


def _is_constant(value: object) -> bool:
    """Whether it is the same whenever it is looked at, in any process."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, (bool, int, float, str, bytes))


def _is_stored(name: str, code: CodeType) -> bool:
    """Whether the code, or code within it, gives this name another value, as counters do."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    stores = (each for each in dis.get_instructions(code) if each.opname == "STORE_DEREF")
    return name in {each.argval for each in stores} or any(_is_stored(name, each) for each in inner)

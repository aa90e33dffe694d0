"""By what a run notices that the code has changed that its stored scores came from."""

from __future__ import annotations

import functools
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
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
    """
    found = {}
    for name, what in written.items():
        sources = [catching(functools.partial(inspect.getsource, each)) for each in _coded(what)]
        if sources and not any(isinstance(source, Failed) for source in sources):
            found[name] = digest([textwrap.dedent(str(source)) for source in sources])
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
        if base.__module__.partition(".")[0] not in {"dspy", *sys.stdlib_module_names}:
            yield base

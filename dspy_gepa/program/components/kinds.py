"""The kinds of component that a program has: a row of a table for each says how it is treated.

Which of them are components is for the user to say. By default instructions and code are, as in
dspy.GEPA. Names follow from where a text is: `agent.react` is an instruction,
`agent.tools['search']` the description of a tool, `agent.tools['search'].args.query` that of an
argument, and `answer.fields.question` that of a field. A name is a path in the program. If two
components have the same name all the same, the first one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import dspy

from dspy_gepa.errors import SettingsError
from dspy_gepa.program.components.fields import FIELD
from dspy_gepa.program.components.instructions import CODE, INSTRUCTION, UnboundCode, normalised
from dspy_gepa.program.components.part import ComponentKind, Part
from dspy_gepa.program.components.tools import ARGUMENT, TOOL, around_tools, sights_of

__all__ = [
    "ARGUMENT",
    "CODE",
    "DEFAULT_KINDS",
    "FIELD",
    "INSTRUCTION",
    "KINDS",
    "KINDS_BY_OPTION",
    "TOOL",
    "ComponentKind",
    "Part",
    "UnboundCode",
    "kinds_for",
    "kinds_in",
    "normalised",
    "owners_of",
    "parts_of",
    "unsaved",
]

KINDS = (INSTRUCTION, CODE, TOOL, ARGUMENT, FIELD)
"""In the order in which their components stand in a candidate."""
DEFAULT_KINDS = (INSTRUCTION, CODE)
KINDS_BY_OPTION: Mapping[str, tuple[ComponentKind, ...]] = MappingProxyType(
    {
        "instructions": (INSTRUCTION,),
        "code": (CODE,),
        "tools": (TOOL, ARGUMENT),
        "fields": (FIELD,),
    }
)
"""By the words that `GEPA(optimize=...)` takes."""


def kinds_for(options: Iterable[str]) -> tuple[ComponentKind, ...]:
    """The kinds that are asked for by these words, in the order of `KINDS`.

    Raises:
        SettingsError: there is no word, or an unknown one.
    """
    words = [options] if isinstance(options, str) else list(options)
    unknown = [word for word in words if word not in KINDS_BY_OPTION]
    if unknown or not words:
        raise SettingsError(
            f"optimize={options!r} was given; it takes one or more of {list(KINDS_BY_OPTION)}."
        )
    asked = [kind for word in words for kind in KINDS_BY_OPTION[word]]
    return tuple(kind for kind in KINDS if kind in asked)


def parts_of(
    program: dspy.Module, kinds: Iterable[ComponentKind] = DEFAULT_KINDS
) -> dict[str, Part]:
    """The program's components by name, kind after kind: by default as dspy.GEPA has them.

    One that can be reached in several ways is one component. What is in a sub-module that counts
    as compiled is frozen, and no component. Where tools are components, an instruction that lists
    them has a mark in place of the list: see `around_tools`.
    """
    asked = tuple(kinds)
    # Only then: a program with neither is not searched for tools.
    around = (
        {id(each.predictor): around_tools(each) for each in sights_of(program) if each.is_listed}
        if TOOL in asked or ARGUMENT in asked
        else {}
    )
    parts: dict[str, Part] = {}
    for kind in asked:
        for name, holder, owners in kind.find(program):
            own = around.get(id(holder), kind) if kind is INSTRUCTION else kind
            parts.setdefault(name, Part(name, own, holder, owners))
    return parts


def kinds_in(program: dspy.Module, components: Iterable[str]) -> tuple[ComponentKind, ...]:
    """The kinds of which these components are; names that the program does not have are ignored.

    So a candidate can be put into a program whatever kinds the run optimized that it is from.
    """
    names = list(components)
    kinds = {name: part.kind.name for name, part in parts_of(program, KINDS).items()}
    used = {kinds[name] for name in names if name in kinds}
    return tuple(kind for kind in KINDS if kind.name in used)


def owners_of(parts: Mapping[str, Part]) -> dict[str, tuple[str, ...]]:
    """Component to those whose calls are its calls, for all that are not called themselves."""
    return {name: part.owners for name, part in parts.items() if part.owners}


def unsaved(parts: Mapping[str, Part]) -> tuple[str, ...]:
    """The components whose texts `program.save("x.json")` does not keep.

    DSPy saves signatures: fields and instructions, with the tools that are listed in them. A tool
    that a predictor is given as an input is kept by `save_program=True` alone.
    """
    return tuple(
        name
        for name, part in parts.items()
        if part.kind in (TOOL, ARGUMENT) and not part.holder.is_saved
    )

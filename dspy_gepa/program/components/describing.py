"""What a component is for, in words: its program, its place in it, its fields, types and tools.

It is the same for all texts that the component might have, and does not say which it has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dspy

from dspy_gepa.program.components.kinds import (
    ARGUMENT,
    DEFAULT_KINDS,
    FIELD,
    TOOL,
    ComponentKind,
    Part,
    parts_of,
)
from dspy_gepa.program.components.tools import TOOL_MARK, ToldTool, ToolUser, sights_of
from dspy_gepa.program.components.type_words import (
    fields_in_words,
    json_type,
    speaks_for_itself,
    tool_in_words,
)

__all__ = ["describe"]

_LONGEST_DOCSTRING = 600
"""Characters of a program's docstring that a description keeps."""
_LONGEST_INSTRUCTION = 1_200
"""Characters of a step's instruction that the description of one of its fields keeps."""
_MOST_STEPS = 20
"""Steps of a program that are listed."""
_MOST_NEIGHBOURS = 3
"""Steps that are named in one sentence: where a value comes from, who may call a tool."""
_ITS_TEXT = "(the current text)"


def describe(
    program: dspy.Module, kinds: Iterable[ComponentKind] = DEFAULT_KINDS
) -> dict[str, str]:
    """For each component of these kinds, what it is part of and what it says something about.

    It quotes descriptions of fields and tools as the program has them now: where these are
    components themselves, describe the program that the candidate is.
    """
    asked = tuple(kinds)
    steps = parts_of(program)
    tools_stand_apart = TOOL in asked or ARGUMENT in asked
    whole = list(_whole(program, steps))
    sights = {sight.name: sight for sight in sights_of(program)}
    known: dict[str, Callable[[Part], Iterator[str]]] = {
        TOOL.name: lambda part: _tool(part, sights),
        ARGUMENT.name: _argument,
        FIELD.name: lambda part: _field(part, steps),
    }

    def step(part: Part) -> Iterator[str]:
        return _step(part, steps, sights.get(part.name), tools_stand_apart=tools_stand_apart)

    return {
        name: "\n".join([*whole, *known.get(part.kind.name, step)(part)])
        for name, part in parts_of(program, asked).items()
    }


def _whole(program: dspy.Module, steps: Mapping[str, Part]) -> Iterator[str]:
    # DSPy's own classes document how to use them in Python, which says nothing about the task; and
    # a small model that reads of a program named Predict writes Python.
    if _is_users_own(program):
        own_words = inspect.cleandoc(type(program).__doc__ or "")[:_LONGEST_DOCSTRING]
        yield f"The program is {type(program).__name__}. {own_words}".strip()
    if len(steps) > 1:
        whose = "Its" if _is_users_own(program) else "The program's"
        yield f"{whose} components, in the order in which it holds them:"
        yield from (
            f"- {name}: {part.holder.signature.signature}"
            for name, part in list(steps.items())[:_MOST_STEPS]
        )
        if len(steps) > _MOST_STEPS:
            yield f"- and {len(steps) - _MOST_STEPS} more"


def _step(
    part: Part, steps: Mapping[str, Part], sight: ToolUser | None, *, tools_stand_apart: bool
) -> Iterator[str]:
    if len(steps) > 1:
        yield f"This component: {part.name}."
    # The examples show the names of its fields, and a small model that reads too much of inputs and
    # outputs forgets what it was asked for.
    if len(steps) > 1 or not speaks_for_itself(part.holder.signature):
        yield fields_in_words(part.holder.signature)
    yield from _neighbours(part, steps)
    # Otherwise its instruction says it all.
    if sight is not None and (tools_stand_apart or not sight.is_listed):
        yield "Its tools:"
        yield from _listed(sight.tools.values())
        if sight.is_listed:
            yield (
                f"In its instruction {TOOL_MARK} stands for the list of its tools, which is filled "
                "in. Keep it once, on a line of its own, and do not describe the tools again."
            )


def _listed(tools: Iterable[dspy.Tool]) -> Iterator[str]:
    for tool in tools:
        line = tool_in_words(str(tool.name), tool.args or {}, tool.desc or "")
        yield f"- {line}"


def _neighbours(part: Part, steps: Mapping[str, Part]) -> Iterator[str]:
    """Where values come from and go to, which DSPy does not know: judged by the fields' names."""
    own = part.holder.signature
    others = {name: step.holder.signature for name, step in steps.items() if name != part.name}
    for field in own.input_fields:
        if names := _named(name for name, each in others.items() if field in each.output_fields):
            yield f"By its name, `{field}` is what {names} wrote."
    for field in own.output_fields:
        if names := _named(name for name, each in others.items() if field in each.input_fields):
            yield f"By its name, `{field}` is then read by {names}."


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    more = [f"{len(listed) - _MOST_NEIGHBOURS} more"] if len(listed) > _MOST_NEIGHBOURS else []
    return " and ".join([*listed[:_MOST_NEIGHBOURS], *more])


def _field(part: Part, steps: Mapping[str, Part]) -> Iterator[str]:
    (owner,) = part.owners
    signature, field = part.holder.predictor.signature, part.holder.name
    use = "input" if field in signature.input_fields else "output"
    yield f"This component: {part.name}, which says what the {use} field `{field}` of {owner} is."
    text = steps[owner].text
    cut = "..." if len(text) > _LONGEST_INSTRUCTION else ""
    yield f"What {owner} is told to do:\n{text[:_LONGEST_INSTRUCTION]}{cut}"
    yield fields_in_words(signature.with_updated_fields(field, desc=_ITS_TEXT))


def _tool(part: Part, sights: Mapping[str, ToolUser]) -> Iterator[str]:
    tool: ToldTool = part.holder
    beside = {
        id(other): other
        for owner in part.owners
        for other in sights[owner].tools.values()
        if other is not tool.tool
    }
    if beside:
        yield "Other tools that may be called in its place:"
        yield from _listed(beside.values())
    yield (
        f"This component: {part.name}, which says what the tool `{tool.tool.name}` is for and when "
        f"to call it. {_users(part)}"
    )
    yield from _arguments(tool, tool.argument_descriptions)


def _argument(part: Part) -> Iterator[str]:
    tool: ToldTool = part.holder.tool
    yield (
        f"This component: {part.name}, which says what the argument `{part.holder.name}` of the "
        f"tool `{tool.tool.name}` must be. {_users(part)}"
    )
    yield f"What is said about the tool: {tool.description or '(nothing yet)'}"
    yield from _arguments(tool, {**tool.argument_descriptions, part.holder.name: _ITS_TEXT})


def _users(part: Part) -> str:
    return f"The tool may be called by {_named(part.owners)}."


def _arguments(tool: ToldTool, descriptions: Mapping[str, str]) -> Iterator[str]:
    schemas: Mapping[str, Any] = tool.tool.args or {}
    yield "The arguments of the tool:" if schemas else "The tool takes no arguments."
    for name, schema in schemas.items():
        description = descriptions.get(name, "")
        yield f"- `{name}` ({json_type(schema)})" + (f": {description}" if description else "")


def _is_users_own(program: dspy.Module) -> bool:
    return type(program).__module__.partition(".")[0] != "dspy"

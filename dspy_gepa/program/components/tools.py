"""Descriptions of tools and of their arguments, and instructions around a list of tools.

A description belongs to a `dspy.Tool`. Where DSPy has written it into an instruction as well, it
is rewritten in both, so that the model is told of it, and so that a saved program keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import dspy

from dspy_gepa.program.components.instructions import INSTRUCTION
from dspy_gepa.program.components.instructions import normalised as normal_instruction
from dspy_gepa.program.components.listings import Line, relisted, span_of, tool_line
from dspy_gepa.program.components.part import ComponentKind, Found, plain_text
from dspy_gepa.program.components.places import Place, places_of

__all__ = [
    "ARGUMENT",
    "TOOL",
    "TOOL_MARK",
    "ToldTool",
    "ToolUser",
    "around_tools",
    "sights_of",
    "told_tools",
]

TOOL_MARK = "{tools}"
"""Stands in an instruction for the list of tools, where the tools are components themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class ToolUser:
    """A predictor whose model is told of tools."""

    name: str
    predictor: dspy.Predict
    tools: Mapping[str, dspy.Tool]
    """By component name."""
    is_listed: bool
    """Whether they stand in its instruction; otherwise it is given them when it is called."""


@dataclass(frozen=True, slots=True, eq=False)
class ToldTool:
    """A tool that models are told of, with what they are told."""

    name: str
    """Where it is in the program, as in `tools['search']`."""
    tool: dspy.Tool
    owners: tuple[str, ...]
    """The components whose models are told of it."""
    listed_by: tuple[dspy.Predict, ...]
    """Those predictors whose instructions have a line about it."""
    tells_arguments: bool
    """Whether any model is told what is said about each argument."""

    @property
    def line(self) -> Line | None:
        """The line of the first instruction that lists it; None if it says what the tool says.

        They differ in a program that was loaded: its instructions are those that were saved, and
        its tools are new.
        """
        if not self.listed_by:
            return None
        line = tool_line(self.tool, str(self.listed_by[0].signature.instructions))
        return None if line is None or line.is_about(self.tool) else line

    @property
    def description(self) -> str:
        """What is said about the tool."""
        return self.tool.desc or "" if self.line is None else self.line.description

    @property
    def argument_descriptions(self) -> dict[str, str]:
        """What is said about each argument; empty if nothing is."""
        line = self.line
        descriptions = line.argument_descriptions if line is not None else None
        own = {
            name: str(schema.get("description", "")) for name, schema in _schemas(self.tool).items()
        }
        return own if descriptions is None else {name: descriptions.get(name, "") for name in own}

    @property
    def is_saved(self) -> bool:
        """Whether all that models are told of it stands in instructions, which DSPy saves."""
        return len(self.listed_by) == len(self.owners)

    def say(self, description: str, argument_descriptions: Mapping[str, str]) -> None:
        """Let tool and instructions say this."""
        # The tool may be changed first, because its lines are found by its name.
        self.tool.desc = description
        schemas = {name: dict(schema) for name, schema in _schemas(self.tool).items()}
        for name, words in argument_descriptions.items():
            schemas[name].pop("description", None)
            if words:
                schemas[name]["description"] = words
        self.tool.args = {**(self.tool.args or {}), **schemas}
        for predictor in self.listed_by:
            predictor.signature = relisted(predictor.signature, self.tool)


class _Argument(NamedTuple):
    tool: ToldTool
    name: str

    @property
    def is_saved(self) -> bool:
        return self.tool.is_saved


def sights_of(program: dspy.Module) -> tuple[ToolUser, ...]:
    """Each predictor that is told of tools, with the tools, as far as that can be seen.

    A predictor is told of a tool that its own module holds, or one around it, where its
    instruction has a line about it or where it has an input field for tools. A tool that no
    predictor is told of in these ways counts as told to the predictors beside it, if the module is
    the user's own: that may pass on descriptions in a way of its own. DSPy's own tools, which end
    a run of an agent, are among the tools here; `told_tools` leaves them out.
    """
    names = {id(each): name for name, each in program.named_predictors()}
    places = [
        (place, predictor)
        for place in places_of(program)
        for predictor in place.predictors
        if id(predictor) in names
    ]
    sights = []
    for place, predictor in places:
        tools = _in_scope(place)
        instruction = str(predictor.signature.instructions)
        listed = {path: each for path, each in tools.items() if tool_line(each, instruction)}
        if listed:
            sights.append(ToolUser(names[id(predictor)], predictor, listed, is_listed=True))
        elif tools and _takes_tools(predictor.signature):
            sights.append(ToolUser(names[id(predictor)], predictor, tools, is_listed=False))
    seen = {id(tool) for sight in sights for tool in sight.tools.values()}
    for place, predictor in places:
        left = {path: each for path, each in place.tools.items() if id(each) not in seen}
        if left and not place.is_dspys:
            sights.append(ToolUser(names[id(predictor)], predictor, left, is_listed=False))
    return tuple(sights)


def around_tools(sight: ToolUser) -> ComponentKind:
    """Instructions that have a list of tools, without it: `TOOL_MARK` stands in its place.

    The list follows from the tools' own components. A text without the mark gets it at its end, so
    that no tool is ever lost.
    """
    tools = tuple(sight.tools.values())

    def listed(predictor: Any) -> tuple[int, int]:
        span = span_of(tools, INSTRUCTION.read(predictor))
        assert span is not None
        return span

    def read(predictor: Any) -> str:
        text, (start, end) = INSTRUCTION.read(predictor), listed(predictor)
        return text[:start] + TOOL_MARK + text[end:]

    def write(component: str, predictor: Any, text: str) -> None:
        start, end = listed(predictor)
        block = INSTRUCTION.read(predictor)[start:end]
        INSTRUCTION.write(component, predictor, text.replace(TOOL_MARK, block, 1))

    def normalised(text: object) -> str:
        return _with_one_mark(normal_instruction(text), tools)

    return replace(INSTRUCTION, read=read, write=write, normalised=normalised)


def _with_one_mark(clean: str, tools: Iterable[dspy.Tool]) -> str:
    """The instruction with the mark in it once, on a line of its own."""
    for tool in tools:
        # If a reflection has copied a line, the tool would be listed twice, in old words for ever.
        while (line := tool_line(tool, clean)) is not None:
            clean = clean[: line.start] + TOOL_MARK + clean[line.end :]
    before, mark, after = clean.partition(TOOL_MARK)
    for repeated in (f"\n{TOOL_MARK}", TOOL_MARK):
        after = after.replace(repeated, "")
    before, after = before.rstrip(" \t"), after.strip(" \t")
    if not mark:
        return f"{clean}\n\n{TOOL_MARK}"
    if before and not before.endswith("\n"):
        before += "\n"
    if after and not after.startswith("\n"):
        after = f"\n{after}"
    return normal_instruction(before + TOOL_MARK + after)


def _in_scope(place: Place) -> dict[str, dspy.Tool]:
    """The tools that a predictor at this place may be told of; of two with one name the nearer."""
    tools: dict[str, tuple[str, dspy.Tool]] = {}
    for around in place.outwards:
        for path, tool in around.tools.items():
            tools.setdefault(str(tool.name), (path, tool))
    return dict(tools.values())


def _takes_tools(signature: Any) -> bool:
    return any(
        dspy.Tool in dspy.Tool.extract_custom_type_from_annotation(field.annotation)
        for field in signature.input_fields.values()
    )


def told_tools(program: dspy.Module) -> tuple[ToldTool, ...]:
    """The tools that models are told of, without those of DSPy that end a run of an agent."""
    sights = sights_of(program)
    tools: dict[int, ToldTool] = {}
    for sight in sights:
        for name, tool in sight.tools.items():
            if id(tool) not in tools and not _is_dspys(tool):
                tools[id(tool)] = _told(name, tool, sights)
    return tuple(tools.values())


def _told(name: str, tool: dspy.Tool, sights: tuple[ToolUser, ...]) -> ToldTool:
    tool_users = [sight for sight in sights if any(each is tool for each in sight.tools.values())]
    lines = [
        tool_line(tool, str(sight.predictor.signature.instructions))
        for sight in tool_users
        if sight.is_listed
    ]
    return ToldTool(
        name=name,
        tool=tool,
        owners=tuple(sight.name for sight in tool_users),
        listed_by=tuple(sight.predictor for sight in tool_users if sight.is_listed),
        tells_arguments=len(lines) < len(tool_users)
        or any(line is not None and line.shows_arguments for line in lines),
    )


def _is_dspys(tool: dspy.Tool) -> bool:
    """Whether it is `finish` of ReAct or `submit` of ReActV2."""
    return str(getattr(tool.func, "__module__", "")).startswith("dspy.predict.")


def _schemas(tool: dspy.Tool) -> dict[str, Mapping[str, Any]]:
    """Argument to its JSON schema."""
    return {
        name: schema for name, schema in (tool.args or {}).items() if isinstance(schema, Mapping)
    }


def _write_tool(_component: str, tool: ToldTool, text: str) -> None:
    tool.say(text, tool.argument_descriptions)


def _write_argument(_component: str, argument: _Argument, text: str) -> None:
    tool = argument.tool
    tool.say(tool.description, {**tool.argument_descriptions, argument.name: text})


TOOL = ComponentKind(
    name="tool description",
    find=lambda program: [Found(told.name, told, told.owners) for told in told_tools(program)],
    read=lambda told: told.description,
    write=_write_tool,
    normalised=plain_text,
    is_asked_about=False,
)
ARGUMENT = ComponentKind(
    name="argument description",
    find=lambda program: [
        Found(f"{told.name}.args.{name}", _Argument(told, name), told.owners)
        for told in told_tools(program)
        if told.tells_arguments
        for name in _schemas(told.tool)
    ],
    read=lambda argument: argument.tool.argument_descriptions[argument.name],
    write=_write_argument,
    normalised=plain_text,
    is_asked_about=False,
)

"""Lines of an instruction that tell a model of a tool, as DSPy writes them when an agent is made.

`dspy.ReAct` and `dspy.CodeAct` write a tool as `str` does, and `dspy.RLM` as a line of Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import dspy

__all__ = ["Line", "relisted", "span_of", "tool_line"]


@dataclass(frozen=True, slots=True)
class _Form:
    """A way in which tools are written."""

    pattern: str
    """A regular expression for a line; NAME stands for the tool's name."""
    written: Callable[[Any], str]
    shows_arguments: bool
    """Whether a line has what is said about each argument."""


def _as_python(tool: Any) -> str:
    arguments = (f"{name}: {each.get('type', 'Any')}" for name, each in (tool.args or {}).items())
    description = (tool.desc or "No description").replace("\n", "  ")
    return f"- `{tool.name}({', '.join(arguments)})` - {description}"


_FORMS = (
    _Form(
        r"^[^\w\n]*(?:\d+[^\w\n]+)?(?P<line>NAME(?:, whose description is <desc>(?P<desc>[^\n]*)"
        r"</desc>\.|\.) It takes arguments (?P<args>\{[^\n]*\})\.)$",
        str,
        shows_arguments=True,
    ),
    _Form(
        r"^ *(?P<line>- `NAME\((?P<args>[^\n]*)\)` - (?P<desc>[^\n]*))$",
        _as_python,
        shows_arguments=False,
    ),
)


@dataclass(frozen=True, slots=True)
class Line:
    """What an instruction says about a tool, and where."""

    text: str
    """Without the number before it."""
    start: int
    """Where its line begins in the instruction, number included."""
    end: int
    """Where it ends, and its text too."""
    description: str
    argument_descriptions: dict[str, str] | None
    """Argument to what is said about it; None if that is not said or cannot be read."""
    form: _Form

    @property
    def shows_arguments(self) -> bool:
        """Whether it has what is said about each argument."""
        return self.form.shows_arguments

    def is_about(self, tool: dspy.Tool) -> bool:
        """Whether it says just what the tool says; a loaded instruction may say something else."""
        return self.text.split() == self.form.written(tool).split()


def tool_line(tool: dspy.Tool, instruction: str) -> Line | None:
    """The first line about a tool of this name; None if there is none."""
    for form in _FORMS:
        pattern = form.pattern.replace("NAME", re.escape(str(tool.name)))
        if match := re.search(pattern, instruction, re.MULTILINE):
            return Line(
                text=match["line"],
                start=match.start(),
                end=match.end(),
                description=match["desc"] or "",
                argument_descriptions=_described(match["args"]) if form.shows_arguments else None,
                form=form,
            )
    return None


def span_of(tools: Iterable[dspy.Tool], instruction: str) -> tuple[int, int] | None:
    """Where the list of these tools begins and ends; None if none of them is listed."""
    lines = [line for tool in tools if (line := tool_line(tool, instruction)) is not None]
    if not lines:
        return None
    return min(line.start for line in lines), max(line.end for line in lines)


def relisted(signature: Any, tool: dspy.Tool) -> Any:
    """The signature with its line about this tool as the tool is now, and all else as it was.

    DSPy takes off indentation each time that it is given an instruction. That is why the line is
    exchanged in what the signature was made with, and not in what it says.
    """
    current = (signature.__doc__ or "").expandtabs()
    line = tool_line(tool, current)
    if line is None:
        return signature
    rewritten = signature.with_instructions(signature.instructions)
    start = line.end - len(line.text)
    rewritten.instructions = current[:start] + line.form.written(tool) + current[line.end :]
    return rewritten


def _described(arguments: str) -> dict[str, str] | None:
    try:
        schemas = ast.literal_eval(arguments)
    except (ValueError, SyntaxError):
        # A default value may be written in a form that is no Python literal.
        return None
    if not isinstance(schemas, dict):
        return None
    return {
        str(name): str(schema.get("description", ""))
        for name, schema in schemas.items()
        if isinstance(schema, dict)
    }

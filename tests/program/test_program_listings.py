"""Lines about tools, found in instructions and exchanged there."""

from __future__ import annotations

import dspy
import pytest
from tool_programs import forget, look_up

from dspy_gepa.program.components.listings import relisted, span_of, tool_line

TOOL = dspy.Tool(look_up, desc="Looks.")
OTHER = dspy.Tool(forget)
PYTHON = "- `look_up(query: string, most: integer)` - Looks."


@pytest.mark.parametrize("before", ["", "(1) ", "- ", "* ", "2. ", "[12] ", "   - "])
def test_a_line_is_found_however_it_is_counted(before):
    """And its number is part of the line, but not of what it says."""
    line = tool_line(TOOL, f"Use these:\n{before}{TOOL}\nNow.")
    assert line.text == str(TOOL)
    assert (line.start, line.end) == (11, 11 + len(before) + len(str(TOOL)))
    assert line.is_about(TOOL)
    assert line.shows_arguments


@pytest.mark.parametrize(
    "instruction",
    [
        "",
        "look_up",
        f"Use {TOOL}",
        f"{TOOL} Now.",
        f"re{TOOL}",
        "look_up. It takes arguments query.",
    ],
)
def test_what_is_no_line_of_its_own_is_none(instruction):
    """A tool may be spoken of anywhere."""
    assert tool_line(TOOL, instruction) is None


def test_a_line_says_what_the_model_is_told():
    """Which need not be what the tool says."""
    told = dspy.Tool(look_up, desc="Finds </desc>.", arg_desc={"query": 'It\'s a "title"\n.'})
    line = tool_line(TOOL, str(told))
    assert line.description == "Finds </desc>."
    assert line.argument_descriptions == {"query": 'It\'s a "title"\n.', "most": ""}
    assert not line.is_about(TOOL)
    assert line.is_about(told)


@pytest.mark.parametrize("written", ["{'most': <object at 0x1>}", "{1, 2}", "{'a': 1"])
def test_arguments_that_cannot_be_read_say_nothing(written):
    """A default value may be written as no value is."""
    line = tool_line(TOOL, f"look_up. It takes arguments {written.rstrip('}')}}}.")
    assert not line.argument_descriptions


def test_a_line_of_python_says_nothing_about_arguments():
    """As RLM writes it."""
    line = tool_line(TOOL, f"Tools:\n{PYTHON}")
    assert (line.text, line.description, line.argument_descriptions) == (PYTHON, "Looks.", None)
    assert line.is_about(TOOL)
    assert not line.shows_arguments


def test_a_list_goes_from_its_first_line_to_its_last():
    """Tools that are not listed do not matter."""
    text = f"Use:\n(1) {OTHER}\n(2) {TOOL}\nNow."
    start, end = span_of([TOOL, OTHER, dspy.Tool(forget, name="no")], text)
    assert text[start:end] == f"(1) {OTHER}\n(2) {TOOL}"
    assert span_of([TOOL], "Now.") is None


@pytest.mark.parametrize("old", [str(TOOL), PYTHON])
def test_a_line_is_exchanged_and_nothing_else(old):
    """What looks like it stays, and so does all the rest."""
    text = f"Do:\n  - re{old}\n  {old}\n  Now."
    signature = dspy.Signature("a -> b", text)
    new = dspy.Tool(look_up, desc="Finds.\nMuch.")
    said = relisted(signature, new).instructions
    assert (
        said
        == dspy.Signature(
            "a -> b", text.replace(f"\n  {old}", f"\n  {line(new, old)}")
        ).instructions
    )
    assert signature.instructions == dspy.Signature("a -> b", text).instructions


def line(tool, like):
    """A tool in the form that this line has."""
    return PYTHON.replace("Looks.", "Finds.  Much.") if like == PYTHON else str(tool)


def test_without_a_line_nothing_is_exchanged():
    """The signature is the very same."""
    signature = dspy.Signature("a -> b")
    assert relisted(signature, TOOL) is signature

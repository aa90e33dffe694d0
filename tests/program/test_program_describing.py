"""What the reflection LM is told about a program and a component's place in it."""

from __future__ import annotations

import enum
from typing import Literal

import dspy
import pydantic
from test_program_program import Program
from tool_programs import Desk, agent

from dspy_gepa.program.components.describing import describe
from dspy_gepa.program.components.kinds import KINDS, kinds_for
from dspy_gepa.program.program import build, components_of

TOOLS = kinds_for(["instructions", "tools"])


def test_a_description_names_program_and_fields_but_not_the_instruction():
    """The reflection prompt shows the instruction elsewhere."""
    described = describe(Program())
    assert list(described) == list(components_of(Program()))
    assert described["by_name['final']"] == (
        "The program is Program. Answers in several hops.\n"
        "Its components, in the order in which it holds them:\n"
        "- hops[0].search.predict: question -> reasoning, query\n"
        "- hops[1].search.predict: question -> reasoning, query\n"
        "- by_name['final']: question -> answer\n"
        "This component: by_name['final'].\n"
        "Its input fields:\n1. `question`: anything at all\n"
        "Its output fields:\n1. `answer` (Literal['yes', 'no'])"
    )


def test_dspys_own_documentation_is_not_described():
    """How to use ChainOfThought in Python says nothing about the task."""
    assert describe(dspy.ChainOfThought("question -> answer: bool"))["predict"].startswith(
        "Its input fields:\n1. `question`\n"
    )


def test_fields_of_which_only_the_names_are_known_are_not_described():
    """The examples show them, and every word beside the point costs a small model its thread."""
    assert describe(dspy.ChainOfThought("question -> answer")) == {"predict": ""}
    told = dspy.Signature("question -> answer").with_updated_fields("answer", desc="one word")
    assert "1. `reasoning`\n2. `answer`: one word" in describe(dspy.ChainOfThought(told))["predict"]
    bounded = {"n": (str, dspy.InputField(max_length=3)), "m": (str, dspy.OutputField())}
    assert "1. `n`" in describe(dspy.Predict(dspy.Signature(bounded)))["self"]


def test_a_component_knows_its_neighbours():
    """Where its inputs come from and its outputs go to, as far as names say so."""
    described = describe(Desk())
    assert described["writer.predict"].endswith(
        "By its name, `facts` is what clerk.extract.predict wrote."
    )
    assert described["clerk.extract.predict"].endswith(
        "By its name, `facts` is then read by writer.predict."
    )


def test_many_neighbours_are_counted():
    """So that a description stays short in a large program."""

    class Large(dspy.Module):
        def __init__(self):
            super().__init__()
            self.drafts = [dspy.Predict("question -> draft") for _ in range(30)]
            self.final = dspy.Predict("draft -> answer")

    said = describe(Large())["final"]
    assert "\n- and 11 more\n" in said
    assert "`draft` is what drafts[0] and drafts[1] and drafts[2] and 27 more wrote." in said


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Item(pydantic.BaseModel):
    """A thing."""

    name: str = pydantic.Field(description="as  printed")
    colour: Colour


class Order(pydantic.BaseModel):
    items: list[Item]
    urgent: bool = False
    parent: Order | None = None


def test_types_are_explained():
    """Choices of an enumeration and fields of a model, also where they are within others."""

    class Read(dspy.Signature):
        """Read the order."""

        letter: str = dspy.InputField()
        order: list[Order] = dspy.OutputField()
        kind: Literal["new", "old"] | None = dspy.OutputField()

    said = describe(dspy.Predict(Read))["self"]
    assert "1. `order` (list[Order])" in said
    assert "'new', 'old'" in said
    assert "\nOrder has items: list[Item]; urgent: bool; parent: " in said
    assert "\nItem has name: str (as printed); colour: Colour." in said
    assert said.endswith("\nColour is one of 'r', 'b'.")


def test_large_types_are_cut():
    """A schema must not take the room of the examples."""
    numbers = enum.Enum("Numbers", {f"N{n}": n for n in range(100)})
    signature = dspy.Signature({"a": (str, dspy.InputField()), "b": (numbers, dspy.OutputField())})
    assert describe(dspy.Predict(signature))["self"].endswith("11, and 88 more.")


def test_an_agent_that_lists_its_tools_itself_is_not_told_of_them_again():
    """By default its instruction has the whole list."""
    assert "Its tools:" not in describe(agent())["react"]


def test_an_instruction_around_tools_is_told_of_them():
    """And of the mark that stands for them."""
    said = describe(agent(), TOOLS)["react"]
    assert (
        "Its tools:\n"
        "- look_up(query: string, most: integer = 3): Looks it up. Returns lines.\n"
        "- forget(topic: string): Forgets it.\n"
    ) in said
    assert "{tools} stands for the list of its tools" in said
    assert "Its tools:" not in describe(agent(), TOOLS)["extract.predict"]


def test_a_tool_is_described_by_who_calls_it_and_its_arguments():
    """Its own text is shown elsewhere, and so is that of an argument."""
    described = describe(agent(), TOOLS)
    assert described["tools['look_up']"].endswith(
        "This component: tools['look_up'], which says what the tool `look_up` is for and when to "
        "call it. The tool may be called by react.\n"
        "The arguments of the tool:\n- `query` (string)\n- `most` (integer = 3)"
    )
    # Python 3.13 takes the indentation out of docstrings.
    said = described["tools['look_up'].args.query"].replace("\n    Returns", "\nReturns")
    assert said.endswith(
        "This component: tools['look_up'].args.query, which says what the argument `query` of the "
        "tool `look_up` must be. The tool may be called by react.\n"
        "What is said about the tool: Looks it up.\nReturns lines.\n"
        "The arguments of the tool:\n- `query` (string): (the current text)\n- `most` (integer = 3)"
    )


def test_a_tool_without_arguments_says_so():
    """And one whose arguments are anything, or one of several."""

    def ping() -> str:
        """Pings."""
        return "pong"

    def pick(what: Literal["a", "b"], where: list[int] | None, item: Item, rest) -> str:
        """Picks."""
        return what

    described = describe(dspy.ReAct("question -> answer", tools=[ping, pick]), TOOLS)
    assert described["tools['ping']"].endswith("The tool takes no arguments.")
    assert described["tools['pick']"].endswith(
        "- `what` ('a' or 'b')\n- `where` (array of integer or null)\n"
        "- `item` (object with name, colour): A thing.\n- `rest` (anything)"
    )


def test_a_field_is_described_by_its_step():
    """With the step's instruction, which stands beside it, and the other fields."""
    said = describe(Program(), KINDS)["by_name['final'].fields.question"]
    assert said.endswith(
        "This component: by_name['final'].fields.question, which says what the input field "
        "`question` of by_name['final'] is.\n"
        "What by_name['final'] is told to do:\nAnswer the question:\n  - in one word\n"
        "  - in lower case\n"
        "Its input fields:\n1. `question`: (the current text)\n"
        "Its output fields:\n1. `answer` (Literal['yes', 'no'])"
    )


def test_a_long_instruction_is_cut_where_a_field_is_described():
    """It is context there, and no more."""
    built = build(dspy.Predict("question -> answer"), {"self": "x" * 5_000})
    said = describe(built, KINDS)["self.fields.answer"]
    assert f"\n{'x' * 1_200}...\n" in said


def test_what_is_described_is_the_program_that_is_given():
    """Described as a candidate, it says what the candidate says."""
    student = agent()
    built = build(student, {"tools['look_up']": "Finds books."})
    assert "Finds books." in describe(built, TOOLS)["react"]
    assert "Looks it up." in describe(student, TOOLS)["react"]

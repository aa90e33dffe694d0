"""The texts of instructions and of code, taken out of a program and put into copies of it."""

from __future__ import annotations

import dspy
import pytest
from flex_programs import BASELINE, BROKEN, SHOUTING, Both, flex
from tool_programs import agent
from warm_python import FORGET

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import SettingsError
from dspy_gepa.program.components.kinds import (
    ARGUMENT,
    CODE,
    DEFAULT_KINDS,
    FIELD,
    INSTRUCTION,
    KINDS,
    KINDS_BY_OPTION,
    TOOL,
    UnboundCode,
    kinds_for,
    kinds_in,
    owners_of,
    parts_of,
)
from dspy_gepa.program.program import build, components_of, describe


class Nested(dspy.Module):
    """Holds code in the ways in which a program can hold modules."""

    def __init__(self):
        super().__init__()
        self.both = Both()
        self.hops = [flex(), dspy.ChainOfThought("question -> answer")]
        self.again = self.hops[0]


def test_code_is_a_component_beside_the_instructions():
    """Instructions first, as in dspy.GEPA; one that is reached twice is one component."""
    found = {name: part.kind for name, part in parts_of(Nested()).items()}
    assert list(found.items()) == [
        ("both.draft", INSTRUCTION),
        ("hops[1].predict", INSTRUCTION),
        ("both.code", CODE),
        ("hops[0]", CODE),
    ]


def test_a_module_of_code_alone_is_one_component():
    """Under the name that DSPy gives it."""
    assert components_of(flex()) == Candidate((("self", BASELINE),))


@pytest.mark.parametrize(
    "text",
    [
        SHOUTING,
        f"\n\n{SHOUTING}\n\n   ",
        'class Code(dspy.Module):\n\tdef forward(self):\n\t\treturn """\n  a\n\n    b  \n"""',
        "# “ja”\r\nclass Code(dspy.Module):\r\n    pass\r\n",
    ],
)
def test_a_program_says_a_source_to_the_character(text):
    """Every space of a source may matter, so that none is touched."""
    student = Both()
    candidate = components_of(student).rewritten({"code": text})
    built = build(student, candidate)
    assert components_of(built) == candidate
    assert built.code.module_src == text
    assert components_of(student)["code"] == BASELINE


def test_texts_of_both_kinds_are_built_together():
    """Each into the module that holds it."""
    built = build(Both(), {"draft": "  Draft.\n", "code": SHOUTING})
    assert built.draft.signature.instructions == "Draft."
    assert built.code.module_src == SHOUTING


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BROKEN, r"SyntaxError in line 1: .*: class Code\(dspy\.Module:$"),
        ("x = 1", "must define a dspy.Module subclass"),
        ("class Code:\x00 pass", "null bytes"),
        ("(" * 5000 + ")" * 5000, "Error"),
    ],
)
def test_a_source_that_is_none_is_told_apart(text, problem):
    """Whatever is wrong with it, the error names the component and says what."""
    with pytest.raises(UnboundCode, match=problem) as caught:
        build(Both(), {"code": text})
    assert caught.value.component == "code"
    assert str(caught.value).startswith("The source of code cannot be bound: ")


@pytest.mark.parametrize(
    ("text", "problem"), [(" \n", "empty"), ("\udc00", "sent"), (None, "text")]
)
def test_a_source_that_could_not_be_saved_is_refused(text, problem):
    """An empty source would not load, and neither would a lone surrogate."""
    with pytest.raises(SettingsError, match=problem):
        build(Both(), {"code": text})


def test_code_is_described_by_its_fields():
    """As an instruction is, and each knows of the others."""
    said = describe(Both())
    assert list(said) == ["draft", "code"]
    assert "- draft: question -> " in said["code"]
    assert "- code: question -> " in said["draft"]
    assert "`question`" in said["code"]


def test_what_runs_the_code_is_shared_with_copies():
    """Tools and interpreter of a copy are those of the student."""

    def tool(question: str) -> str:
        """Helps."""
        return question

    student = flex(tools=[tool])
    built = build(student, {"self": SHOUTING})
    assert built._flex_ctx.tools == [tool]
    assert built._interpreter_factory is student._interpreter_factory


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (["instructions", "code"], DEFAULT_KINDS),
        (["fields", "instructions"], (INSTRUCTION, FIELD)),
        ("tools", (TOOL, ARGUMENT)),
        (tuple(KINDS_BY_OPTION), KINDS),
        (["code", "code"], (CODE,)),
    ],
)
def test_kinds_are_chosen_by_words(options, kinds):
    """In the order in which their components stand in a candidate."""
    assert kinds_for(options) == kinds


@pytest.mark.parametrize("options", [["demos"], [], "instruction", ["tools", None]])
def test_unknown_words_are_refused(options):
    """The error lists those that there are."""
    with pytest.raises(SettingsError, match=r"'instructions', 'code', 'tools', 'fields'"):
        kinds_for(options)


@pytest.mark.parametrize("kinds", [KINDS, DEFAULT_KINDS, (FIELD,), (TOOL, ARGUMENT), (CODE, FIELD)])
def test_a_candidate_says_of_which_kinds_it_is(kinds):
    """So that a program can be built from it without knowing the run that it is from."""
    student = Nested()
    student.agent = agent()
    candidate = components_of(student, kinds)
    assert kinds_in(student, [*candidate, "other"]) == kinds
    assert components_of(build(student, candidate), kinds) == candidate


def test_what_is_called_itself_has_no_owner():
    """Instructions and code are called; all else is said to somebody who is."""
    parts = parts_of(Both(), KINDS)
    assert [name for name, part in parts.items() if not part.owners] == ["draft", "code"]
    assert owners_of(parts)["draft.fields.question"] == ("draft",)


def test_without_flex_nothing_is_code(warm_python):
    """A DSPy that lacks any part of it is optimized as ever."""
    script = f"""{FORGET}
import dspy
sys.modules["dspy.teleprompt.gepa.gepa_flex_utils"] = None
from dspy_gepa import GEPA
from dspy_gepa.program.program import components_of
from dspy_gepa.program.components.flex import CODE_MODULES, task_context
program = dspy.ChainOfThought("question -> answer")
assert (CODE_MODULES, task_context(program)) == ((), ({{}}, {{}}))
print(list(components_of(program)))
"""
    done = warm_python.run(script)
    assert (done.stdout.strip(), done.returncode) == ("['predict']", 0), done.stderr

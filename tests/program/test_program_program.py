"""Texts out of a program and into a copy of it."""

from __future__ import annotations

import inspect
from typing import Literal

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_ids import stable_id

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.program.components.kinds import normalised
from dspy_gepa.program.program import build, components_of


class Answer(dspy.Signature):
    """
    Answer the question:
      - in one word
      - in lower case
    """

    question: str = dspy.InputField(desc="anything at all")
    answer: Literal["yes", "no"] = dspy.OutputField()


class Hop(dspy.Module):
    """Finds one more fact."""

    def __init__(self):
        super().__init__()
        self.search = dspy.ChainOfThought("question -> query", temperature=0.5)
        self.frozen = dspy.ChainOfThought("query -> fact")
        self.frozen._compiled = True

    def forward(self, question):
        return self.frozen(query=self.search(question=question).query)


class Program(dspy.Module):
    """Answers in several hops."""

    def __init__(self):
        super().__init__()
        self.hops = [Hop(), Hop()]
        self.by_name = {"final": dspy.Predict(Answer), "again": None}
        self.by_name["again"] = self.by_name["final"]
        self.last = self.by_name["final"]

    def forward(self, question):
        return self.last(question=question)


def plain_tool(query: str) -> str:
    """Looks it up."""
    return query


HOP = "Given the fields `question`, produce the fields `query`."
ANSWER = inspect.cleandoc(Answer.__doc__)


def test_components_are_the_predictors_in_order():
    """Lists and dicts are searched; what is frozen is left out, and what is shared named once."""
    assert components_of(Program()) == Candidate(
        (
            ("hops[0].search.predict", HOP),
            ("hops[1].search.predict", HOP),
            ("by_name['final']", ANSWER),
        )
    )


def test_a_predictor_alone_is_a_program():
    """Its one component is called self, as DSPy calls it."""
    assert list(components_of(dspy.Predict(Answer)).items()) == [("self", ANSWER)]
    built = build(dspy.Predict(Answer), {"self": "Say no."})
    assert built.signature.instructions == "Say no."


def test_an_agent_has_two_components():
    """ReAct is improved where it acts and where it concludes."""
    assert list(components_of(dspy.ReAct("question -> answer", tools=[plain_tool]))) == [
        "react",
        "extract.predict",
    ]


@pytest.mark.parametrize("given", [None, "program", Program, plain_tool, 3], ids=stable_id)
def test_what_is_no_program_is_refused(given):
    """The error shows what was given and says what is needed."""
    with pytest.raises(WrongType, match=r"dspy.Module instance is needed"):
        components_of(given)


def test_a_program_without_predictors_is_refused():
    """The error names the class and says what to do."""

    class Empty(dspy.Module):
        pass

    with pytest.raises(SettingsError, match=r"Empty has no predictor.*_compiled"):
        components_of(Empty())


def test_building_changes_the_copy_only():
    """The student, its predictors and its signature classes stay as they were."""
    student = Program()
    before = components_of(student)
    candidate = before.rewritten(
        {"hops[1].search.predict": "Search well.", "by_name['final']": "No."}
    )
    built = build(student, candidate)
    assert components_of(built) == candidate
    assert components_of(student) == before
    assert student.last.signature is Answer
    assert built.last is built.by_name["final"] is built.by_name["again"]
    assert built.last is not student.last


def test_fields_survive_new_instructions():
    """Names, types and descriptions of the fields are those of the student."""
    built = build(dspy.Predict(Answer), {"self": "Say no."})
    assert built.signature.output_fields["answer"].annotation == Literal["yes", "no"]
    assert built.signature.input_fields["question"].json_schema_extra["desc"] == "anything at all"


def test_the_seed_is_the_student_to_the_character():
    """DSPy takes indentation off again at each rewrite; an unchanged text is not rewritten."""
    student = Program()
    built = build(student, components_of(student))
    assert built.last.signature is Answer
    assert components_of(built) == components_of(student)
    assert Answer.with_instructions(ANSWER).instructions != ANSWER


def test_a_component_that_does_not_exist_is_refused():
    """The error names it and those that exist."""
    with pytest.raises(SettingsError, match=r"\['other'\].*\['self'\]"):
        build(dspy.Predict(Answer), {"other": "text"})


@pytest.mark.parametrize("is_compiled", [True, False])
def test_compiled_stays_as_it_was(is_compiled):
    """A program that counts as compiled would be frozen in a parent, so that is not ours to say."""
    student = Program()
    student._compiled = is_compiled
    assert build(student, components_of(student))._compiled is is_compiled


def test_nothing_of_ours_is_on_the_built_program():
    """Its attributes, and the classes of all that it holds, are the student's."""
    student = Program()
    built = build(student, {"by_name['final']": "No."})
    assert vars(built).keys() == vars(student).keys()
    kinds = {type(module).__module__ for _, module in built.named_sub_modules()}
    assert not [kind for kind in kinds if kind.startswith("dspy_gepa")]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Say no.", "Say no."),
        ("  Say no.  \n\n", "Say no."),
        ("Say\n    no.", "Say\nno."),
        ("\n  Say:\n    no.", "Say:\nno."),
        ("Say:\n- no\n  - never", "Say:\n- no\n  - never"),
        ("a\tb", "a       b"),
    ],
)
def test_normal_texts(text, normal):
    """A text becomes what DSPy makes of it in the end."""
    assert normalised(text) == normal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("a\ud800b", "surrogates"),
        (None, "NoneType"),
        (["a"], "list"),
    ],
)
def test_unusable_texts_are_refused_with_the_reason(text, reason):
    """DSPy would put a default in place of an empty text, and fails on a lone surrogate."""
    with pytest.raises(SettingsError, match=reason):
        normalised(text)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8")).filter(str.strip))
def test_a_normal_text_is_what_the_program_says(text):
    """Built, read back and built again, it stays the same to the character."""
    try:
        normal = normalised(text)
    except SettingsError:
        return
    built = build(dspy.Predict("question -> answer"), {"self": normal})
    assert components_of(built)["self"] == normal == normalised(normal)
    built.load_state(built.dump_state())
    assert components_of(built)["self"] == normal

"""Descriptions of fields as components: what models are told of, and what is saved."""

from __future__ import annotations

import inspect
from typing import Literal

import dspy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tool_programs import Desk, agent, asked

from dspy_gepa.errors import SettingsError
from dspy_gepa.program.components.kinds import KINDS, kinds_for, owners_of, parts_of, unsaved
from dspy_gepa.program.program import build, components_of

FIELDS = kinds_for(["instructions", "fields"])


class Answer(dspy.Signature):
    """
    Answer:
      - in one word
    """

    question: str = dspy.InputField(desc="anything at all")
    answer: Literal["yes", "no"] = dspy.OutputField()


def test_fields_are_components_where_they_are_asked_for():
    """Inputs, then outputs; nothing is the text of a field about which nothing is said."""
    assert list(components_of(dspy.Predict(Answer))) == ["self"]
    assert list(components_of(dspy.Predict(Answer), FIELDS).items()) == [
        ("self", inspect.cleandoc(Answer.__doc__)),
        ("self.fields.question", "anything at all"),
        ("self.fields.answer", ""),
    ]


def test_fields_that_dspy_adds_are_no_components():
    """They are how its modules work, and not what the user's program is about."""
    assert list(components_of(Desk(), kinds_for(["fields"]))) == [
        "clerk.react.fields.letter",
        "clerk.extract.predict.fields.letter",
        "clerk.extract.predict.fields.facts",
        "writer.predict.fields.letter",
        "writer.predict.fields.facts",
        "writer.predict.fields.reply",
    ]


def test_a_users_own_fields_may_be_called_as_dspys():
    """Where no module of DSPy has added them."""
    program = dspy.Predict("reasoning, trajectory -> answer")
    assert list(components_of(program, kinds_for(["fields"]))) == [
        "self.fields.reasoning",
        "self.fields.trajectory",
        "self.fields.answer",
    ]


def test_tools_and_histories_are_not_described_in_words():
    """An adapter may pass them on as they are, without a word about the field."""
    program = dspy.Predict("question, history: dspy.History, tools: list[dspy.Tool] -> answer")
    assert list(components_of(program, kinds_for(["fields"]))) == [
        "self.fields.question",
        "self.fields.answer",
    ]


def test_the_model_is_told_what_was_rewritten():
    """Of inputs and of outputs, and the types stay."""
    student = dspy.Predict(Answer)
    texts = {"self.fields.question": "A yes-no question.", "self.fields.answer": "In doubt no."}
    built = build(student, texts)
    (prompt,) = asked(built, question="q")
    assert "1. `question` (str): A yes-no question." in prompt
    assert "1. `answer` (Literal['yes', 'no']): In doubt no." in prompt
    assert "anything at all" not in prompt
    assert built.signature.output_fields["answer"].annotation == Literal["yes", "no"]


def test_the_student_is_not_changed():
    """Neither its signature nor that of the user's class."""
    student = dspy.Predict(Answer)
    build(student, {"self.fields.question": "A yes-no question."})
    assert student.signature is Answer
    assert components_of(student, FIELDS)["self.fields.question"] == "anything at all"


def test_an_instruction_stays_to_the_character_when_a_field_is_rewritten():
    """DSPy takes off indentation again at each rewrite."""
    built = build(dspy.Predict(Answer), {"self.fields.answer": "In doubt no."})
    assert built.signature.instructions == Answer.instructions == "Answer:\n  - in one word"


def test_fields_and_instruction_are_rewritten_together():
    """In whatever order."""
    texts = {"self.fields.answer": "In doubt no.", "self": "Say it.", "self.fields.question": "Q."}
    built = build(dspy.Predict(Answer), texts)
    assert {**components_of(built, FIELDS)} == texts


def test_a_saved_program_keeps_its_fields_descriptions(tmp_path):
    """Plain DSPy loads them into a new program, and the model is told the same."""
    names = components_of(Desk(), FIELDS)
    built = build(Desk(), {name: f"About {name}." for name in names})
    assert unsaved(parts_of(built, FIELDS)) == ()
    built.save(str(tmp_path / "desk.json"))
    loaded = Desk()
    loaded.load(str(tmp_path / "desk.json"))
    assert components_of(loaded, FIELDS) == components_of(built, FIELDS)
    prompts = asked(loaded, letter="Dear all")
    assert prompts == asked(built, letter="Dear all")
    assert any("About writer.predict.fields.reply." in prompt for prompt in prompts)


def test_the_calls_of_a_field_are_those_of_its_predictor():
    """Each field has one."""
    assert owners_of(parts_of(agent(), FIELDS)) == {
        "react.fields.question": ("react",),
        "extract.predict.fields.question": ("extract.predict",),
        "extract.predict.fields.answer": ("extract.predict",),
    }


def test_unknown_fields_are_refused():
    """The error names them."""
    with pytest.raises(SettingsError, match=r"self\.fields\.other"):
        build(dspy.Predict(Answer), {"self.fields.answer": "x", "self.fields.other": "x"})


PREDICT = dspy.Predict(Answer)


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
@example("${answer}")
@example("${question}")
@example(" \n")
def test_a_normal_description_is_what_the_program_says(text):
    """Built, read back and built again, and saved and loaded, it stays the same."""
    part = parts_of(PREDICT, KINDS)["self.fields.answer"]
    normal = part.kind.normalised(text)
    assert part.kind.normalised(normal) == normal
    built = build(PREDICT, {"self.fields.answer": normal})
    assert components_of(built, FIELDS)["self.fields.answer"] == normal
    loaded = dspy.Predict(Answer)
    loaded.load_state(built.dump_state())
    assert components_of(loaded, FIELDS)["self.fields.answer"] == normal

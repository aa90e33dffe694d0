"""Texts of others' reflections: taken as a program says them, or refused with the reason."""

from __future__ import annotations

import dspy
from flex_programs import BROKEN, Both, runs_code
from small_worker import Program

from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest, faults_in_words
from dspy_gepa.program.components.kinds import parts_of
from dspy_gepa.program.program import components_of
from dspy_gepa.program.proposers.reflection import Ruled
from dspy_gepa.reflect.rules import Rules


def ruled(student, texts, *, components, frozen=(), **more):
    """The answer with these texts to a request about these components."""
    parts = parts_of(student)
    rules = Rules(
        frozen={"*": frozen},
        normalised=lambda component, text: parts[component].kind.normalised(text),
    )

    def reflect(request, descriptions, feedback):
        return ReflectionAnswer(request.ticket, texts, **more)

    request = ReflectionRequest(7, components_of(student), components, ())
    return Ruled(reflect, rules)(request, {}, {})


def test_texts_come_back_as_a_program_would_say_them():
    """Normal texts, with the count of the reflection's calls."""
    texts = {"final": "\n  Say it:\n    again. \n"}
    said = ruled(Program(), texts, components=("final",), lm_calls=2)
    assert said == ReflectionAnswer(7, {"final": "Say it:\nagain."}, lm_calls=2)


def test_a_text_that_is_kept_is_not_touched():
    """The seed's own text may have indentation that DSPy would take off."""
    student = dspy.Predict(dspy.Signature("question -> answer", "\nSay:\n  a\n  b"))
    seed = dict(components_of(student))
    assert seed == {"self": "Say:\n  a\n  b"}
    for same in (seed["self"], f"{seed['self']}\n", "Say:\na\nb"):
        assert ruled(student, {"self": same}, components=("self",)).texts == seed


def test_unusable_texts_are_part_of_the_problem():
    """The others are used, and what the reflection itself complained of is kept."""
    texts = {"draft": "Say it.", "final": " ", "other": "text"}
    said = ruled(Program(), texts, components=("draft", "final"), problem="was in a hurry")
    assert said.texts == {"draft": "Say it."}
    assert faults_in_words(said.shortfalls) == (
        "was in a hurry; final: the text cannot be used: the text is empty, and DSPy would put "
        "its default in place of it; other: it was not to be rewritten"
    )


def test_what_is_no_text_is_refused():
    """Whatever it is."""
    said = ruled(Program(), {"final": 5}, components=("final",))
    assert said.texts == {}
    assert faults_in_words(said.faults).endswith("an instruction is text, and this is a int")


def test_a_fixed_part_stays_in_the_text_that_is_used():
    """Not only in the text that came, of which DSPy takes off the indentation."""
    student = dspy.Predict(dspy.Signature("question -> answer", "Say:\n  a\nEnd."))
    for text, is_taken in (("Do:\n  a\nEnd.", True), ("Do:\n  a\n  End.", False)):
        said = ruled(student, {"self": text}, components=("self",), frozen=["  a"])
        assert said.texts == ({"self": text} if is_taken else {})
        assert ("fixed part" in faults_in_words(said.faults)) != is_taken


@runs_code
def test_sources_come_back_as_they_are():
    """Instructions are normalised, sources are not; an empty one cannot be used."""
    texts = {"draft": " Draft.\n", "code": f"\n{BROKEN}\n"}
    said = ruled(Both(), texts, components=("draft", "code"))
    assert said.texts == {"draft": "Draft.", "code": f"\n{BROKEN}\n"}
    said = ruled(Both(), {"code": " "}, components=("code",))
    assert "code: the text cannot be used: the source is empty" in faults_in_words(said.faults)

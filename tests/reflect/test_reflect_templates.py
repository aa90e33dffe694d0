"""Placeholders are filled once and literally; wrong ones are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.reflect.templates import (
    CLOSING_MARK,
    DEFAULT_TEMPLATE,
    OPENING_MARK,
    OWN_WORDS,
    Template,
    repair_note,
)

LITERALS = [
    "{{instruction}}",
    "{{examples}} {{description}}",
    "<side_info> <curr_param>",
    "```json\n{}\n```",
    "[[ ## answer ## ]]",
    "{0} {name} %s $x \\1 \\g<0>",
]
texts = st.one_of(st.text(), st.sampled_from(LITERALS))


@given(texts, texts, texts)
def test_what_is_filled_in_is_never_interpreted(description, instruction, examples):
    """Every text stands in the prompt exactly as given, whatever it contains."""
    filled = Template("A{{description}}B{{instruction}}C{{ examples }}D").filled(
        description=description, instruction=instruction, examples=examples
    )
    assert filled == f"A{description}B{instruction}C{examples}D"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{{instruction}}", "missing placeholders: {{examples}}"),
        ("", "missing placeholders: {{instruction}}, {{examples}}"),
        ("{{instruction}} {{examples}} {{side_info}}", "unknown placeholders: {{side_info}}"),
        ("{{instruction}} {{examples}} {{examples}}", "repeated placeholders: {{examples}}"),
    ],
)
def test_wrong_placeholders_are_refused_with_the_right_ones(text, complaint):
    """The error says what is wrong with the placeholders and which ones there are."""
    with pytest.raises(SettingsError) as caught:
        Template(text)
    assert complaint in str(caught.value)
    assert "{{description}} (what the component is for" in str(caught.value)


def test_the_request_stands_last_and_shows_the_form():
    """The default prompt ends with the form of the answer."""
    prompt = DEFAULT_TEMPLATE.filled(instruction="I", description="D\n", examples="E")
    assert prompt.endswith(f"{OPENING_MARK}\n(the complete new instruction)\n{CLOSING_MARK}\n")
    assert prompt.index("\nI\n") < prompt.index("\nD") < prompt.index("\nE\n")


def test_the_repair_note_names_the_problem_and_the_form():
    """A repair asks again with the problem and both marks."""
    note = repair_note("it is empty")
    assert "it is empty." in note
    assert OPENING_MARK in note
    assert CLOSING_MARK in note


def test_own_words_are_sentences_without_anything_filled_in():
    """What counts as leaked is long and ours alone."""
    assert len(set(OWN_WORDS)) == len(OWN_WORDS) >= 5
    assert all(len(words) > 30 and "{" not in words for words in OWN_WORDS)


def test_what_a_user_gave_is_never_lost():
    """Where a template has no place for references, guidance and limits, they are appended."""
    filled = Template("{{instruction}} {{limits}} {{examples}}.").filled(
        instruction="I", examples="E", references="R", guidance="G", limits="L"
    )
    assert filled == "I L E.RG"


@pytest.mark.parametrize(
    "names", [("curr_param", "side_info"), ("curr_instructions", "inputs_outputs_feedback")]
)
def test_templates_of_the_gepa_package_can_be_used(names):
    """Their placeholders stand for ours where there are none of ours."""
    current, examples = names
    template = Template(f"Given <{current}>, see <{examples}>.")
    assert template.filled(instruction="<side_info>", examples="E") == "Given <side_info>, see E."
    with pytest.raises(SettingsError, match=re.escape("missing placeholders: {{examples}}")):
        Template(f"Given <{current}>.")
    ours = Template("{{instruction}} {{examples}} <side_info>")
    assert ours.filled(instruction="I", examples="E") == "I E <side_info>"


def test_a_template_is_a_text():
    """Anything else is refused by name."""
    with pytest.raises(WrongType, match="The reflection template is 3"):
        Template(3)

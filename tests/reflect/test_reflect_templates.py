"""Placeholders are filled once and literally; wrong ones are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.reflect.form import Form
from dspy_gepa.reflect.templates import (
    ADDITION,
    DIAGNOSIS,
    PLACEHOLDERS,
    TRANSCRIPTION,
    Template,
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


@pytest.mark.parametrize("template", [DIAGNOSIS, TRANSCRIPTION, ADDITION], ids=range(3))
def test_the_request_stands_after_what_it_is_about_and_the_form_last(template):
    """In all of our templates, each of which has a place for whatever a user may give."""
    given = {name: f"[{name}]" for name in PLACEHOLDERS}
    prompt = template.filled(**given)
    assert prompt.endswith("\n\n[form]\n")
    assert prompt.index("[instruction]") < prompt.index("[examples]") < prompt.index("[form]")
    for name in ("description", "references", "guidance", "limits"):
        assert prompt.count(f"[{name}]") == 1
    assert ("[lessons]" in prompt) == (template is DIAGNOSIS)
    assert ("[feedback]" in prompt) == template.sets_feedback_apart == (template is not DIAGNOSIS)


@pytest.mark.parametrize("template", [DIAGNOSIS, TRANSCRIPTION, ADDITION], ids=range(3))
def test_our_own_words_hold_no_mark_of_ours(template):
    """Else no prompt could have the plain ones."""
    assert Form.unlike([template.text]) == Form(1)


def test_what_our_wording_asks_for_it_does_not_forbid():
    """A contradiction costs a strong model more than a gap."""
    assert "copied exactly" in DIAGNOSIS.text
    assert "in the teacher's own words" not in DIAGNOSIS.text
    assert "in the teacher's own words" in TRANSCRIPTION.text


def test_lessons_and_form_stand_where_a_template_asks_for_them_and_nowhere_else():
    """They are offered; only what a user gave is never lost."""
    asked = Template("{{lessons}}|{{form}}|{{instruction}}{{examples}}")
    assert asked.filled(instruction="I", examples="E", lessons="L", form="F") == "L|F|IE"
    bare = Template("{{instruction}}{{examples}}")
    assert bare.filled(instruction="I", examples="E", lessons="L", form="F") == "IE"


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

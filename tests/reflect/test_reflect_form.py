"""The form of the answer: marks that stand in no text of the prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.reflect.form import Form
from dspy_gepa.reflect.reply import Reading, read_reply

COMPONENTS = ["draft.predict", "classify"]
WORDS = ["<new_text>", "</edit_2>", "<lesson_3", "<no_change/>", "new_text", "<new_texts>", "plain"]


def test_plain_marks_where_no_text_holds_them():
    """Words alone, other marks and marks of another number make no text special."""
    for text in ("Write a new_text.", "<new_texts>", "<b>x</b>", "<new_text_2>", "<NEW_TEXT>"):
        assert Form.unlike(["Answer.", text]) == Form(1)


@pytest.mark.parametrize("name", Form().names)
@pytest.mark.parametrize("shape", ["<{}>", "</{}>", "<{}/>", '<{} component="a">', "see <{}"])
def test_each_mark_of_ours_in_any_text_gives_all_of_them_a_number(name, shape):
    """Also in the midst of a line, unclosed, or in the last of the texts."""
    form = Form.unlike(["Answer.", "x " + shape.format(name)])
    assert form == Form(2)
    assert form.names == tuple(f"{tag}_2" for tag in Form().names)
    assert form.mark("new_text", "a") == '<new_text_2 component="a">'
    assert form.pair("edit") == "<edit_2> and </edit_2>"
    assert form.no_change == "<no_change_2/>"
    assert [form.tag(each) for each in form.names] == list(Form().names)


@given(st.lists(st.sampled_from(WORDS), max_size=6))
def test_the_number_is_the_smallest_that_is_nowhere(texts):
    """So that the same texts are asked about in the same form in every process."""
    form = Form.unlike(texts)
    whole = " ".join(texts)
    assert not any(f"<{name}" in whole.replace("/", "") for name in form.names if form.number > 1)
    assert form == Form.unlike(reversed(texts))
    assert form == Form.unlike([whole])
    for number in range(1, form.number):
        assert Form.unlike([f"<{Form(number).names[0]}>"]) != Form(number)


@pytest.mark.parametrize("components", [COMPONENTS, COMPONENTS[:1]], ids=["several", "one"])
@pytest.mark.parametrize("edits", [False, True])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_the_form_repeated_as_it_is_is_no_answer(components, edits, adds, number):
    """What it has in place of texts stands in brackets, and never becomes an instruction."""
    form = Form(number)
    answer = form.answer(components, adds=adds, edits=edits)
    whole = form.diagnosed(components, edits=edits, unchanged_if="it is right")
    assert adds or answer in whole
    for said in (answer, whole[whole.index("<diagnosis") :]):
        reading = read_reply(said, dict.fromkeys(components, "Label it."), form)
        assert reading.texts == {}
        assert reading.problems
        assert not reading.is_unchanged


@pytest.mark.parametrize("number", [1, 7])
def test_the_form_filled_in_is_read(number):
    """Who puts a text in the place of each bracket has answered."""
    form = Form(number)
    whole = form.diagnosed(COMPONENTS, edits=True, unchanged_if="it is right")
    said = whole[whole.index("<diagnosis") :]
    filled = (
        said.replace("(what goes wrong and why, and what works and has to stay)", "The code.")
        .replace("(the whole new text)", "Draft K3.")
        .replace('edit component="draft', 'edit component="classify')
        .replace(f'<edit_{number} component="draft.predict', f'<edit_{number} component="classify')
        .replace("(words of the current text, exactly as they stand there, and only once)", "it")
        .replace("(what stands there instead)", "all of it")
        .replace("(in one sentence, what you assume to be true with this change)", "K3 it is.")
    ).replace('component="classify.predict"', 'component="classify"')
    reading = read_reply(filled, {"draft.predict": "Draft.", "classify": "Classify it."}, form)
    texts = {"draft.predict": "Draft K3.", "classify": "Classify all of it."}
    assert reading == Reading(texts, diagnosis="The code.", lesson="K3 it is.")

"""Comparing two texts: nothing is lost, and what is equal is not shown as a change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.story.diff import diffed, folded, unified

TEXTS = st.text(alphabet="ab \n\r\u2028.", max_size=40)


@given(before=TEXTS, after=TEXTS)
def test_both_texts_can_be_read_from_the_lines(before, after):
    """Lines that stayed or went make the first text, lines that stayed or came the second."""
    lines = diffed(before, after)
    plain = [text.replace("\r\n", "\n") for text in (before, after)]
    for text, kinds in zip(plain, (("same", "removed"), ("same", "added")), strict=True):
        assert "\n".join(line.text for line in lines if line.kind in kinds) == text


@given(text=TEXTS)
def test_equal_texts_have_no_changes(text):
    """No line is removed or added."""
    assert {line.kind for line in diffed(text, text)} <= {"same"}


@given(before=TEXTS, after=TEXTS)
def test_folding_keeps_what_changed(before, after):
    """Only equal lines are folded, and each is counted."""
    lines = diffed(before, after)
    short = folded(lines)
    changed = [line for line in lines if line.kind != "same"]
    assert [line for line in short if line.kind not in {"same", "folded"}] == changed
    assert sum(line.count for line in short) == len(lines)


def test_changed_words_are_marked():
    """Within a line that changed a little, the words that did."""
    old, new = diffed("Give the code.", "Give the house code alone.")
    assert [span.text for span in old.spans if span.is_changed] == []
    assert [span.text for span in new.spans if span.is_changed] == ["house ", " alone"]


def test_a_terminal_gets_signs():
    """As people know it from other tools."""
    before = "\n".join(["first", *"abcdefgh"])
    shown = unified(before, before.replace("first", "second"))
    assert shown == ["- first", "+ second", "  a", "  b", "  ... 6 equal lines"]


@pytest.mark.parametrize("line", ["", "the same"])
def test_thousands_of_equal_lines_take_no_time(line):
    """A text of one line over and over is compared without looking at every pair."""
    before, after = f"{line}\n" * 8_000, f"x\n{line}\n" * 4_000
    kinds = [each.kind for each in diffed(before, after)]
    assert kinds.count("removed") + kinds.count("same") == 8_001

"""Search-and-replace edits apply exactly or not at all, and say which of them did not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.reflect.edits import Edit, edited, read_edits

TEXT = "Read the message.\nLabel it K1.\n\nAnswer in JSON.\nLabel nothing twice."


def block(*pairs):
    return "\n".join(f"<old>\n{old}\n</old>\n<new>\n{new}\n</new>" for old, new in pairs)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Label it K1.", "Label it K3.", TEXT.replace("K1", "K3")),
        ("K1", "K3", TEXT.replace("K1", "K3")),
        ("K1.\n\nAnswer", "K3.\n\nSay", TEXT.replace("K1.\n\nAnswer", "K3.\n\nSay")),
        ("", "No lists.", TEXT + "\nNo lists."),
        (" \n", "No lists.", TEXT + "\nNo lists."),
        ("Answer in JSON.", "", TEXT.replace("Answer in JSON.\n", "")),
        ("Read the message.", "", TEXT.removeprefix("Read the message.\n")),
        (" nothing twice", "", TEXT.replace(" nothing twice", "")),
        ("K1.   \n\t\nAnswer", "K3.\nAnswer", TEXT.replace("K1.\n\nAnswer", "K3.\nAnswer")),
        ("Answer in JSON.", r"\1 \g<0> $1", TEXT.replace("Answer in JSON.", r"\1 \g<0> $1")),
    ],
)
def test_one_edit_replaces_what_stands_there_once(old, new, expected):
    """Words, lines and whole passages; an empty part is the end of the text, or nothing."""
    assert edited(TEXT, [Edit(old, new)]) == (expected, "")


def test_edits_apply_in_order_each_to_what_the_one_before_left():
    """A word that an earlier edit wrote may be replaced, and one that it took away may not."""
    grown = [Edit("K1", "K2 or K1"), Edit("K2 or", "K3 or")]
    assert edited("Label it K1.", grown) == ("Label it K3 or K1.", "")
    _, problem = edited("Label it K1.", [Edit("K1", "K2"), Edit("K1", "K3")])
    assert problem.startswith("edit 2: «K1» is not in the text")


def test_words_that_stand_there_several_times_are_named_with_their_number():
    """Nobody guesses which of them was meant."""
    text, problem = edited(TEXT, [Edit("Label", "Name")])
    assert text == TEXT
    assert problem == ("edit 1: «Label» stands 2 times in the text; take more of what surrounds it")


def test_words_that_are_nowhere_are_named_with_the_line_that_is_most_like_them():
    """Likeness is said and never applied."""
    _, problem = edited(TEXT, [Edit("K1", "K3"), Edit("Answer with JSON!\nNow.", "x")])
    assert problem == (
        "edit 2: «Answer with JSON! Now.» is not in the text; the nearest is «Answer in JSON.»"
    )
    _, problem = edited(TEXT, [Edit("0123456789" * 30, "x")])
    assert problem == f"edit 1: «{'0123456789' * 12} …» is not in the text"


@pytest.mark.parametrize("old", ["label it k1.", "Label  it K1.", "Label it K1", "K1\nAnswer"])
def test_case_spaces_and_line_breaks_count(old):
    """Only spaces at the ends of lines do not."""
    is_there = old in TEXT
    assert bool(edited(TEXT, [Edit(old, "x")])[1]) != is_there


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        ("Label it.", "Label ", "Name ", "Name it."),
        ("a b, ab", "a ", "c ", "c b, ab"),
        ("Do:\n  this", "Do:\n ", "Don't:\n ", "Don't:\n  this"),
        ("K1  \nK2", "K1\nK2", "K3", "K3"),
        ("K1\nK2", "K1  \nK2\t", "K3", "K3"),
    ],
)
def test_spaces_that_stand_there_are_words_and_others_at_ends_of_lines_are_not(
    text, old, new, expected
):
    """What stands there exactly is replaced exactly, also where it ends in a space."""
    assert edited(text, [Edit(old, new)]) == (expected, "")


def test_places_that_overlap_are_several():
    """A ruler holds a shorter one at many places."""
    assert "stands 4 times" in edited("A\n=======", [Edit("====", "-")])[1]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (block(("a", "b")), [Edit("a", "b")]),
        (block(("a", "b"), ("c\nd", "")), [Edit("a", "b"), Edit("c\nd", "")]),
        ("<old>a</old><new>b</new>", [Edit("a", "b")]),
        ("\n\n<old>\n  a\n\n</old>\n\n<new>\n\tb\n</new>\n", [Edit("  a\n", "\tb")]),
        ("<old></old><new>b</new>", [Edit("", "b")]),
        ("<old>\n<b>\n</old>\n<new>\n# x\n===\n</new>", [Edit("<b>", "# x\n===")]),
    ],
)
def test_pairs_are_read_as_they_stand(written, expected):
    """Without the line breaks next to the marks, and without any other change."""
    assert read_edits(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "",
        "Change K1 to K3.",
        "<old>\na\n</old>",
        "<new>\na\n</new>",
        "<new>\nb\n</new>\n<old>\na\n</old>",
        "First:\n" + block(("a", "b")),
        block(("a", "b")) + "\nand so on",
        "<old>\na\n<old>\nb\n</old>\n<new>\nc\n</new>",
        "<old>\na\n</old>\n<new>\nb\n</new>\n</new>",
        "<old>\na\n</old>\n<new>\nb",
        "<old>\nuse <old> here\n</old>\n<new>\nc\n</new>",
        block(*[("a", "b")] * 40) + "\nand so on",
        "<old>" * 30_000,
        "<old></old> " * 20_000,
    ],
    ids=lambda written: ascii(written[:40]),
)
def test_a_block_that_can_be_read_in_two_ways_says_nothing(written):
    """It gives one empty edit, which the application refuses with its number."""
    assert read_edits(written) == [Edit("", "")]
    assert edited(TEXT, read_edits(written)) == (
        TEXT,
        "edit 1 has no <old> and <new> part that says anything",
    )


LINES = ["Label it.", "K1", "", "  indented", "# Heading", "a.b*c", "\\d+", "(?i)", "====", "<<<"]


@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=8), st.data())
def test_any_part_that_stands_there_once_can_be_replaced_by_anything(lines, data):
    """The result is that of replacing these characters, and nothing beside them changes."""
    text = "\n".join(lines)
    start = data.draw(st.integers(0, len(text)))
    old = text[start : data.draw(st.integers(start, len(text)))]
    new = data.draw(st.sampled_from(["new", "\\1", "two\nlines", "K1"]))
    result, problem = edited(text, [Edit(old, new)])
    if not old.strip():
        assert result.endswith(new)
    elif problem:
        assert result == text
    else:
        assert result == text.replace(old, new, 1)

"""Copies of twelve words are found wherever they stand, and nothing shorter."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.reflect.overlap import LEAST_WORDS, copied

words = st.lists(st.sampled_from([f"other{n}" for n in range(99)]), max_size=40)


@given(words, words, words, words, st.integers(0, 30))
def test_twelve_words_in_a_row_are_found_wherever_they_stand(head, tail, before, after, length):
    """A row shared with a source is found from twelve words on, whatever stands around it."""
    row = [f"shared{n}" for n in range(length)]
    source = " ".join([*head, *row, *tail])
    new = ", ".join([*(f"n{one}" for one in before), *row, *(f"n{one}" for one in after)]).title()
    passage = copied(new, "", ["Other words here.", source])
    assert passage == (" ".join(row) if length >= LEAST_WORDS else "")


def piece(head, start, end, tail):
    """A part of one row of words, between words that stand in this order only."""
    return [
        *(f"head{n}" for n in range(head)),
        *(f"word{n}" for n in range(start, end)),
        *(f"tail{n}" for n in range(tail)),
    ]


places = st.integers(0, 24)
pieces = st.builds(piece, st.integers(0, 5), places, places, st.integers(0, 5))


def having(passage, texts):
    """How many of the texts have these words in a row."""
    return sum(f" {' '.join(passage)} " in f" {' '.join(text)} " for text in texts)


@given(pieces, pieces, st.lists(pieces, max_size=5))
def test_a_copy_is_what_one_to_three_sources_have(new, old, sources):
    """Every twelve words of it stand in a source, in no more than three, and not in the old text;
    and one is found if and only if there are such words."""

    def rows(words):
        return [words[start : start + LEAST_WORDS] for start in range(len(words) - LEAST_WORDS + 1)]

    copies = [
        row for row in rows(new) if not having(row, [old]) and having(row, sources) in range(1, 4)
    ]
    passage = copied(" ".join(new), " ".join(old), [" ".join(text) for text in sources]).split()
    assert rows(passage) == copies[: len(rows(passage))]
    assert bool(passage) == bool(copies)
    assert not passage or having(passage, [new])


def test_what_the_old_text_says_too_is_no_copy():
    """A passage of the current text may stay, and so may the task's own form."""
    row = " ".join(f"word{n}" for n in range(14))
    assert copied(f"Say {row}.", "", [row])
    assert not copied(f"Say {row}.", f"First {row} then.", [row])
    assert not copied(f"Say {row}.", "", [f"{row} {n}" for n in range(5)])


def test_labels_formats_and_figures_are_no_copies():
    """Rows of short signs are tables and scales."""
    table = " ".join(map(str, range(20)))
    assert not copied(table, "", [table])


def test_chinese_is_compared_by_characters():
    """Twelve characters are half a sentence, a sentence of more than thirty is copied."""
    row = "订单在周一付款但是到周五仍然没有发货客户要求立即全额退款并取消订单谢谢"
    assert copied(f"规则：{row}！", "", [f"你好{row}。"])
    assert not copied(row[:14], "", [row])


ROW = "à chaque réclamation déposée après le délai légal l'équipe répond que le ﬁchier a été reçu"


@pytest.mark.parametrize(
    "new",
    [
        unicodedata.normalize("NFD", ROW),
        unicodedata.normalize("NFKC", ROW),
        "".join(chr(ord(one) + 0xFEE0) if "a" <= one <= "z" else one for one in ROW),
        ROW.replace("réclamation", "_réclamation_").replace("délai légal", "__délai légal__"),
        ROW.replace("l'", "l\u2019").replace(" ", ",\n").upper(),
    ],
    ids=["accents of their own", "no ligature", "full width", "underlined", "capitals"],
)
def test_a_copy_is_found_however_its_letters_are_written(new):
    """What a model writes and what a file has need not be the same characters."""
    assert copied(f"Say: {new}!", "", [ROW])
    assert copied(f"Say: {ROW}!", "", [new])

"""Copies of twelve words are found wherever they stand, and nothing shorter."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.reflect.overlap import LEAST_WORDS, Sources

words = st.lists(st.sampled_from([f"other{n}" for n in range(99)]), max_size=40)


@given(words, words, words, words, st.integers(0, 30))
def test_twelve_words_in_a_row_are_found_wherever_they_stand(head, tail, before, after, length):
    """A row shared with a source is found from twelve words on, whatever stands around it."""
    row = [f"shared{n}" for n in range(length)]
    source = " ".join([*head, *row, *tail])
    new = ", ".join([*(f"n{one}" for one in before), *row, *(f"n{one}" for one in after)]).title()
    copied = Sources(["Other words here.", source]).copied(new)
    assert copied == (" ".join(row) if length >= LEAST_WORDS else "")


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


@given(pieces, pieces, st.lists(pieces, max_size=4))
def test_a_copy_is_what_one_to_three_sources_have(new, old, sources):
    """Found if and only if there are twelve words in a row or more that the old text has not, and
    at least one source and at most three."""
    rows = [new[start:end] for end in range(len(new) + 1) for start in range(end - LEAST_WORDS + 1)]
    copies = [row for row in rows if not having(row, [old]) and having(row, sources) in range(1, 4)]
    copied = Sources([" ".join(text) for text in sources]).copied(" ".join(new), " ".join(old))
    assert copied.split() in (copies or [[]])


def test_what_the_old_text_says_too_is_no_copy():
    """A passage of the current text may stay, and so may the task's own form."""
    row = " ".join(f"word{n}" for n in range(14))
    assert Sources([row]).copied(f"Say {row}.")
    assert not Sources([row]).copied(f"Say {row}.", old=f"First {row} then.")
    assert not Sources([f"{row} {n}" for n in range(5)]).copied(f"Say {row}.")


def test_labels_formats_and_figures_are_no_copies():
    """Rows of short signs are tables and scales."""
    table = " ".join(map(str, range(20)))
    assert not Sources([table]).copied(table)


def test_chinese_is_compared_by_characters():
    """Twelve characters are half a sentence, a sentence of more than thirty is copied."""
    row = "订单在周一付款但是到周五仍然没有发货客户要求立即全额退款并取消订单谢谢"
    assert Sources([f"你好{row}。"]).copied(f"规则：{row}！")
    assert not Sources([row]).copied(row[:14])


@pytest.mark.parametrize("words", [6, 12])
@pytest.mark.parametrize("count", [1, 300])
def test_large_texts_are_held_once(words, count):
    """What is kept to find copies in them takes less room than they do, also while it is made: of
    few words in a row too, and of one text beside a form of it that has no capitals."""
    random = Random(0)
    texts = [" ".join(f"word{random.randrange(9999)}" for _ in range(900)) for _ in range(300)]
    passage = texts[200][:200]
    texts = texts if count > 1 else [" ".join(texts)]
    size = sum(map(len, texts))
    tracemalloc.start()
    sources = Sources(texts, words)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < size / 2
    assert most < (size if count > 1 else 2 * size)
    assert sources.copied(f"Say {passage}.") != ""

"""Copies of twelve words are found wherever they stand, and nothing shorter."""

from __future__ import annotations

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

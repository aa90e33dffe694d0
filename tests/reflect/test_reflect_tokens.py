"""The estimate of tokens errs on the side of too many, in any language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.reflect.tokens import estimated_tokens


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("Answer the question with one of the labels in the list.", 12, 22),
        ("def total(xs):\n    return sum(x * 2 for x in xs)\n", 16, 30),
        ("退款的消息请回答标签。", 8, 22),
        ("返金のメッセージにはラベルを答える。", 12, 36),
        ("Отвечай одной меткой из списка.", 9, 30),
        ("\U0001f600\U0001f680", 2, 6),
        ("1234567890", 4, 10),
        ("\ud83d", 1, 3),
    ],
)
def test_estimates_lie_between_what_tokenizers_say(text, least, most):
    """Of prose and code: never below what common tokenizers count, nor above three times of it."""
    assert least <= estimated_tokens(text) <= most


@given(st.text(), st.text())
def test_more_text_is_not_fewer_tokens(one, other):
    """A text has at least as many tokens as a part of it."""
    assert 0 <= estimated_tokens(one) <= estimated_tokens(one + other)

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
        ("def total(xs):\n    return sum(x * 2 for x in xs)\n", 18, 30),
        ("退款的消息请回答标签。", 8, 22),
        ("返金のメッセージにはラベルを答える。", 12, 36),
        ("Отвечай одной меткой из списка.", 9, 30),
        ("3f9a2b7c-4415-4e0f-9d7b-1c2d3e4f5a6b", 20, 50),
        ("aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQ", 12, 40),
        ("\U0001f600\U0001f680", 2, 6),
        ("1234567890", 4, 10),
    ],
)
def test_estimates_lie_between_what_tokenizers_say(text, least, most):
    """Never below what common tokenizers count, never more than some three times of it."""
    assert least <= estimated_tokens(text) <= most


@given(st.text(), st.text())
def test_more_text_is_not_fewer_tokens(one, other):
    """A text has at least about as many tokens as a part of it."""
    assert estimated_tokens(one + other) >= estimated_tokens(one) - 4
    assert estimated_tokens(one) >= 0

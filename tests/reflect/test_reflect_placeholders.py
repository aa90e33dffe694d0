"""Placeholders are told from JSON, LaTeX, money and code."""

from __future__ import annotations

import pytest

from dspy_gepa.reflect.placeholders import placeholders, unknown_placeholders


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Answer {question} from {ctx.text}.", ("{question}", "{ctx.text}")),
        ("Answer {{ question }}, {{x}}.", ("{{ question }}", "{{x}}")),
        ("Use <<name>> and $name, ${other}.", ("<<name>>", "${other}", "$name")),
        ("{a}{a} and\n```\n{b}\n```", ("{a}", "{b}")),
        ("```text\n{b}\n```", ("{b}",)),
        ('Answer {"label": "K3", "list": [1, {}]}.', ()),
        ("{{{x}}} { y } {}", ()),
        ("{price:.2f}, {x!r:>9}, {n:,}", ("{price:.2f}", "{x!r:>9}", "{n:,}")),
        ("{day:%Y-%m-%d} {code:03}", ("{day:%Y-%m-%d}", "{code:03}")),
        ("{items[0].name} {0} {1:d}", ("{items[0].name}", "{0}", "{1:d}")),
        (
            "{{ user.name | upper }}, {{ all[0]|join(', ') }}",
            ("{{ user.name | upper }}", "{{ all[0]|join(', ') }}"),
        ),
        ("%(name)s, %(cost).2f", ("%(name)s", "%(cost).2f")),
        ("{a:1} {a: 1} {a:-1.5} {label:K3} {a:[1]} {x:}", ()),
        (r"\d{3}, .{2}, [a-z]{2}, x^{2} and x^{n}", ()),
        ("50%(of it) and 20%(gross)", ()),
        (r"Write \frac{a}{b} and \boxed{answer}.", ()),
        ("It costs $5, $1.50 or US$10; $x$ and $ab + 1$.", ()),
        ("```python\nprint(f'{name} {{x}} $HOME')\n```", ()),
        ("f{x} and x[1]{y}", ()),
        ("a << b >> c", ()),
    ],
)
def test_placeholders_are_found(text, found):
    """Those that code fills in, and nothing else in braces or with a dollar."""
    assert placeholders(text) == found


def test_only_forms_that_the_old_text_uses_can_be_strange():
    """A name that nobody fills in is one only where somebody fills in that form."""
    assert unknown_placeholders("Ask {question}.", "Ask {question} of {user} and {{x}}.") == (
        "{user}",
    )
    assert unknown_placeholders("Ask.", "Answer as {day}-{month}.") == ()

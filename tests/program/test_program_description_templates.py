"""The prompts that ask for better descriptions."""

from __future__ import annotations

import pytest

from dspy_gepa.program.components.description_templates import (
    ARGUMENT_TEMPLATE,
    FIELD_TEMPLATE,
    TOOL_TEMPLATE,
)
from dspy_gepa.reflect.templates import CLOSING_MARK, DEFAULT_TEMPLATE, OPENING_MARK, PLACEHOLDERS


@pytest.mark.parametrize("template", [ARGUMENT_TEMPLATE, FIELD_TEMPLATE, TOOL_TEMPLATE])
def test_they_show_all_that_the_prompt_for_an_instruction_shows(template):
    """And ask for the same form of answer, at the end."""
    for name in PLACEHOLDERS:
        mark = f"{{{{{name}}}}}"
        assert (mark in template.text) == (mark in DEFAULT_TEMPLATE.text)
    ending = DEFAULT_TEMPLATE.text[DEFAULT_TEMPLATE.text.index(f"\n{OPENING_MARK}") :]
    assert template.text.endswith(ending)
    assert ending.endswith(f"{CLOSING_MARK}\n")


def test_each_asks_for_its_own():
    """An argument has a form, a tool a time to be called, and a field a meaning."""
    asked = {
        template.text.partition("# Your task")[2]
        for template in (ARGUMENT_TEMPLATE, FIELD_TEMPLATE, TOOL_TEMPLATE)
    }
    assert len(asked) == 3
    assert "when to call it and when not to" in TOOL_TEMPLATE.text
    assert "what its value must look like" in ARGUMENT_TEMPLATE.text
    assert "for an output field also exactly which form" in FIELD_TEMPLATE.text

"""Two rewritings of one text as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.compilation.allowance import UnionMerge
from dspy_gepa.core.union import union
from dspy_gepa.reflect.rules import Rules

LINES = st.lists(st.sampled_from(["Be brief.", "- a", "- b", "", "```", "---"]), max_size=7)
TEXTS = LINES.map("\n".join)


@pytest.mark.parametrize(
    ("origin", "one", "other", "merged"),
    [
        ("Give it.", "Give it.\n\nIn French.", "Give it.\n\nIn capitals.",
         "Give it.\n\nIn French.\n\nIn capitals."),
        ("Give it.", "Give a number.", "Give a name.", "Give a number.\n\nGive a name."),
        ("Give it.", "Give it.\n\nIn French.", "Say it.", "Say it.\n\nIn French."),
        ("a\nb\nc", "a\nB\nc", "a\nb\nC", "a\nB\nC"),
        ("a\nb\nc", "a\nc", "a\nb\nc\nd", "a\nc\nd"),
        ("Rules:", "Rules:\n- one\n- two", "Rules:\n- two\n- three",
         "Rules:\n- one\n- two\n\n- three"),
        ("Give it.", "Give it.\n```\n1\n```", "Give it.\n```\n2\n```",
         "Give it.\n```\n1\n```\n\n```\n2\n```"),
        ("Give it.", "Give it.\nx", "Give it.\n\nx\n---", "Give it.\nx"),
    ],
    ids=[
        "both added", "both replaced", "one added, one replaced", "other lines", "a line less",
        "a line in both", "fences", "nothing but form",
    ],
)  # fmt: skip
def test_what_both_changed_is_in_the_union(origin, one, other, merged):
    """What either added stands there once, what either removed does not, and form stays whole."""
    assert union(origin, one, other) == merged


@given(TEXTS, TEXTS)
def test_a_union_with_what_did_not_change_is_what_did(origin, one):
    """One side alone is taken to the character."""
    assert union(origin, one, origin) == union(origin, one, one) == one


@given(TEXTS, TEXTS, TEXTS)
def test_no_line_comes_from_nowhere_or_is_lost(origin, one, other):
    """Each line stands in one of the two; and each that says something and that either of them
    has beyond the origin is there."""
    merged = union(origin, one, other).split("\n")
    sources = {*one.split("\n"), *other.split("\n"), ""}
    assert set(merged) <= sources
    spoken = {line for line in sources if any(map(str.isalnum, line))}
    assert spoken - set(origin.split("\n")) <= set(merged)


def merge(**rules):
    return UnionMerge(("answer",), Rules(**rules))


BOTH = ("answer", "Give it.", "Give it.\n\nIn French.", "Give it.\n\nIn capitals.")


def test_only_prose_is_united():
    """Of other components, sources and descriptions, the better text is kept."""
    assert merge()(*BOTH) == "Give it.\n\nIn French.\n\nIn capitals."
    assert merge()("code", *BOTH[1:]) == BOTH[2]


@pytest.mark.parametrize(
    "rules",
    [
        {"max_instruction_tokens": 6},
        {"predicates": [lambda *_: "too long"]},
    ],
)
def test_a_union_that_breaks_a_rule_is_none(rules):
    """What a reflection may not write does not come of a merge either."""
    assert merge(**rules)(*BOTH) == BOTH[2]


def test_what_must_stay_once_stays_once():
    """A part that both repeated, in other company, would stand there twice: no union."""
    fixed = "Answer for ACME."
    own = (fixed, f"{fixed} In French.", f"{fixed} In capitals.")
    assert merge(frozen={"answer": [fixed]})("answer", *own) == own[1]


def test_a_run_directory_names_the_merge_and_not_what_it_is_held_to():
    """What it shows of itself is the same in every process."""
    assert repr(merge(constraints=["secret"])) == "UnionMerge(components=('answer',))"

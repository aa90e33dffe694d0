"""Ready checks: what they refuse, what they tell beforehand, and that nobody has them unasked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.reflect.predicates import (
    TextFacts,
    copies_no_examples,
    keeps_placeholders,
    names_output_fields,
)
from dspy_gepa.reflect.rules import Rules

OLD = 'Rate {message} from 1 to 5.\nAnswer in JSON with the key "label".'
ROW = " ".join(f"word{n}" for n in range(15))
FACTS = TextFacts({"a": ["label", "score"], "b": ["text"]}, lambda: [ROW], ["{tools}"])
EVERY = (keeps_placeholders, names_output_fields, copies_no_examples())
KEEPS, NAMES, COPIES = (predicate.with_facts(FACTS) for predicate in EVERY)


@pytest.mark.parametrize(
    ("predicate", "new", "word"),
    [
        (KEEPS, "Rate it.", "lost placeholders that have to stay exactly as they are: {message}"),
        (KEEPS, "Rate {message} of {user}.", "nobody fills in: {user}"),
        (NAMES, "Rate {message}.", "reads: label"),
        (COPIES, f"Rate {{message}}: {ROW}", "copies an example word for word"),
        (copies_no_examples(3).with_facts(FACTS), "Say word3 word4 word5.", "'word3 word4 word5'"),
    ],
)
def test_what_is_refused_is_named(predicate, new, word):
    """With the pieces that are lost, strange or copied."""
    assert word in predicate("a", OLD, new)


@pytest.mark.parametrize(
    ("predicate", "component", "new"),
    [
        (KEEPS, "a", "Be strict: {message}"),
        (KEEPS, "a", "Be strict: {message}, with {tools}"),
        (NAMES, "a", "Rate {message}: Label it."),
        (NAMES, "b", "Rate {message}."),
        (NAMES, "c", "Rate {message}."),
        (COPIES, "a", f"Rate {{message}}: {ROW[:40]}"),
        (copies_no_examples(), "a", ROW),
    ],
)
def test_what_keeps_to_it_is_fine(predicate, component, new):
    """No check sees what it is not about, and without facts there is nothing to copy."""
    assert predicate(component, OLD, new) == ""


@pytest.mark.parametrize("predicate", [KEEPS, NAMES, COPIES], ids=lambda one: type(one).__name__)
@given(st.text(), st.text())
def test_a_text_that_changes_nothing_loses_and_copies_nothing(predicate, head, tail):
    """What is refused afterwards is what the new text did."""
    old = head + ROW + tail
    assert predicate("a", old, old) == ""


def test_fields_are_guarded_where_the_text_speaks_of_them_as_fields():
    """An ordinary word is no field, and neither is what DSPy wrote by itself."""
    named = names_output_fields.with_facts(TextFacts({"a": ["answer", "final_score"]}))
    assert named("a", "Give a short answer.", "Be brief.") == ""
    assert named("a", "Given the fields `x`, produce the fields `answer`.", "Go.") == ""
    assert "answer" in named("a", "Fill `answer`.", "Be brief.")
    assert "answer" in named("a", "Rules:\nanswer: short", "Be brief.")
    assert "final_score" in named("a", "Set final_score.", "Be brief.")
    assert named("a", "Set final_score.", "Set the final score.") == ""


def test_a_mark_that_is_filled_in_anyway_is_no_placeholder_of_the_users():
    """It may be left out, and it may come."""
    assert KEEPS("a", "{tools} x", "x") == ""
    assert KEEPS("a", "{name} x", "{name} {tools}") == ""
    assert "{name}" in KEEPS("a", "{name} {tools}", "{tools}")
    assert KEEPS.told("a", "{tools} x") == ""


def test_what_will_be_refused_is_told_beforehand():
    """And nothing where the current text has nothing to lose."""
    rules = Rules(predicates=[*EVERY, copies_no_examples(5)]).with_facts(FACTS)
    assert rules.told("a", OLD) == (
        "Keep these placeholders exactly as they are, and add no others: {message}",
        "Keep naming these output fields, by these names: label",
        "Copy no 12 words in a row from an input, an output or a remark",
        "Copy no 5 words in a row from an input, an output or a remark",
    )
    assert Rules(predicates=EVERY[:2]).with_facts(FACTS).told("a", "Label it.") == ()


@pytest.mark.parametrize("predicate", EVERY, ids=lambda one: type(one).__name__)
def test_no_check_is_there_unless_it_was_asked_for(predicate):
    """A text that breaks it is a text like any other."""
    new = f"Copy {ROW} for {{user}}."
    facts = TextFacts({"a": ["label"]}, lambda: [ROW])
    assert predicate.with_facts(facts)("a", OLD, new)
    assert Rules().with_facts(facts).judged("a", OLD, new).text == new
    assert Rules(predicates=[predicate]).with_facts(facts).judged("a", OLD, new).reason


def test_the_examples_are_read_only_where_somebody_asks_and_once():
    """A table of data need not be turned into words for a check that is never made."""
    reads = []

    def texts():
        reads.append(1)
        return [ROW]

    bound = copies_no_examples().with_facts(TextFacts(examples=texts))
    bound.told("a", OLD)
    assert not reads
    assert bound("a", OLD, ROW)
    assert bound("a", OLD, ROW)
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (1, SettingsError, "2 is the lowest"),
        (0, SettingsError, "2 is the lowest"),
        (2.5, WrongType, "a whole number"),
        (True, WrongType, "a whole number"),
        ("12", WrongType, "a whole number"),
    ],
)
def test_wrong_numbers_of_words_are_refused(words, error, said):
    """Where the check is made."""
    with pytest.raises(error, match=said):
        copies_no_examples(words)


@pytest.mark.parametrize(
    "piece", ["\n***", "---\n", "$ab ", "{a", "<<a", "```a\n", "$a$", "word "], ids=ascii
)
def test_checking_ends(piece):
    """Whatever repeats in 40,000 characters: by backtracking this would not end today."""
    text = piece * (40_000 // len(piece))
    facts = TextFacts({"a": ["label"]}, lambda: [text[:5_000]])
    for predicate in EVERY:
        bound = predicate.with_facts(facts)
        assert bound("a", text, text) == ""
        assert isinstance(bound("a", "x", text), str)
        assert isinstance(bound.told("a", text), str)

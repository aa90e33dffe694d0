"""Rules on new texts: what breaks them, in which words, and what is told beforehand."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.errors import SettingsError
from dspy_gepa.reflect.rules import CheckedText, Rules

OLD = 'Rate {message} from 1 to 5.\nAnswer in JSON with the key "label".'
ROW = " ".join(f"word{n}" for n in range(15))


@pytest.mark.parametrize(
    ("rules", "new", "word"),
    [
        (Rules(frozen={"a": ["from 1 to 5"]}), "Rate {message} from 1 to 9.", "fixed part"),
        (Rules(frozen={"*": ["from 1 to 5"]}), "{message} from 1 to 5 from 1 to 5", "2 times"),
        (Rules(frozen={"a": [re.compile(r"\d to \d")]}), "Rate {message}.", '"1 to 5" 0 times'),
        (Rules(max_instruction_tokens=5), f"Rate {{message}}. {ROW}", "at most 5"),
        (Rules(max_instruction_tokens=2, count_tokens=len), "{message}", "has 9 tokens"),
        (Rules(predicates=[lambda *_: False]), "Rate {message}.", "breaks the rule <lambda>"),
        (Rules(predicates=[lambda *_: "too rude"]), "Rate {message}.", "too rude"),
        (Rules(predicates=[lambda *_: 1 / 0]), "Rate {message}.", "ZeroDivisionError"),
    ],
    ids=range(8),
)
def test_violations_are_named(rules, new, word):
    """Each broken rule gives a reason that says what is wrong."""
    assert word in rules.violation("a", OLD, new)


@pytest.mark.parametrize(
    ("rules", "new"),
    [
        (Rules(frozen={"a": ["from 1 to 5"]}), "Be strict. {message} from 1 to 5."),
        (Rules(frozen={"b": ["from 1 to 5"]}), "{message}"),
        (Rules(frozen={"*": ["not in it"]}), "{message}, not in it"),
        (Rules(), "Rate it for {user}."),
        (Rules(), ROW),
        (Rules(max_instruction_tokens=500), "Rate {message}."),
        (Rules(predicates=[lambda *_: True, lambda *_: None, lambda *_: ""]), "{message}"),
    ],
    ids=range(7),
)
def test_what_keeps_the_rules_is_fine(rules, new):
    """No rule sees what it is not about."""
    assert rules.violation("a", OLD, new) == ""


def test_a_predicate_sees_component_old_and_new():
    """In this order."""
    seen = []
    Rules(predicates=[lambda *said: seen.append(said)]).violation("a", "old", "new")
    assert seen == [("a", "old", "new")]


def test_what_is_judged_is_the_text_as_the_program_says_it():
    """A part that is in the reply and gets lost on the way to the program is missed."""
    rules = Rules(frozen={"a": ["  key"]}, normalised=lambda _, text: inspect.cleandoc(text))
    old = "Form:\n  key\nEnd."
    assert rules.judged("a", old, "  Say:\n  key\nEnd.\n") == CheckedText("Say:\n  key\nEnd.")
    reason = rules.judged("a", old, "Say:\n  key\n  End.").reason
    assert '"  key" 0 times' in reason
    assert "without indentation" in reason
    assert "indentation" not in rules.judged("a", old, "Say it.").reason


def test_a_text_that_no_program_says_is_refused_with_the_reason():
    """Before any rule is asked about it."""

    def refuse(component, text):
        raise SettingsError(f"{component} cannot say {text}")

    rules = Rules(normalised=refuse, predicates=[lambda *_: "unasked"])
    assert rules.judged("a", "old", "new").reason == "a cannot say new"


def test_a_text_that_says_the_same_is_the_old_one():
    """White space that the program drops makes no new text, and so breaks no rule either."""
    rules = Rules(predicates=[lambda *_: False])
    assert rules.judged("a", " old", " old") == CheckedText(" old")
    assert rules.judged("a", " old", "old\n") == CheckedText(" old")
    assert rules.judged("a", " old", "new\n").reason


@given(st.text(), st.text(), st.text())
def test_the_current_text_keeps_the_rules_about_what_stays(part, head, tail):
    """A text that changes nothing has every frozen part as often as before."""
    old = head + part + tail
    frozen = {"a": [part], "*": [re.compile(re.escape(part))]} if part else {}
    rules = Rules(frozen=frozen)
    assert rules.violation("a", old, old) == ""
    if part:
        assert rules.violation("a", part, "") != ""


class Polite:
    """A check that says beforehand what it asks for."""

    def told(self, component, old):
        return f'Be as polite as "{component}"' if old == OLD else ""

    def __call__(self, component, old, new):
        return True


def test_limits_are_told_with_the_current_figures():
    """What a violation would name is said beforehand, and nothing where nothing applies."""
    rules = Rules(
        frozen={"a": ["from 1 to 5", "two\nlines"], "*": [re.compile("JSON")]},
        constraints=[" Be polite. ", "", "No lists."],
        max_instruction_tokens=1_000,
        count_tokens=len,
        predicates=[Polite(), lambda *_: True],
    )
    assert rules.told("a", OLD) == (
        "Be polite.",
        "No lists.",
        'Repeat this part to the character: "JSON"',
        'Repeat this part to the character: "from 1 to 5"',
        'Be as polite as "a"',
        "Write at most 1,000 tokens; the current instruction has 64",
    )
    assert Rules().told("a", "Label the message.") == ()


def test_limits_of_an_addition_leave_out_what_the_current_text_keeps():
    """A frozen part would be there twice if it were added once more."""
    rules = Rules(
        frozen={"a": ["from 1 to 5"]},
        constraints=["Be polite."],
        max_instruction_tokens=100,
        count_tokens=len,
        predicates=[Polite()],
    )
    assert rules.told("a", OLD, adds=True) == (
        "Be polite.",
        'Be as polite as "a"',
        "Write at most 36 tokens",
    )


def test_frozen_parts_that_are_nowhere_are_refused():
    """A slip of the pen would leave free what was to be kept."""
    texts = {"a": OLD, "b": "Reply."}
    Rules(frozen={"*": ["Reply"], "a": [re.compile(r"\d")]}).check(texts)
    with pytest.raises(SettingsError, match="no such part"):
        Rules(frozen={"b": ["from 1"]}).check(texts)
    with pytest.raises(SettingsError, match="names the component 'c'"):
        Rules(frozen={"c": ["x"]}).check(texts)
    with pytest.raises(SettingsError, match="no such part"):
        Rules(frozen={"*": [re.compile("zzz")]}).check(texts)

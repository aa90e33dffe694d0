"""The prompt keeps its limit, its instruction and its failing records, and is deterministic."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspy_gepa.errors import SettingsError
from dspy_gepa.reflect.prompt import LEFT_OUT, Limits, TooLong, render, shortened, text_of
from dspy_gepa.reflect.records import Call, Record
from dspy_gepa.reflect.templates import Template

PLAIN = Template("{{instruction}}\n\n{{examples}}")

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
texts = st.one_of(
    st.text(max_size=60), st.builds(lambda text, n: text * n, st.text(), st.integers(0, 900))
)


@st.composite
def records(draw):
    """Records as `records_of` orders them."""
    made = []
    for example in range(draw(st.integers(0, 8))):
        calls = tuple(
            Call(
                number,
                draw(st.dictionaries(st.text(max_size=8), st.one_of(values, texts), max_size=3)),
                draw(st.dictionaries(st.text(max_size=8), values, max_size=2)),
                failure=draw(st.sampled_from(["", "no field"])),
                reply=draw(texts),
            )
            for number in draw(st.lists(st.integers(1, 9), unique=True, max_size=3).map(sorted))
        )
        made.append(
            Record(
                example,
                draw(st.sampled_from([0.0, 0.5, 1.0])),
                passed=draw(st.booleans()),
                feedback=draw(texts),
                failure=draw(st.sampled_from(["", "crash"])),
                calls=calls,
                calls_made=9,
            )
        )
    return sorted(made, key=lambda one: one.passed)


def record(place, *, passed=False, size=20, **more):
    return Record(
        place,
        1.0 if passed else 0.0,
        passed=passed,
        feedback=f"F{place:03}.",
        calls=(Call(1, {"text": "x" * size}, {"label": "y"}),),
        calls_made=1,
        **more,
    )


@settings(deadline=None, max_examples=60)
@given(records(), st.text(max_size=200), texts, st.integers(500, 12_000))
def test_the_prompt_keeps_its_limit_and_its_instruction(found, instruction, description, limit):
    """A prompt is never longer than its limit and always contains the whole instruction."""
    prompt = render(found, instruction=instruction, description=description, limit=limit)
    if not isinstance(prompt, TooLong):
        assert len(prompt) <= limit
        if instruction.strip():
            assert instruction in prompt


@given(
    st.lists(st.integers(0, 3_000), min_size=1, max_size=20),
    st.lists(st.integers(0, 3_000), max_size=20),
    st.integers(2_000, 40_000),
)
@settings(deadline=None, max_examples=60)
def test_failing_records_are_kept_before_any_passing_one(failing, passing, limit):
    """A passing record is shown only where every failing one is; some example always is."""
    made = [record(place, size=size) for place, size in enumerate(failing)]
    made += [record(100 + place, size=size, passed=True) for place, size in enumerate(passing)]
    prompt = render(made, instruction="I", template=PLAIN, limit=limit)
    shown = [one.feedback in prompt for one in made]
    assert shown == sorted(shown, reverse=True)
    assert shown[0]
    assert len(prompt) <= limit
    left_out = len(made) - sum(shown)
    assert (f"[... {left_out:,} examples left out ...]" in prompt) == (left_out > 0)


@settings(deadline=None, max_examples=30)
@given(records())
def test_the_same_records_give_the_same_prompt(found):
    """Rendering is a function of its arguments."""
    assert render(found, instruction="I") == render(list(found), instruction="I")


def test_values_do_not_depend_on_the_process():
    """Sets and addresses are written alike under every hash seed."""
    code = (
        "from dspy_gepa.reflect.prompt import text_of;"
        "print(text_of({'a': {'x', 'y', 'z', 'w'}, 'b': object()}), text_of(object()))"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert written == {
        '{"a": ["w", "x", "y", "z"], "b": "<object object>"} <object object>\n',
    }


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('a "b"\n{c}', 'a "b"\n{c}'),
        ({"k": [1, True, None, "ü"]}, '{"k": [1, true, null, "ü"]}'),
        ((1, 2), "[1, 2]"),
        (frozenset({2, 1}), "[1, 2]"),
        ([Fraction(1, 2)], '["1/2"]'),
        ({(1, 2): 3}, '{"(1, 2)": 3}'),
        (1.5, "1.5"),
        (None, "None"),
        ("a\ud800b", "a\\ud800b"),
        (["\ud800"], '["\\ud800"]'),
    ],
)
def test_values_are_written_as_text_or_json(value, written):
    """Text stands as it is, containers are written as JSON, other values in their own words."""
    assert text_of(value) == written


def test_a_value_that_contains_itself_can_be_written():
    """Nesting without end is cut off."""
    loop: list[object] = []
    loop.append(loop)
    assert text_of(loop) == "[" * 10 + '["..."]'[1:-1] + "]" * 10


@given(st.text(max_size=3_000), st.integers(0, 500))
def test_shortening_keeps_the_limit_and_says_what_is_missing(text, limit):
    """What is cut has its beginning, its end and the number of characters left out."""
    cut = shortened(text, limit)
    assert len(cut) <= limit
    if len(text) <= limit:
        assert cut == text
    elif cut and not LEFT_OUT.search(text):
        mark = LEFT_OUT.search(cut)
        head, tail = cut[: mark.start()], cut[mark.end() :]
        assert text.startswith(head)
        assert text.endswith(tail)
        missing = len(text) - len(head) - len(tail)
        assert mark[0] == f"[... {missing:,} characters left out ...]"


def test_one_record_in_words():
    """A record shows inputs, outputs and feedback, and what failed with the raw reply."""
    found = Record(
        7,
        0.25,
        passed=False,
        feedback="Say K3.",
        failure="no label",
        calls=(
            Call(1, {"text": "hi\nho", "tags": ["x"]}, {"label": "K1", "note": ""}),
            Call(4, {}, {}, failure="field label is missing", reply="K three"),
        ),
        calls_made=5,
    )
    done = Record(
        8, 1.0, passed=True, calls=(Call(1, {"text": "x"}, {"label": "K2"}),), calls_made=1
    )
    crash = Record(9, 0.0, passed=False, failure="KeyError")
    assert render([found, crash, done], instruction="Label it.", template=PLAIN) == (
        "Label it.\n\n"
        "## Example 1: score 0.25, to be improved\n\n"
        '### Call 1 of 5\n\nInput:\ntext:\nhi\nho\ntags: ["x"]\n\n'
        "Output:\nlabel: K1\nnote: (empty)\n\n"
        "[... 2 calls left out ...]\n\n"
        "### Call 4 of 5\n\nInput:\n(nothing)\n\n"
        "Output: not usable. field label is missing\n\nWhat was written instead:\nK three\n\n"
        "[... 1 calls left out ...]\n\n"
        "The program gave no answer: no label\n\nFeedback:\nSay K3.\n\n"
        "## Example 2: score 0, to be improved\n\n"
        "The program failed before it reached this step.\n\n"
        "The program gave no answer: KeyError\n\nFeedback:\n(none)\n\n"
        "## Example 3: score 1, right\n\nInput:\ntext: x\n\nOutput:\nlabel: K2\n\nFeedback:\n(none)"
    )


def test_a_failed_call_without_a_reply_shows_only_why():
    """No raw reply, no paragraph about it."""
    found = Record(1, 0.0, passed=False, calls=(Call(1, {"a": 1}, {}, "timeout"),), calls_made=1)
    assert "Output: not usable. timeout\n\nFeedback" in render([found], instruction="I")


def test_an_input_that_grows_call_by_call_is_shown_once():
    """What an input repeats of the call before is referred to and not shown again."""
    start = "thought " * 40
    calls = tuple(
        Call(number, {"trajectory": start + grown, "question": "why"}, {"next": "x"})
        for number, grown in enumerate(["", "then A", "then A then B"], start=1)
    )
    prompt = render(
        [Record(1, 0.0, passed=False, calls=calls, calls_made=3)], instruction="I", template=PLAIN
    )
    assert prompt.count("thought ") == 40
    assert "[... 320 characters as in the call before ...]then A\n" in prompt
    assert "[... 326 characters as in the call before ...] then B\n" in prompt
    assert prompt.count("question: why") == 3


def test_values_are_cut_before_failing_records_are_left_out():
    """Ten failing records with large values are all shown, each with its feedback."""
    made = [record(place, size=20_000) for place in range(10)]
    prompt = render(made, instruction="I")
    assert all(one.feedback in prompt for one in made)
    assert "characters left out ...]" in prompt
    assert "examples left out" not in prompt


def test_a_record_of_many_fields_leaves_room_for_the_others():
    """Where cut values do not suffice, each failing record is cut to its share."""
    fields = {f"field{place}": "x" * 300 for place in range(60)}
    made = [
        Record(place, 0.0, passed=False, feedback=f"F{place}.", calls=(Call(1, fields, {}),))
        for place in range(3)
    ]
    prompt = render(made, instruction="I", template=PLAIN, limit=6_000)
    assert all(f"F{place}." in prompt for place in range(3))
    assert len(prompt) <= 6_000


def test_an_instruction_too_long_for_the_limit_is_a_value_not_a_cut():
    """Where the instruction leaves no room, the answer says so with both sizes."""
    found = render([record(1)], instruction="x" * 50_000)
    assert isinstance(found, TooLong)
    assert "50,000" in found.reason
    assert "48,000" in found.reason


def test_a_long_description_leaves_most_of_the_room_to_the_examples():
    """A description takes a third of the room at most, and says what is left out of it."""
    prompt = render([record(1)], instruction="I", description="d" * 90_000, limit=9_000)
    assert 1_000 < prompt.count("d" * 100) * 100 < 3_000
    assert record(1).feedback in prompt


def test_an_empty_instruction_and_description_are_named_as_such():
    """Nothing is shown as an empty section."""
    prompt = render([], instruction=" ", description="")
    assert "(there is none yet)" in prompt
    assert "(not described)" in prompt


@pytest.mark.parametrize(
    "wrong", [{"prompt_characters": 3_999}, {"calls_per_record": 0}], ids=["prompt", "calls"]
)
def test_useless_limits_are_refused(wrong):
    """A limit under which nothing could be shown is refused by name and value."""
    ((name, value),) = wrong.items()
    with pytest.raises(SettingsError, match=f"{name} is {value}"):
        Limits(**wrong)


def test_rejected_attempts_are_told_with_their_reasons():
    """In full where there is room, each cut to its share where there is not, and not at all where
    nothing was tried."""
    tried = [("Say yes.", "no better on 3 examples: 1 against 1"), ("x" * 90_000, "worse")]
    prompt = render([record(1)], instruction="I", attempts=tried)
    assert "## Rejected: no better on 3 examples: 1 against 1\n\nSay yes.\n\n" in prompt
    assert LEFT_OUT.search(prompt)
    assert len(prompt) <= 48_000
    assert "rejected" not in render([record(1)], instruction="I")
    short = render([record(1)], instruction="I", attempts=tried, limit=4_000)
    assert len(short) <= 4_000

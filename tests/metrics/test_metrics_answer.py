"""Exact match and F1."""

import datetime as dt
import enum
from dataclasses import dataclass
from decimal import Decimal

import dspy
import pydantic
import pytest
from dspy.evaluate.metrics import EM
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.errors import MetricError
from dspy_gepa.metrics import F1, ExactMatch


def gold(answer, **more):
    """An example with this answer."""
    return dspy.Example(question="?", answer=answer, **more).with_inputs("question")


def said(metric, expected, answer):
    """Score and feedback."""
    found = metric(gold(expected), dspy.Prediction(answer=answer))
    return found.score, found.feedback


@pytest.mark.parametrize(
    ("expected", "answer", "score"),
    [
        ("Paris", "paris.", 1.0),
        ("The  Louvre", "a louvre", 1.0),
        ("Paris", "Lyon", 0.0),
        (["Paris", "City of Light"], "the city of light", 1.0),
        (["Paris", "Lyon"], "Nice", 0.0),
        ([1, 2], [1, 2], 1.0),
        (7, "7", 1.0),
        ("Café", "Cafe\u0301", 1.0),
        ("", "", 1.0),
    ],
)
def test_an_exact_match_is_one_of_normalised_words(expected, answer, score):
    """Case, punctuation, articles and white space do not count; a list holds alternatives."""
    assert said(ExactMatch(), expected, answer)[0] == score


@pytest.mark.parametrize(
    ("expected", "answer", "score"),
    [
        ("-5", "5", 0.0),
        ("-$5", "$5", 0.0),
        ("1.5", "15", 0.0),
        (".5", "5", 0.0),
        ("1/2", "12", 0.0),
        ("1,5", "15", 0.0),
        ("1e-5", "1e5", 0.0),
        ("It is -3.", "it is - 3", 0.0),
        ("1000.5", "1,000.5", 1.0),
        ("It is -3.", "it is -3!", 1.0),
        ("1990-1995", "1990 -- 1995", 0.0),
        ("F-16", "f16", 1.0),
        ("555-1234", "5551234", 1.0),
        ("$5", "5.", 1.0),
    ],
)
@pytest.mark.parametrize("metric", [ExactMatch(), F1()])
def test_what_is_part_of_a_number_is_no_punctuation(metric, expected, answer, score):
    """A sign, a decimal point and a fraction bar count; a comma between thousands does not."""
    assert (said(metric, expected, answer)[0] == 1.0) == score


@given(one=st.text("aThe É.,-/!\n", max_size=8), other=st.text("aThe É.,-/!\n", max_size=8))
def test_without_numbers_the_normalisation_is_dspys(one, other):
    """So that scores can be compared."""
    assert said(ExactMatch(), one, other)[0] == EM(other, [one])


class Size(enum.Enum):
    SMALL = "small"


class Item(pydantic.BaseModel):
    name: str
    count: int = 1
    day: dt.datetime = dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc)
    tags: set[str] = pydantic.Field(default_factory=set)


class Items(pydantic.RootModel[list[Item]]):
    pass


@dataclass
class Place:
    x: float
    size: Size = Size.SMALL


ITEM = {"count": 1, "name": "tea", "day": "2026-01-02T00:00:00Z", "tags": ["green", "black"]}
TEA = Item(name="tea", tags={"black", "green"})


@pytest.mark.parametrize("metric", [ExactMatch(), ExactMatch(normalizes=False), F1()])
@pytest.mark.parametrize(
    ("expected", "answer", "is_right"),
    [
        (-5, 5, False),
        (1.5, 15, False),
        ([-1, 2], [1, 2], False),
        (True, 1, False),
        (5, 5.0, True),
        (-5, "-5", True),
        (5.0, "5.0", True),
        (Decimal("1.50"), 1.5, True),
        ([1, 2], [1.0, 2.0], True),
        ([1, 2], ["1", "2"], True),
        ([1, 2], [1, 2, 3], False),
        ({"x": 1, "y": -2}, {"y": -2.0, "x": 1}, True),
        ({"x": 1, "y": -2}, {"x": 1, "y": 2}, False),
        ({"x": 1}, {"x": 1, "y": None}, False),
        ({1: "one"}, {"1": "one"}, True),
        ({0, 8}, {8, 0}, True),
        (["b", "a"], {"a", "b"}, True),
        ({"x": [{0, 8}]}, {"x": [{8, 0}]}, True),
        ([ITEM], [TEA], True),
        ([ITEM | {"count": 2}], [TEA], False),
        (ITEM, TEA, True),
        ([ITEM], Items([TEA]), True),
        ({"x": 1, "size": "small"}, Place(1.0), True),
        (Size.SMALL, "small", True),
        (dt.date(2026, 1, 2), "2026-01-02", True),
    ],
)
def test_what_is_no_text_is_compared_as_a_value(metric, expected, answer, is_right):
    """Within other values too, and in both directions."""
    assert (said(metric, expected, answer)[0] == 1.0) == is_right
    assert (said(metric, answer, expected)[0] == 1.0) == is_right


def test_the_order_of_a_list_matters_to_an_exact_match():
    """F1 looks at words, in any order."""
    assert said(ExactMatch(), [1, 2], [2, 1])[0] == 0.0
    assert said(F1(), [1, 2], [2, 1])[0] == 1.0


def test_texts_within_values_are_normalised():
    """Even where that changes their order."""
    expected = {"The names": {"The Louvre", "Paris"}, "a": 1, "the": 2}
    given = {"the": 2, "names": {"paris", "louvre"}, "A": 1}
    assert said(ExactMatch(), expected, given)[0] == 1.0
    assert said(ExactMatch(), expected, given | {"the": 3})[0] == 0.0
    score, feedback = said(ExactMatch(normalizes=False), expected, given)
    assert score == 0.0
    assert feedback.endswith("They differ in case, punctuation, articles or white space only.")


def test_feedback_shows_values_as_json():
    """Models within lists as well, and sets in the same order every time."""
    _, feedback = said(ExactMatch(), [ITEM], [TEA, Place(0.5)])
    assert feedback.splitlines()[1] == (
        'Given answer: [{"name": "tea", "count": 1, "day": "2026-01-02T00:00:00Z", '
        '"tags": ["black", "green"]}, {"x": 0.5, "size": "small"}]'
    )


def test_a_mismatch_tells_both_answers():
    """So that a reflection sees what was expected."""
    assert said(ExactMatch(), ["Paris", "Lyon"], "Nice") == (
        0.0,
        'Expected answer: one of ["Paris", "Lyon"]\nGiven answer: Nice',
    )


def test_without_normalisation_a_near_miss_is_named():
    """What differs in form only is the easiest to mend."""
    score, feedback = said(ExactMatch(normalizes=False), "Paris", "paris.")
    assert score == 0.0
    assert feedback.endswith("They differ in case, punctuation, articles or white space only.")


def test_f1_tells_missing_and_superfluous_words():
    """The score is the harmonic mean of precision and recall over words."""
    score, feedback = said(F1(), "the big red dog", "a red red cat")
    assert score == pytest.approx(2 * (1 / 3) * (1 / 3) / (2 / 3))
    assert feedback.splitlines() == [
        "F1 0.33. Expected answer: the big red dog",
        "Given: a red red cat",
        "Missing words: big dog",
        "Superfluous words: red cat",
    ]


WORDS = st.lists(st.sampled_from(["red", "big", "dog", "cat"]), max_size=6).map(" ".join)


@given(one=WORDS, other=WORDS)
def test_f1_is_a_similarity(one, other):
    """From 0 to 1, symmetric, 1 for the same words, and never below an exact match."""
    score, _ = said(F1(), one, other)
    assert 0.0 <= score <= 1.0
    assert score == said(F1(), other, one)[0]
    assert (score == 1.0) == (sorted(one.split()) == sorted(other.split()))
    assert score >= said(ExactMatch(), one, other)[0]


@given(answer=st.text(max_size=8), others=st.lists(st.text(max_size=8), min_size=1, max_size=3))
def test_of_several_alternatives_the_best_counts(answer, others):
    """More alternatives never make a score worse."""
    best, _ = said(F1(), others, answer)
    assert best == max(said(F1(), each, answer)[0] for each in others)


@pytest.mark.parametrize("metric", [ExactMatch, F1])
def test_several_labels_need_a_name(metric):
    """The error lists the labels; with the name the metric works."""
    example = gold("Paris", reason="capital")
    with pytest.raises(MetricError, match=r"the labels \['answer', 'reason'\]"):
        metric()(example, dspy.Prediction(answer="Paris", reason="x"))
    assert metric("answer")(example, dspy.Prediction(answer="Paris")).score == 1.0
    with pytest.raises(MetricError, match=r"field 'city' of the example, which has"):
        metric("city")(example, dspy.Prediction(city="Paris"))


@pytest.mark.parametrize("metric", [ExactMatch(), F1()])
@pytest.mark.parametrize("pred", [dspy.Prediction(city="Paris"), None])
def test_an_output_without_the_field_scores_nothing(metric, pred):
    """Whatever is expected; the feedback says which fields there are."""
    for expected in ("Paris", None):
        found = metric(gold(expected), pred)
        assert found.score == 0.0
        assert found.feedback.startswith("The output has no 'answer'; it has ")
        assert found.feedback.endswith(f"Expected answer: {expected}")


@pytest.mark.parametrize("metric", [ExactMatch(), ExactMatch(normalizes=False), F1()])
def test_none_is_an_answer_like_any_other(metric):
    """Right where it is expected, and called empty where something else is."""
    assert said(metric, None, None) == (1.0, "Right: None")
    assert said(metric, [None, "unknown"], None) == (1.0, "Right: None")
    assert said(metric, None, "Paris")[0] == 0.0
    assert said(metric, "None of them", None) == (
        0.0,
        "The output's 'answer' is empty. Expected answer: None of them",
    )

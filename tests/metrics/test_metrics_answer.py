"""Exact match and F1."""

import dspy
import pytest
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
@pytest.mark.parametrize("pred", [dspy.Prediction(city="Paris"), dspy.Prediction(answer=None)])
def test_an_output_without_the_field_scores_nothing(metric, pred):
    """The feedback says which fields there are."""
    found = metric(gold("Paris"), pred)
    assert found.score == 0.0
    assert found.feedback.startswith("The output has no 'answer'; it has ")
    assert found.feedback.endswith("Expected answer: Paris")

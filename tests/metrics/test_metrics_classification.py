"""Classification."""

from enum import Enum

import dspy
import pytest

from dspy_gepa.errors import MetricError, SettingsError
from dspy_gepa.metrics import Classification


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


def said(metric, expected, given):
    """Score and feedback."""
    example = dspy.Example(text="?", label=expected).with_inputs("text")
    found = metric(example, dspy.Prediction(label=given))
    return found.score, found.feedback


@pytest.mark.parametrize(
    ("expected", "given", "answer"),
    [
        ("good", " Good ", (1.0, "Right: good")),
        (Mood.GOOD, "good", (1.0, "Right: good")),
        ("good", "bad", (0.0, "Right is 'good'; it was taken for 'bad'.")),
        (
            "good",
            "superb",
            (0.0, "'superb' is no label. The labels are: good, bad. Right is 'good'."),
        ),
    ],
)
def test_the_feedback_says_which_label_was_taken_for_which(expected, given, answer):
    """And lists the labels where none of them was given."""
    assert said(Classification(["good", "bad"]), expected, given) == answer


@pytest.mark.parametrize(
    ("metric", "given", "score"),
    [
        (Classification(ignores_case=False), "Good", 0.0),
        (Classification(ignores_case=False), " good", 1.0),
        (Classification(ignores_whitespace=False), " good", 0.0),
        (Classification(ignores_whitespace=False), "GOOD", 1.0),
        (Classification(), "very good", 0.0),
    ],
)
def test_case_and_white_space_count_as_asked(metric, given, score):
    """Each on its own."""
    assert said(metric, "good", given)[0] == score


@pytest.mark.parametrize("metric", [Classification(), Classification(["good", "bad", None])])
def test_none_is_a_label_like_any_other(metric):
    """Right where it is expected, and called empty where another is."""
    assert said(metric, None, None) == (1.0, "Right: None")
    assert said(metric, None, "bad") == (0.0, "Right is 'None'; it was taken for 'bad'.")
    assert said(metric, "good", None) == (
        0.0,
        "The output's 'label' is empty. Expected label: good",
    )


@pytest.mark.parametrize("labels", [[], ["a", "A"], ["a b", "a  b"]])
def test_labels_that_cannot_be_told_apart_are_refused(labels):
    """Before anything is run."""
    with pytest.raises(SettingsError, match="at least one is needed"):
        Classification(labels)


def test_an_example_with_an_unknown_label_is_an_error():
    """It could never be right, whatever the program says."""
    with pytest.raises(MetricError, match="expects the label 'ugly'"):
        said(Classification(["good", "bad"]), "ugly", "good")

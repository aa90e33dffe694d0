"""The tasks' examples, metrics and splits are what the demo says that they are."""

import json
from collections import Counter

import dspy
import pytest

from dspy_gepa.demo.errors import MissingSource
from dspy_gepa.demo.facility import facility, grade_analysis
from dspy_gepa.demo.house_labels import grade_label, house_labels
from dspy_gepa.demo.task import Graded, limited


def label(text):
    return dspy.Prediction(label=text)


def test_no_message_is_in_two_splits():
    """The unseen test messages are unseen, and no customer or order helps across splits."""
    splits = house_labels().splits
    assert [len(split) for split in splits] == [14, 14, 32]
    everything = [example for split in splits for example in split]
    assert max(Counter(example.message for example in everything).values()) == 1
    assert max(Counter(example.label for example in everything).values()) == 1


def test_every_label_can_be_read_from_its_message():
    """An order number is in the message where the label has one, and so is the name."""
    for split in house_labels().splits:
        for example in split:
            order, name = example.label.split("-")
            assert (order in example.message) == (order != "NEW")
            assert name in example.message.upper().replace("Ø", "O")


def test_the_seed_instruction_says_nothing_of_the_policy():
    """The program starts from what a plain user would write."""
    assert house_labels().program.signature.instructions == "Give the label for the message."


@pytest.mark.parametrize(
    ("given", "score"),
    [
        ("12345-JONES", 1.0),
        (" 12345-JONES\n", 1.0),
        ("12345-MARY JONES", 0.5),
        ("NEW-JONES", 0.5),
        ("12345 - JONES", 0.0),
        ("late parcel", 0.0),
        ("", 0.0),
    ],
)
def test_labels_score_by_their_halves(given, score):
    """Each half of a label counts, in exactly the house's form."""
    gold = dspy.Example(message="", label="12345-JONES")
    assert grade_label(gold, label(given)).score == score


def test_label_feedback_is_about_this_message_alone():
    """The reviewer gives the right label and the rule for what was wrong, not the whole policy."""
    gold = dspy.Example(message="", label="NEW-HILL")
    assert grade_label(gold, label("NEW-HILL")) == Graded(1.0, "Right: NEW-HILL.")
    assert grade_label(gold, label("123-HILL")).feedback == (
        "The right label is NEW-HILL. The customer names no order, so the label begins with NEW."
    )
    assert "first name" not in grade_label(gold, label("NEW-Peter Hill")).feedback


ANALYSIS = {
    "urgency": "high",
    "sentiment": "neutral",
    "categories": {"cleaning": True, "repairs": False, "training": True, "feedback": False},
}
GOLD = dspy.Example(message="", analysis=ANALYSIS)


def analysis(urgency="high", sentiment="neutral", categories="cleaning, training"):
    return dspy.Prediction(urgency=urgency, sentiment=sentiment, categories=categories)


def test_an_analysis_scores_by_its_three_parts():
    """The score is the mean of urgency, sentiment and the share of right categories."""
    assert grade_analysis(GOLD, analysis()).score == 1.0
    half = analysis(urgency="low", categories="cleaning, repairs")
    assert grade_analysis(GOLD, half).score == pytest.approx((0 + 1 + 0.5) / 3)


def test_analysis_feedback_names_what_was_wrong():
    """Wrongly included and missed categories are named; a predictor hears of its own part."""
    wrong = analysis(sentiment="negative", categories="cleaning, repairs")
    assert grade_analysis(GOLD, wrong, None, "categories.predict", None).feedback == (
        "Wrongly included: repairs. Missed: training. Rightly included: cleaning."
    )
    assert grade_analysis(GOLD, wrong, pred_name="sentiment.predict").feedback == (
        "The sentiment is neutral, not negative."
    )
    assert "urgency is right" in grade_analysis(GOLD, wrong).feedback


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "facility" / "dataset.json"
    path.parent.mkdir()
    row = {"fields": {"input": "The lift is stuck."}, "answer": json.dumps(ANALYSIS)}
    path.write_text(json.dumps([row] * 200))
    return tmp_path


def test_facility_rows_come_from_a_folder(rows, monkeypatch):
    """The folder is given or set in the environment; the splits are 66, 66 and 68."""
    assert [len(split) for split in facility(rows).splits] == [66, 66, 68]
    monkeypatch.setenv("DSPY_GEPA_DATA", str(rows))
    task = facility()
    assert [len(split) for split in limited(task.splits, 5)] == [5, 5, 5]
    assert [name for name, _ in task.program.named_predictors()] == [
        "urgency.predict",
        "sentiment.predict",
        "categories.predict",
    ]


def test_missing_facility_rows_name_both_ways(tmp_path, monkeypatch):
    """Who has no rows is told of the package and of the folder."""
    monkeypatch.setattr("dspy_gepa.demo.facility._PACKAGE", "no_such_package")
    with pytest.raises(MissingSource, match=r"pip install .*llama-prompt-ops.*--data-dir"):
        facility(tmp_path)

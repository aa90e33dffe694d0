"""Facility support: three steps, three parts of a score, feedback for the step that is asked."""

import json

import dspy
import pytest
from task_trials import UNREADABLE, checked_shape, from_folder, judged, run

CATEGORIES = {"cleaning": True, "training": False, "emergency": False}


def row(number):
    """A row in the public schema: the right answer is JSON within JSON."""
    answer = {"categories": CATEGORIES, "sentiment": "neutral", "urgency": "high"}
    return {"fields": {"input": f"Please clean room {number}."}, "answer": json.dumps(answer)}


@pytest.fixture
def task(tmp_path):
    """The task over three rows in a folder."""
    rows = [row(number) for number in range(3)]
    return from_folder(tmp_path, "facility", {"facility/dataset.json": rows})


RIGHT = {"urgency": "high", "sentiment": "neutral", "categories": "cleaning"}


def test_the_program_has_three_steps(task):
    """Each step sees the message, the last one the known categories, too."""
    replies = [{"reasoning": "r", name: value} for name, value in RIGHT.items()]
    prediction, lm = run(task, task.train[0], *replies)
    assert len(lm.history) == 3
    assert "cleaning, emergency, training" in str(lm.history[2]["messages"])
    assert judged(task, task.train[0], **prediction.toDict())[0] == 1
    checked_shape(task)


def test_wrong_parts_are_named(task):
    """A third for each part; what was missed and what was wrongly included is named."""
    answer = {"urgency": "low", "sentiment": "neutral", "categories": "training"}
    score, feedback = judged(task, task.train[0], **answer)
    assert score == pytest.approx((0 + 1 + 1 / 3) / 3)
    assert "The urgency is high, not low." in feedback
    assert "Wrongly included: training. Missed: cleaning." in feedback


@pytest.mark.parametrize("step", ["urgency", "sentiment", "categories"])
def test_a_step_hears_of_itself(task, step):
    """Told a predictor's name, the feedback is that step's and the score the same."""
    pred = dspy.Prediction(urgency="low", sentiment="positive", categories="training")
    whole = task.metric(task.train[0], pred)
    own = task.metric(task.train[0], pred, None, f"{step}.predict", None)
    assert own.score == whole.score
    assert own.feedback in whole.feedback
    assert own.feedback != whole.feedback


@pytest.mark.parametrize("answer", UNREADABLE)
def test_unreadable_answers(task, answer):
    """Only the categories that were rightly left out count, and the right answers are named."""
    score, feedback = judged(
        task, task.train[0], urgency=answer, sentiment=answer, categories=answer
    )
    assert score == pytest.approx(2 / 9)
    assert all(part in feedback for part in ("is high", "is neutral", "Missed: cleaning"))

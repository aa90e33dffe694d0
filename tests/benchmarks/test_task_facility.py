"""Facility support: three steps, three parts of a score, feedback for the step that is asked."""

import json

import dspy
import pytest
from task_trials import UNREADABLE, checked_shape, from_folder, judged, kept, run
from tasks import Source, load

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


def test_the_origin_says_where_the_rows_are(tmp_path, monkeypatch):
    """The file may lie beside the tasks' folders, too; it is not said to be a package's then."""
    kept(tmp_path, "dataset.json", [row(number) for number in range(3)])
    monkeypatch.setenv("DSPY_GEPA_DATA", str(tmp_path))
    assert load("facility").origin.source == "the folder's dataset.json"


def test_a_folder_that_is_given_hides_the_variable_s(tmp_path, monkeypatch):
    """As for every task, a given folder takes the variable's place; after it comes the package."""
    site = tmp_path / "site"
    packaged = [{**row(number), "fields": {"input": "packaged"}} for number in range(3)]
    kept(site, "llama_prompt_ops/templates/sample_dataset.json", packaged)
    monkeypatch.syspath_prepend(site)
    kept(tmp_path / "variable", "facility/dataset.json", [row(number) for number in range(3)])
    monkeypatch.setenv("DSPY_GEPA_DATA", str(tmp_path / "variable"))
    task = load("facility", Source(tmp_path / "empty"))
    assert task.train[0].message == "packaged"
    assert task.origin.source == "the package llama-prompt-ops"
    assert load("facility").origin.source == "the folder's facility/dataset.json"

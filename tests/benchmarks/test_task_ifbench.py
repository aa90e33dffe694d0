"""IFBench: constraints are checked on the final response, and on the draft for the first step."""

import json
import random

import dspy
import pytest

pytest.importorskip("if_verifiable", reason="needs the package if-verifiable of the extra tasks")

from task_trials import UNREADABLE, checked_shape, from_folder, hub_of, judged, run
from tasks import load

KINDS = ["punctuation:no_comma", "keywords:existence"]
SETTINGS = [{}, {"keywords": ["tea"]}]


def row(number, **settings):
    """A prompt in the schema of IFEval and of IFBench's test."""
    return {
        "key": number,
        "prompt": f"Write a sentence about drink {number}. Use no commas and the word tea.",
        "instruction_id_list": KINDS,
        "kwargs": SETTINGS,
        **settings,
    }


def hub_row(number, *, is_json):
    """A training prompt of the hub: the constraints are a list as Python writes it."""
    constraints = {"instruction_id": KINDS, "kwargs": [None, {**SETTINGS[1], "language": None}]}
    return {
        "messages": [{"role": "user", "content": row(number)["prompt"]}],
        "ground_truth": str([json.dumps(constraints) if is_json else constraints]),
    }


TEST = [row("0", instruction_id_list=["count:numbers"], kwargs=[{"N": 2, "language": None}])]


@pytest.fixture
def task(tmp_path):
    """The task over three rows to learn from and one of the test."""
    learnt = [row(number) for number in range(3)]
    files = {"ifbench/ifeval_input_data.jsonl": learnt, "ifbench/IFBench_test.jsonl": TEST}
    return from_folder(tmp_path, "ifbench", files)


def test_the_program_responds_and_ensures(task):
    """The second step sees the first one's response, and the final one counts."""
    prediction, lm = run(
        task,
        task.train[0],
        {"reasoning": "r", "response": "Coffee, I think"},
        {"reasoning": "r", "final_response": "Some tea"},
    )
    assert "Coffee, I think" in str(lm.history[1]["messages"])
    assert (prediction.draft, prediction.response) == ("Coffee, I think", "Some tea")
    assert task.metric(task.train[0], prediction).score == 1
    checked_shape(task)


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("A cup of tea", 1),
        ("Sure, here it is:\nA cup of tea", 1),
        ("A cup of tea\nAnything else, sir?", 1),
        ("A cup, of tea", 0.5),
        ("A cup of coffee", 0.5),
        ("A cup, of coffee", 0),
    ],
)
def test_the_share_of_constraints_counts(task, response, score):
    """Each constraint counts by itself; a line before or after the response does no harm."""
    assert judged(task, task.train[0], response=response)[0] == score


def test_constraints_are_named_in_words(task):
    """Those that are kept and those that are broken."""
    _, feedback = judged(task, task.train[0], response="A cup of coffee")
    kept, broken = feedback.split("These constraints are broken: ")
    assert "refrain from the use of any commas" in kept
    assert "Include keywords ['tea']" in broken


def test_the_first_step_hears_of_its_own_response(task):
    """The score is that of the final response, the feedback that of the draft."""
    pred = dspy.Prediction(response="A cup of tea", draft="A cup, of coffee")
    verdict = task.metric(task.train[0], pred, None, "respond.predict", [])
    assert verdict.score == 1
    assert "kept" not in verdict.feedback
    last = task.metric(task.train[0], pred, None, "ensure.predict", [])
    assert "broken" not in last.feedback


@pytest.mark.parametrize("response", [each for each in UNREADABLE if each not in ("???", "\ud83d")])
def test_unreadable_responses(task, response):
    """No text keeps no constraint, not even the one that forbids something."""
    score, feedback = judged(task, task.train[0], response=response, draft=response)
    assert score == 0
    assert "commas" in feedback


def test_chance_is_left_as_it_was(task):
    """The checkers draw numbers; those of everybody else go on undisturbed."""
    random.seed(5)
    wanted = random.Random(5).random()
    judged(task, task.train[0], response="A cup of tea")
    assert random.random() == wanted


def test_what_cannot_be_checked_is_left_out_and_said(tmp_path):
    """A test prompt with a constraint of an unknown kind is not scored as if it had none."""
    unknown = row("1", instruction_id_list=["format:new"], kwargs=[{}])
    learnt = [*(row(number) for number in range(3)), unknown]
    files = {
        "ifbench/ifeval_input_data.jsonl": learnt,
        "ifbench/IFBench_test.jsonl": [*TEST, unknown],
    }
    task = from_folder(tmp_path, "ifbench", files)
    assert task.origin.rows == {"train": 1, "validation": 2, "test": 1}
    assert "1 test prompts left out" in task.origin.differs


@pytest.mark.parametrize("is_json", [True, False])
def test_the_published_training_prompts_from_the_hub(monkeypatch, is_json):
    """The hub's own schema is read; settings that are None are none."""
    learnt = [hub_row(number, is_json=is_json) for number in range(3)]
    tables = {"allenai/IF_multi_constraints_upto5": learnt, "allenai/IFBench_test": TEST}
    hub_of(monkeypatch, tables)
    task = load("ifbench")
    assert task.train[0].kinds == KINDS
    assert task.train[0].settings == SETTINGS
    assert task.test[0].settings == [{"N": 2}]
    assert "IFEval" not in task.origin.differs

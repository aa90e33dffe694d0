"""LiveBench-Math: letters, numbers, orders and expressions, each by its rule."""

import pytest

pytest.importorskip("math_verify", reason="needs the package math-verify of the extra tasks")

from task_trials import UNREADABLE, checked_shape, from_folder, hub_of, judged, run
from tasks import load

ROWS = [
    {"turns": ["Which letter?"], "ground_truth": "C", "task": "math_comp"},
    {"turns": ["Which number?"], "ground_truth": "073", "task": "math_comp"},
    {"turns": ["Which order?"], "ground_truth": "2,1,3", "task": "olympiad"},
    {"turns": ["Which expression?"], "ground_truth": "$(x+1)^2$", "task": "AMPS_Hard"},
]


@pytest.fixture
def task(tmp_path):
    """The task over one question of each kind."""
    return from_folder(tmp_path, "livebench_math", {"livebench_math/test.jsonl": ROWS})


def gold_of(task, answer):
    """The example that has this answer."""
    row = next(row for row in ROWS if row["ground_truth"] == answer)
    return task.train[0].copy(question=row["turns"][0], answer=answer, kind=row["task"])


def test_the_program_answers(task):
    """The question is asked as it is."""
    gold = task.train[0]
    prediction, lm = run(task, gold, {"reasoning": "r", "answer": gold.answer})
    assert gold.question in str(lm.history[0]["messages"])
    assert task.metric(gold, prediction).score == 1
    checked_shape(task)


@pytest.mark.parametrize(
    ("right", "answer", "score"),
    [
        ("C", "C", 1),
        ("C", "CCCCC", 1),
        ("C", "The answer is C.", 1),
        ("C", "\\boxed{C}", 1),
        ("C", "D", 0),
        ("C", "AAAAA", 0),
        ("073", "073", 1),
        ("073", "73", 1),
        ("073", "It is \\boxed{073}.", 1),
        ("073", "730", 0),
        ("2,1,3", "2,1,3", 1),
        ("2,1,3", "There are 4 gaps. Answer: 2, 1, 3", 1),
        ("2,1,3", "2,1", 2 / 3),
        ("2,1,3", "3,2,1", 1 / 3),
        ("2,1,3", "7,8,9", 0),
        ("$(x+1)^2$", "x^2+2x+1", 1),
        ("$(x+1)^2$", "\\boxed{(1+x)^2}", 1),
        ("$(x+1)^2$", "x^2+1", 0),
    ],
)
def test_each_kind_has_its_rule(task, right, answer, score):
    """The feedback names what was read and the right answer."""
    found, feedback = judged(task, gold_of(task, right), answer=answer)
    assert found == pytest.approx(score)
    assert right in feedback


@pytest.mark.parametrize(
    ("answer", "score"), [("000", 1), ("0", 1), ("It is \\boxed{0}.", 1), ("100", 0), ("none", 0)]
)
@pytest.mark.parametrize("right", ["000", "0"])
def test_the_number_zero_is_a_number(task, right, answer, score):
    """Where the answer is zero, one without a number is wrong."""
    gold = gold_of(task, "073").copy(answer=right)
    assert judged(task, gold, answer=answer)[0] == score


@pytest.mark.parametrize("right", [row["ground_truth"] for row in ROWS])
@pytest.mark.parametrize("answer", UNREADABLE)
def test_unreadable_answers(task, right, answer):
    """No point for any kind, no crash."""
    score, feedback = judged(task, gold_of(task, right), answer=answer)
    assert score == 0
    assert right in feedback


def test_the_same_task_from_the_hub(task, monkeypatch):
    """The hub's rows give the same task."""
    hub_of(monkeypatch, {"livebench/math": ROWS})
    assert load("livebench_math").origin.digest == task.origin.digest

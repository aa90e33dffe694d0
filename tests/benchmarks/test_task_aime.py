"""AIME: the answer has to be a whole number and nothing else."""

import pytest
from task_trials import UNREADABLE, checked_shape, from_folder, hub_of, judged, run
from tasks import load

LEARN = [
    {
        "id": n,
        "problem": f"What is {n} + 2?",
        "solution": f"It is {n + 2}.",
        "answer": f"{n + 2:03}",
    }
    for n in range(3)
]
TEST = [{"problem_idx": 1, "problem": "What is 3 * 4?", "answer": 12}]


NO_NUMBERS = [each for each in UNREADABLE if each != 17]


@pytest.fixture
def task(tmp_path):
    """The task over three problems to learn from and one of the test."""
    return from_folder(tmp_path, "aime", {"aime/learn.jsonl": LEARN, "aime/test.jsonl": TEST})


def test_the_program_solves(task):
    """The right number is a point; each test problem is asked five times."""
    gold = task.test[0]
    prediction, _ = run(task, gold, {"reasoning": "r", "answer": "12"})
    assert task.metric(gold, prediction).score == 1
    assert len(task.test) == 5
    assert "stands 5 times" in task.origin.differs
    checked_shape(task)


@pytest.mark.parametrize(("answer", "score"), [("2", 1), (" 002 ", 1), (2, 1), ("3", 0), ("-2", 0)])
def test_numbers_are_compared(task, answer, score):
    """Zeros in front do not count; the written solution is told either way."""
    gold = task.train[0].copy(answer="002", solution="It is 2.")
    assert judged(task, gold, answer=answer)[0] == score
    assert "A written solution: It is 2." in judged(task, gold, answer=answer)[1]


@pytest.mark.parametrize("answer", [*NO_NUMBERS, "x = 12", "12.0", "²", "1" * 5000])
def test_unreadable_answers(task, answer):
    """The feedback says that it has to be a whole number, and names the right one."""
    score, feedback = judged(task, task.test[0], answer=answer)
    assert score == 0
    assert "cannot be read as one. The right answer is 12." in feedback


def test_both_data_sets_from_the_hub(task, monkeypatch):
    """The hub's rows give the same task."""
    hub_of(monkeypatch, {"AI-MO/aimo-validation-aime": LEARN, "MathArena/aime_2025": TEST})
    assert load("aime").origin.digest == task.origin.digest

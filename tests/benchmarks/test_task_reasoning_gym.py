"""Reasoning gym: questions by the seed, feedback with the facts."""

import pytest

pytest.importorskip("reasoning_gym", reason="needs the package reasoning-gym of the extra tasks")

from task_trials import UNREADABLE, checked_shape, judged, run
from tasks import load


@pytest.fixture(scope="module")
def task():
    """The task of seed 0."""
    return load("reasoning_gym")


def test_the_right_answer_is_the_sum_of_the_facts(task):
    """Counts and legs, which the feedback names, give the answer."""
    gold = task.train[0]
    assert int(gold.answer) == sum(gold.counts[each] * legs for each, legs in gold.legs.items())
    prediction, _ = run(task, gold, {"reasoning": "r", "answer": f"{gold.answer} legs"})
    assert task.metric(gold, prediction).score == 1
    checked_shape(task)


@pytest.mark.parametrize("answer", ["0", "-4", "seven or 7"])
def test_wrong_answers(task, answer):
    """Every animal is named with its legs."""
    score, feedback = judged(task, task.train[0], answer=answer)
    assert score == 0
    assert all(f"{name} with {n} legs each" in feedback for name, n in task.train[0].legs.items())


@pytest.mark.parametrize("answer", [each for each in UNREADABLE if each != 17])
def test_unreadable_answers(task, answer):
    """No number is no point."""
    score, feedback = judged(task, task.train[0], answer=answer)
    assert score == 0
    assert feedback.startswith("The answer holds no number")


def test_the_seed_draws_the_questions(task):
    """Another seed has other questions, the same one the same."""
    assert load("reasoning_gym").origin == task.origin
    assert load("reasoning_gym", seed=1).origin.digest != task.origin.digest

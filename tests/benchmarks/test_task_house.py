"""The house tasks: no files needed, facts by the seed, the metric in five arguments."""

import pytest
from task_trials import UNREADABLE, checked_shape, judged, run
from tasks import TASKS, load

HOUSE = [name for name in TASKS if name.startswith("house_")]
pytestmark = pytest.mark.parametrize("name", HOUSE)


def test_the_right_answer_is_the_best(name):
    """The gold fields score 1; the program hands over what the model says."""
    task = load(name)
    checked_shape(task)
    gold = task.train[0]
    right = dict(gold.labels().items())
    assert judged(task, gold, **right)[0] == 1
    if name == "house_labels":
        assert run(task, gold, right)[0].label == gold.label


@pytest.mark.parametrize("answer", UNREADABLE)
def test_unreadable_answers(name, answer):
    """They score nothing, or the least that the task gives, and what was expected is named."""
    task = load(name)
    gold = task.train[0]
    score, feedback = judged(task, gold, **dict.fromkeys(gold.labels().keys(), answer))
    assert score == 0
    expected = gold.labels().values()
    assert all(str(each) in feedback for each in expected if not name.startswith("house_labels"))


def test_the_seed_draws_the_facts(name):
    """Another seed has other rows, but for the rows that ship with the package."""
    digests = {load(name, seed=seed).origin.digest for seed in (0, 0, 1)}
    assert len(digests) == (1 if name == "house_labels" else 2)

"""GSM8K: the number after the last #### is the answer, and it is compared as a number."""

import pytest
from task_trials import UNREADABLE, checked_shape, from_folder, hub_of, judged, run
from tasks import load

ROWS = [
    {"question": "Two hens, how many legs?", "answer": "2 * 2 = <<2*2=4>>4 legs\n#### 4"},
    {"question": "A house for 1 and two for 500?", "answer": "1000 + 1\n#### 1,001"},
    {"question": "I owe 3 and have none. What do I have?", "answer": "0 - 3 = -3\n#### -3"},
]


@pytest.fixture
def task(tmp_path):
    """The task over three rows in a folder."""
    return from_folder(tmp_path, "gsm8k", {"gsm8k/test.jsonl": ROWS})


def gold_of(task, answer):
    """The example that has this answer."""
    return next(
        each for each in [*task.train, *task.validation, *task.test] if each.answer == answer
    )


def test_the_program_reasons_and_answers(task):
    """The question is in the prompt, and the answer is the model's."""
    gold = gold_of(task, "4")
    prediction, lm = run(task, gold, {"reasoning": "2 * 2", "answer": "4"})
    assert "Two hens" in str(lm.history[-1]["messages"])
    assert judged(task, gold, **prediction.toDict()) == (1.0, "Right: 4.")
    checked_shape(task)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("4", "4"),
        ("4.00", "4"),
        ("The answer is $4.", "4"),
        ("2 * 2 = 4", "4"),
        (4, "4"),
        ("1001", "1,001"),
        ("1,001.0 houses", "1,001"),
        ("\\boxed{1001}", "1,001"),
        ("−3", "-3"),
        ("It is -3 then", "-3"),
    ],
)
def test_right_answers_in_many_forms(task, answer, wanted):
    """Commas, signs of money, decimals and words around it do not make a number wrong."""
    assert judged(task, gold_of(task, wanted), answer=answer)[0] == 1


@pytest.mark.parametrize("answer", ["5", "44", "4.5", "-4", "4, no, 5", "4e9 5"])
def test_wrong_answers(task, answer):
    """The feedback names the answer that was read, the right one, and the worked solution."""
    score, feedback = judged(task, gold_of(task, "4"), answer=answer)
    assert score == 0
    assert "is wrong. The right answer is 4. A worked solution: 2 * 2" in feedback


@pytest.mark.parametrize("answer", [each for each in UNREADABLE if each != 17])
def test_unreadable_answers(task, answer):
    """No number is no point; the feedback says so, and what was wanted."""
    score, feedback = judged(task, gold_of(task, "4"), answer=answer)
    assert score == 0
    assert feedback.startswith("The answer holds no number")
    assert "The right answer is 4." in feedback


def test_the_same_task_from_the_hub(task, monkeypatch):
    """Rows of the hub give the same examples as those of a folder."""
    hub_of(monkeypatch, {"openai/gsm8k": ROWS})
    assert load("gsm8k").origin.digest == task.origin.digest

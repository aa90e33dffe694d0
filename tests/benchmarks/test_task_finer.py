"""Financial entities: four tags a row, each counts by its place."""

import pytest
from task_trials import UNREADABLE, checked_shape, from_folder, judged, run

TAGS = ["Revenues", "SharePrice", "Goodwill", "DebtInstrumentTerm"]


def row(number):
    """A row in the public schema."""
    sentence = f"We had {number}.5 million of goodwill at a price of {number} ."
    return {
        "questions": [
            {"entity": f"{number}.5", "sentence": sentence},
            {"entity": str(number), "sentence": sentence},
        ],
        "target": ["Goodwill", "SharePrice"],
    }


@pytest.fixture
def task(tmp_path):
    """The task over three rows of each file."""
    files = {
        "finer/finer_val_500.jsonl": [row(number) for number in (1, 2, 3)],
        "finer/finer_test_441.jsonl": [row(number) for number in (4, 5, 6)],
        "finer/tags.json": {"tags": TAGS, "prompt_head": ""},
    }
    return from_folder(tmp_path, "finer", files)


def test_the_program_sees_tags_entities_and_sentences(task):
    """The list of tags and each entity with its sentence are in the prompt."""
    gold = task.train[0]
    prediction, lm = run(task, gold, {"reasoning": "r", "answer": "Goodwill, SharePrice"})
    prompt = str(lm.history[-1]["messages"])
    assert "Revenues, SharePrice, Goodwill, DebtInstrumentTerm" in prompt
    assert "1. 1.5 in: We had 1.5 million" in prompt
    assert judged(task, gold, **prediction.toDict())[0] == 1
    assert [len(split) for split in (task.train, task.validation, task.test)] == [1, 1, 3]
    checked_shape(task)


@pytest.mark.parametrize(
    "answer",
    [
        "Goodwill,SharePrice",
        "Goodwill, SharePrice.",
        "1. Goodwill\n2. SharePrice",
        "- 1.5: Goodwill\n- 1: SharePrice",
        "The tags are: Goodwill, SharePrice",
        "`Goodwill`; `SharePrice`",
        '["Goodwill", "SharePrice"]',
    ],
)
def test_right_answers_in_many_forms(task, answer):
    """Numbers, marks and a few words around the tags do not make them wrong."""
    assert judged(task, task.train[0], answer=answer)[0] == 1


def test_half_right(task):
    """Each entity counts by itself, and is named with the tag it got and the right one."""
    score, feedback = judged(task, task.train[0], answer="Goodwill, Revenues")
    assert score == 0.5
    assert feedback == (
        "1.5: Goodwill is right. 1: Revenues is wrong; the right tag is SharePrice."
    )


def test_the_order_counts(task):
    """The right tags in the wrong places are wrong."""
    assert judged(task, task.train[0], answer="SharePrice, Goodwill")[0] == 0


def test_too_few_and_too_many(task):
    """A missing tag is named, and so is that there are too many."""
    score, feedback = judged(task, task.train[0], answer="Goodwill")
    assert (score, feedback.split(". ")[1]) == (
        0.5, "1: no tag was given; the right one is SharePrice.",
    )  # fmt: skip
    score, feedback = judged(task, task.train[0], answer="Goodwill, SharePrice, Revenues")
    assert score == 1
    assert "3 tags were given for 2 entities." in feedback


@pytest.mark.parametrize("answer", UNREADABLE)
def test_unreadable_answers(task, answer):
    """No point, and every entity is named with its right tag."""
    score, feedback = judged(task, task.train[0], answer=answer)
    assert score == 0
    assert feedback == (
        "1.5: no tag was given; the right one is Goodwill. "
        "1: no tag was given; the right one is SharePrice."
    )

"""The house tasks: facts by the seed, test patterns of their own, feedback without reasons."""

import re
import sys
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from house_tasks import HOUSE_TASKS, house_task
from line_adapter import LineAdapter

pytestmark = pytest.mark.parametrize("name", HOUSE_TASKS)


def shown(house):
    """What the rows of a task say, by split."""
    return {
        split: [(row.message, row.answer) for row in rows] for split, rows in house.rows.items()
    }


def test_a_seed_gives_the_same_rows_again(name):
    """The same seed gives the same rows and the same good instruction."""
    first, second = house_task(name, 3), house_task(name, 3)
    assert shown(first) == shown(second)
    assert first.good == second.good


def test_another_seed_has_other_facts(name):
    """Of ten seeds at least seven differ in their facts; a small table is drawn twice at times."""
    assert len({house_task(name, seed).good for seed in range(10)}) >= 7


def test_the_seed_program_knows_no_fact(name):
    """The instruction as given says nothing that the seed draws, but for the words of a scale."""
    given = [house_task(name, seed).task.title for seed in range(5)]
    assert name == "signals" or len(set(given)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_no_pattern_is_in_two_splits(name, seed):
    """No sentence, phrase or frame of a test row stands in training or validation rows."""
    patterns = [
        {pattern for row in rows for pattern in row.patterns}
        for rows in house_task(name, seed).rows.values()
    ]
    assert all(not one & other for one, other in combinations(patterns, 2))


@pytest.mark.parametrize("seed", range(5))
def test_splits_have_their_sizes_and_the_same_classes(name, seed):
    """24, 24 and 200 rows, all different; every fixed answer of the test is learnable."""
    rows = house_task(name, seed).rows
    assert {split: len({row.message for row in own}) for split, own in rows.items()} == {
        "train": 24,
        "validation": 24,
        "test": 200,
    }
    if name in ("codes", "stickers", "signals"):
        answers = {split: {str(row.answer) for row in own} for split, own in rows.items()}
        assert answers["test"] <= answers["train"]


def test_fewer_test_rows_change_nothing_else(name):
    """A shorter test is the beginning of the longer one."""
    short, long = house_task(name, 1, test=40), house_task(name, 1)
    assert shown(short)["test"] == shown(long)["test"][:40]
    assert shown(short)["train"] == shown(long)["train"]


def test_the_metric_tells_right_wrong_and_unreadable(name):
    """Right is 1; wrong says what was expected and what came; no text has a remark of its own."""
    house = house_task(name, 0)
    metric, gold, right = house.task.metric, house.task.splits.train[0], house.rows["train"][0]
    assert metric(gold, dspy.Prediction(**right.answer)) == (1.0, "Right.")
    quoted = {field: f" '{value}'" for field, value in right.answer.items()}
    assert metric(gold, dspy.Prediction(**quoted)).score == 1
    field, value = next(iter(right.answer.items()))
    wrong = metric(gold, dspy.Prediction(**{**right.answer, field: "nonsense"}))
    assert wrong.score == (2 / 3 if name == "records" else 0)
    assert wrong.feedback == f"Expected {field} '{value}', got 'nonsense'."
    unreadable = metric(gold, SimpleNamespace())
    assert unreadable.score == 0
    assert unreadable.feedback.count("no answer that can be read") == len(right.answer)


def test_the_instruction_by_hand_states_the_facts(name):
    """Whatever is a fixed word of the answers stands in it."""
    house = house_task(name, 2)
    if name in ("codes", "stickers", "signals"):
        words = {value for row in house.rows["test"] for value in row.answer.values()}
        assert words <= set(re.findall(r"\w+", house.good))


def test_answers_are_read_from_lines(name):
    """Each field has its line, in any order and with any prose around; a field less is an error."""
    signature = house_task(name, 0).task.program.answer.signature
    fields = list(signature.output_fields)
    lines = [f"{field.capitalize()}: a: {number}" for number, field in enumerate(fields)]
    values = LineAdapter().parse(signature, "\n".join(["Sure!", *reversed(lines)]))
    assert values == {field: f"a: {number}" for number, field in enumerate(fields)}
    with pytest.raises(AdapterParseError):
        LineAdapter().parse(signature, lines[0])

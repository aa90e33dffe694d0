"""The worked examples of benchmarks/anything: what their evaluators and models are held to."""

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "anything"


@pytest.fixture(scope="module")
def examples():
    sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
    import circles
    import faster
    import regexes
    import run

    yield {"circles": circles, "faster": faster, "regexes": regexes, "run": run}
    del sys.path[:2]


def test_the_best_radii_of_few_circles_are_known(examples):
    """One circle, and two in opposite corners: 2 - sqrt(2)."""
    best_radii = examples["circles"].best_radii
    assert best_radii(np.array([[0.5, 0.5]]))[0] == pytest.approx(0.5)
    corner = 0.2928932188
    two = np.array([[corner, corner], [1 - corner, 1 - corner]])
    assert best_radii(two)[0] == pytest.approx(2 - 2**0.5)


def test_where_a_circle_is_pushed_is_the_slope_of_the_sum(examples):
    """By finite differences, at a place where nothing is on a corner."""
    best_radii = examples["circles"].best_radii
    centres = np.random.default_rng(0).random((12, 2))
    total, push = best_radii(centres)
    for circle in range(12):
        for way in range(2):
            moved = centres.copy()
            moved[circle, way] += 1e-7
            assert (best_radii(moved)[0] - total) / 1e-7 == pytest.approx(
                push[circle, way], abs=1e-3
            )


def test_the_hidden_kind_of_strings_is_scored_as_it_is(examples):
    """The expression that the strings are made by is right about all, the first about half."""
    regexes = examples["regexes"]
    sets = regexes.strings(3)
    hidden = r"[A-Z]{2}-\d{3,5}(/[a-z]{1,6})?"
    assert {regexes.evaluate(hidden, one)[0] for one in sets.unseen} == {1.0}
    right = [regexes.evaluate(regexes.SEED, one)[0] for one in sets.unseen]
    assert sum(right) == pytest.approx(len(right) / 2, abs=1)
    texts = [text for text, _ in sets.train + sets.validation]
    assert len(sets.train) == len(sets.validation) == 40
    assert len(texts) == 80


def test_a_wrong_result_is_a_failure_and_no_score(examples):
    """However fast it is."""
    faster = examples["faster"]
    with pytest.raises(ValueError, match="must be"):
        faster.evaluate("def solve(words):\n    return 0")
    assert faster.evaluate(faster.REFERENCE)[0] > 20


@pytest.mark.parametrize(("name", "limit"), [("circles", 12), ("regexes", 60)])
def test_a_model_does_better_with_what_is_said_than_without(examples, name, limit):
    """Ours, at equal calls and with a seed, above the same model that is told nothing."""
    rows = examples["run"].rows_of(name, None)
    told, calls = rows["dspy_gepa"](1, limit)
    blind, _ = rows["dspy_gepa, blind"](1, limit)
    assert calls <= limit
    assert told >= blind


def test_a_function_that_is_still_right_gets_a_speed(examples):
    """Each evaluation is in a process of its own. How fast it becomes is for the benchmark to say:
    a busy machine measures nothing."""
    score, calls = examples["run"].rows_of("faster", None)["dspy_gepa"](1, 6)
    assert calls <= 6
    assert score > 0


def test_a_table_is_printed(examples, capsys):
    """With what gepa makes of it in the same run."""
    examples["run"].main(["regexes", "--calls", "45", "--seeds", "1"])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["row", "asked", "made", "mean", "each", "seed"]
    assert [row.split("  ")[0] for row in rows[1:]] == [
        "dspy_gepa", "gepa 0.1.4", "dspy_gepa, blind", "dspy_gepa, shuffled",
    ]  # fmt: skip

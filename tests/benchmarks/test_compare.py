"""The comparison: every optimizer runs for real over scripted models, cells are kept and told."""

import copy
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dspy
import pytest
from model_server import model_server
from scripted_engine import AuthError, answer, new_texts, scripted_lm

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import compare
from rivals import AS_GIVEN, OPTIMIZERS
from rivals.cells import Sizes, drawn
from rivals.cells import carried_out as cell_carried_out
from rivals.contest import Unsuited
from rivals.lms import LMs, Meter
from rivals.table import print_task
from task_source import Source

KEY = "Add the two numbers."
BESIDE_DSPY = {"TextGrad", "Trace", "CAPO"}
OF_DSPY = [name for name in OPTIMIZERS if name not in BESIDE_DSPY]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with problems in the public schema of GSM8K."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "gsm8k").mkdir()
    rows = [
        {"question": f"What is {n} and {n % 7}?", "answer": f"Add.\n#### {n + n % 7}"}
        for n in range(600)
    ]
    (folder / "gsm8k" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return folder


def solve(prompt):
    """Right if the prompt has the key, and in one case of three without."""
    first, second = map(int, re.findall(r"What is (\d+) and (\d+)\?", prompt)[-1])
    is_right = KEY in prompt or first % 3 == 0
    return answer(reasoning="So it is.", answer=first + second if is_right else -1)


def reflect(prompt):
    """The key in whatever form is asked for."""
    forms = {
        "new_instruction": json.dumps({"new_instruction": KEY}),
        "IMPROVED_VARIABLE": f"<IMPROVED_VARIABLE>{KEY}</IMPROVED_VARIABLE>",
        "<prompt>": f"<prompt>{KEY}</prompt>",
        '"suggestion"': json.dumps({"reasoning": "", "suggestion": {"instruction_00": KEY}}),
    }
    for mark, reply in forms.items():
        if mark in prompt:
            return reply
    fields = re.findall(r"\[\[ ## (\w+) ## \]\]", prompt.partition("Respond with")[2])
    if fields:
        return answer(**{name: KEY for name in fields if name != "completed"})
    return new_texts(prompt, KEY)


def scripted(task=solve, reflection=reflect):
    """Models by script, each with its meter."""
    meters = Meter(), Meter()
    lms = (
        scripted_lm(reply, callbacks=[meter])
        for reply, meter in zip((task, reflection), meters, strict=True)
    )
    return LMs(*lms, *meters)


def carried_out(folder, data, optimizers, *more, lms=None, budget=40):
    """The rows of a small comparison, by optimizer."""
    sizes = ["--train", "6", "--validation", "6", "--test", "8", "--seeds", "1"]
    places = ["--data-dir", str(data), "--json", str(folder)]
    given = ["--tasks", "gsm8k", "--budget", str(budget), *sizes, *places]
    arguments = compare.arguments_of([*given, "--optimizers", *optimizers, *more])
    cells = compare.cells_of(arguments, folder)
    compare.carry_out(cells, lms or scripted(), arguments)
    return {cell.optimizer: cell.kept() for cell in cells}


@pytest.fixture(scope="module")
def rows(tmp_path_factory, data):
    """All optimizers that need no package beside DSPy, at 40 metric calls."""
    return carried_out(tmp_path_factory.mktemp("cells"), data, OF_DSPY)


@pytest.mark.parametrize("name", OF_DSPY)
def test_every_optimizer_runs_within_the_budget(rows, name):
    """It has a score on each test row, and made no more metric calls than it may."""
    if "MIPRO" in name:
        pytest.importorskip("optuna")
    row = rows[name]
    assert (row["missing"], row["problem"]) == ("", "")
    assert len(row["scores"]) == 8
    assert row["metric_calls"] <= 40
    assert row["program"]["metadata"]  # what was loaded stands in the cell


@pytest.mark.parametrize("name", ["ours", "ours paper", "dspy.GEPA", "MIPROv2", "COPRO"])
def test_what_reflects_finds_what_its_reflection_knows(rows, name):
    """The instruction with the key is right on every test row, and reflections are counted."""
    if "MIPRO" in name:
        pytest.importorskip("optuna")
    assert rows[name]["scores"] == [1.0] * 8
    assert rows[name]["reflection_lm"]["calls"] > 0
    assert KEY in json.dumps(rows[name]["program"])


def test_the_program_as_given_costs_nothing(rows):
    """It is scored like all others, and neither LM was asked on the way to it."""
    row = rows[AS_GIVEN]
    assert 0 < sum(row["scores"]) < 8
    assert row["metric_calls"] == row["task_lm"]["calls"] == row["reflection_lm"]["calls"] == 0


def test_an_optimizer_above_the_limit_is_stopped_and_its_best_so_far_is_scored(rows):
    """dspy.GEPA would go on within its iteration; the cell says that it was stopped and by what."""
    row = rows["dspy.GEPA"]
    assert (row["metric_calls"], row["refused"]) == (40, 1)
    assert row["notes"] == [
        "stopped at 40 metric calls; the best of 2 that all of validation was run on"
    ]
    assert row["scores"] == [1.0] * 8


def test_a_limit_before_anything_was_validated_scores_what_was_run_most(tmp_path, data):
    """With three metric calls there is nothing but the program as given."""
    row = carried_out(tmp_path, data, ["dspy.GEPA"], budget=3)["dspy.GEPA"]
    assert row["notes"] == ["stopped at 3 metric calls; the best of 1, by 3 examples"]
    assert 0 < sum(row["scores"]) < 8


def test_cells_with_a_score_are_skipped_and_others_are_tried_again(tmp_path, data):
    """The second start asks no model; what failed is carried out once more."""
    first = carried_out(tmp_path, data, ["ours"])
    lms = scripted()
    assert carried_out(tmp_path, data, ["ours"], lms=lms) == first
    assert lms.task_meter.spent.calls == 0
    broken = carried_out(tmp_path, data, ["ours"], budget=30, lms=scripted(reflection="no idea"))
    assert "ReflectionError" in broken["ours"]["problem"]
    mended = carried_out(tmp_path, data, ["ours"], budget=30)
    assert mended["ours"]["scores"] == [1.0] * 8


def test_other_rows_are_scored_anew(tmp_path, data):
    """A cell whose data were others is no cell of this table."""
    first = carried_out(tmp_path / "cells", data, [AS_GIVEN])[AS_GIVEN]
    text = (data / "gsm8k" / "test.jsonl").read_text("utf-8").replace("Add.", "Add them.")
    (tmp_path / "other" / "gsm8k").mkdir(parents=True)
    (tmp_path / "other" / "gsm8k" / "test.jsonl").write_text(text, "utf-8")
    second = carried_out(tmp_path / "cells", tmp_path / "other", [AS_GIVEN])[AS_GIVEN]
    assert first["digest"] != second["digest"]


def test_settings_that_an_optimizer_does_not_read_do_not_part_its_cells(tmp_path):
    """The program as given is scored once for all budgets and reflection models."""

    def paths(*more):
        arguments = compare.arguments_of(["--tasks", "gsm8k", *more])
        return {cell.optimizer: cell.path for cell in compare.cells_of(arguments, tmp_path)}

    first, other = paths("--budget", "50"), paths("--budget", "60", "--reflection-model", "x/y")
    assert {name for name in OPTIMIZERS if first[name] == other[name]} == {AS_GIVEN}
    mailed = paths("--budget", "50", "--reflection-model", "mailbox:letters")
    same = {name for name in OPTIMIZERS if first[name] == mailed[name]}
    assert same == {AS_GIVEN, "BootstrapRS"}


def test_what_is_missing_is_told_and_ends_nothing_else(tmp_path, data, monkeypatch, capsys):
    """A package, a key: each says so in its cell, and the others have their scores."""
    monkeypatch.setitem(sys.modules, "textgrad", None)

    def refuse(prompt):
        raise AuthError("no key")

    rows = carried_out(
        tmp_path, data, ["TextGrad", "COPRO", "BootstrapRS"], lms=scripted(reflection=refuse)
    )
    assert rows["TextGrad"]["missing"].startswith("pip install 'textgrad'")
    said = rows["COPRO"]["missing"]
    assert re.match(r"1 of 1 calls of the reflection model failed: \w*Auth\w*: ", said), said
    assert len(rows["BootstrapRS"]["scores"]) == 8
    print_task("gsm8k", list(rows.values()), rows["COPRO"]["settings"])
    said = capsys.readouterr().out
    assert re.search(r"\| TextGrad .*\| seed 0: missing 1 +\|\n", said), said
    assert "\n1. pip install 'textgrad'" in said


def test_without_rows_or_a_model_every_cell_says_so_and_the_exit_code_is_1(
    tmp_path, data, capsys, monkeypatch
):
    """Neither ends the command with an error."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = ["--tasks", "gsm8k", "--seeds", "1", "--optimizers", "ours"]
    assert compare.main([*asked, "--model", "local:9b", "--data-dir", str(tmp_path)]) == 1
    assert "The rows of gsm8k were not found." in capsys.readouterr().out
    assert compare.main([*asked, "--model", "local:9b", "--data-dir", str(data)]) == 1
    assert "There is no model local:9b; on this machine there are" in capsys.readouterr().out


def test_a_finished_table_is_printed_from_its_files(tmp_path, data, capsys):
    """The exit code is 0, and origin, digest and the paired interval stand there."""
    row = carried_out(tmp_path, data, ["ours"], "--model", "local:9b")["ours"]
    capsys.readouterr()
    sizes = ["--train", "6", "--validation", "6", "--test", "8", "--seeds", "1"]
    asked = ["--tasks", "gsm8k", "--budget", "40", "--optimizers", "ours", *sizes]
    places = ["--data-dir", str(data), "--json", str(tmp_path)]
    assert compare.main([*asked, *places, "--model", "local:9b"]) == 0
    said = capsys.readouterr().out
    assert f"digest {row['digest']}" in said
    assert "used: 6 train, 6 validation, 8 test" in said
    line = next(line for line in said.splitlines() if line.startswith("| ours "))
    assert re.search(r"\| 1\.000 *\| \+0\.\d{3} \(\+0\.\d\d\.\.\+\d\.\d\d\) \|", line), line


def test_an_answer_that_cannot_be_read_scores_nothing_and_an_outage_is_no_score(tmp_path, data):
    """A model that keeps to no form has 0 on every row; one that is away has none at all."""
    row = carried_out(tmp_path / "a", data, [AS_GIVEN], lms=scripted(task="what?"))[AS_GIVEN]
    assert row["scores"] == [0.0] * 8

    def refuse(prompt):
        raise AuthError("no key")

    row = carried_out(tmp_path / "b", data, [AS_GIVEN], lms=scripted(task=refuse))[AS_GIVEN]
    assert "scores" not in row
    assert "no key" in row["missing"] + row["problem"]


def test_the_seed_draws_what_is_used(data):
    """Equal seeds draw equal rows in the task's own order; other seeds draw others."""
    sizes = Sizes(train=5, validation=5, test=5)
    first, again, other = (drawn("gsm8k", Source(data), seed, sizes) for seed in (0, 0, 1))
    assert [row.question for row in first.test] == [row.question for row in again.test]
    assert [row.question for row in first.test] != [row.question for row in other.test]
    everything = drawn("gsm8k", Source(data), 0, Sizes()).test
    places = [[row.question for row in everything].index(row.question) for row in first.test]
    assert places == sorted(places)


def test_an_optimizer_that_is_not_made_for_a_program_says_so():
    """CAPO has no score for a program of three, installed or not, and what rewrites instructions
    none for a program that is all code."""
    with pytest.raises(Unsuited, match="this program has none of its own"):
        OPTIMIZERS["COPRO"].check(0)
    OPTIMIZERS["ours"].check(0)
    with pytest.raises(Unsuited, match="works on one component, and this program has 3"):
        OPTIMIZERS["CAPO"].check(3)


@pytest.mark.parametrize(
    ("name", "module"), [("TextGrad", "textgrad"), ("Trace", "opto"), ("CAPO", "promptolution")]
)
def test_rivals_beside_dspy_run_within_the_budget(tmp_path, data, name, module):
    """Each finds the key, and its program survives saving and loading."""
    pytest.importorskip(module)
    row = carried_out(tmp_path, data, [name])[name]
    assert (row["missing"], row["problem"]) == ("", "")
    assert row["metric_calls"] <= 40
    assert row["scores"] == [1.0] * 8
    assert row["reflection_lm"]["calls"] > 0


def test_calls_and_tokens_are_counted_of_copies_and_side_by_side():
    """A copy of an LM, as optimizers make them, counts with the LM that it was copied from."""
    meter = Meter()
    lm = scripted_lm("yes", callbacks=[meter])
    copies = [lm, lm.copy(temperature=1.0), copy.deepcopy(lm)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda place: copies[place % 3]("a question"), range(60)))
    spent = meter.spent
    assert (spent.calls, spent.failed, spent.tokens_in, spent.tokens_out) == (60, 0, 60, 60)
    assert spent.unpriced == 60


def test_a_table_over_seeds_pairs_each_seed_with_its_own(rows, capsys):
    """Means over seeds; a seed without the program as given counts in the mean alone."""
    given, ours = rows[AS_GIVEN], rows["ours"]
    second = {**ours, "seed": 1, "scores": [0.5] * 8}
    print_task("gsm8k", [given, ours, second], ours["settings"])
    line = next(line for line in capsys.readouterr().out.splitlines() if "| ours" in line)
    _, _, seeds, test, difference, *_ = (cell.strip() for cell in line.split("|"))
    assert (seeds, test) == ("2", "0.750 (1.00, 0.50)")
    assert float(difference.split()[0]) == pytest.approx(1 - sum(given["scores"]) / 8, abs=6e-4)


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "holds no list of rows"), ("[1", "cannot be read"), ('[{"a": 1}]', "has no question")],
)
def test_rows_of_another_schema_fail_their_cells_alone(tmp_path, content, said):
    """What the file is like stands in each cell of the task; nothing else ends."""
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text(content, "utf-8")
    rows = carried_out(tmp_path / "cells", tmp_path, ["ours"])
    assert all(said in row["problem"] for row in rows.values()), rows


def test_arguments_that_make_no_sense_are_refused(tmp_path, capsys):
    """Before any model is asked."""
    (tmp_path / "file").touch()
    for more in (["--budget", "0"], ["--seeds", "-1"], ["--json", str(tmp_path / "file")]):
        with pytest.raises(SystemExit):
            compare.arguments_of(["--tasks", "gsm8k", *more])
    assert "is a file, and a folder is needed" in capsys.readouterr().err


def test_a_damaged_cell_is_named(tmp_path, data):
    """A file that a full disk cut off is told, and not taken for a missing one."""
    carried_out(tmp_path, data, [AS_GIVEN])
    (path,) = tmp_path.glob("*.json")
    path.write_text(path.read_text("utf-8")[:40], "utf-8")
    with pytest.raises(SystemExit, match=r"cannot be read .* Delete it"):
        carried_out(tmp_path, data, [AS_GIVEN])


def test_a_mailbox_cannot_run_the_program_and_unknown_names_fail_their_cells(
    tmp_path, data, capsys
):
    """Both are said, and the exit code is 1."""
    sizes = ["--train", "2", "--validation", "2", "--test", "2", "--seeds", "1"]
    asked = ["--tasks", "gsm8k", "gsm8k", "--optimizers", "COPRO", *sizes, "--data-dir", str(data)]
    assert compare.main([*asked, "--model", f"mailbox:{tmp_path}"]) == 1
    assert "A mailbox answers as the reflection model only" in capsys.readouterr().out
    assert compare.main([*asked, "--model", "nosuch/model"]) == 1
    said = capsys.readouterr().out
    assert said.count("**gsm8k**") == 1
    assert re.search(r"gsm8k, as given, seed 0: (failed|missing): ", said), said


def test_a_server_that_has_the_local_model_is_asked_in_its_place(tmp_path, data, capsys):
    """Nothing is started: the whole comparison runs over the address that was given."""
    sizes = ["--train", "2", "--validation", "2", "--test", "3", "--seeds", "1"]
    places = ["--data-dir", str(data), "--json", str(tmp_path)]
    with model_server(200, text=lambda request: solve(str(request["messages"]))) as server:
        address = f"http://127.0.0.1:{server.port}/v1"
        given = ["--tasks", "gsm8k", "--optimizers", AS_GIVEN, *sizes, *places]
        assert compare.main([*given, "--local-server", address]) == 0
    assert "gsm8k, as given, seed 0: " in capsys.readouterr().out
    assert {request["model"] for request in server.requests} == {"qwen2.5-coder-1.5b-instruct"}
    assert {
        request.get("max_tokens") or request["max_completion_tokens"] for request in server.requests
    } == {400}


def test_a_program_that_always_crashes_has_no_score(tmp_path, data):
    """Where what a program needs is not here, every run crashes: that is a failure, and no 0."""
    task = drawn("gsm8k", Source(data), 0, Sizes(2, 2, 2))
    (cell,) = (
        cell
        for cell in compare.cells_of(compare.arguments_of(["--tasks", "gsm8k"]), tmp_path)
        if (cell.optimizer, cell.seed) == (AS_GIVEN, 0)
    )
    broken = replace(task, program=NeedsMore())
    row = cell_carried_out(cell, broken, scripted(), num_threads=1)
    assert "scores" not in row
    assert row["problem"] == "RuntimeError: Every test run crashed: OSError: no interpreter"


class NeedsMore(dspy.Module):
    """A program whose interpreter is not installed."""

    def __init__(self):
        super().__init__()
        self.solve = dspy.Predict("question -> answer")

    def forward(self, question):
        """Nothing."""
        raise OSError("no interpreter")

"""The command line on run directories: what it prints, what it makes, how it ends."""

import json
import shutil
import subprocess
import sys

import dspy
import label_task
import pytest

from dspy_gepa import GEPA, load_run
from dspy_gepa.command.main import main


class Forgetful:
    """A metric with which what was learned of bills is worth nothing."""

    __name__ = "forgetful"

    def __call__(self, gold, pred, trace=None):
        score, feedback = label_task.metric(gold, pred)
        return (1.0 - score if "bill" in gold.message else score), feedback


def compiled(folder, metric=label_task.metric, program=None):
    optimizer = GEPA(
        metric,
        max_metric_calls=60,
        num_threads=1,
        reflection_lm=label_task.reflection_lm(),
        log_dir=str(folder),
    )
    with dspy.context(lm=label_task.task_lm()):
        return optimizer.compile(
            program or dspy.Predict("message -> code"),
            label_task.examples(8),
            label_task.examples(8),
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first run"
    compiled(folder)
    return folder


def said(capsys, *arguments):
    """The exit code, and what was printed to either side."""
    code = main([str(each) for each in arguments])
    return code, *capsys.readouterr()


def test_a_run_is_shown_on_one_screen(folder, capsys):
    """The verdict as everywhere, and a row for each member."""
    code, out, _ = said(capsys, "show", folder)
    story = load_run(folder).story
    assert code == 0
    assert story.headline in out
    assert "* 1" in out
    assert len(out.splitlines()) < 10 + len(story.members)


def test_a_member_is_shown_with_its_texts(folder, capsys):
    """Whole, and what changed against its parent."""
    _, out, _ = said(capsys, "show", folder, 1)
    assert "bill means Q7" in out
    assert "made from member 0" in out


def test_a_diff_has_signs_and_what_both_were_run_on(folder, capsys):
    """Lines that went and lines that came."""
    _, out, _ = said(capsys, "diff", folder, 0, 1)
    assert "- Given the fields" in out
    assert "+ Give the code." in out
    assert "both ran on" in out
    assert "The texts are equal." in said(capsys, "diff", folder, 1, 1)[1]


@pytest.mark.parametrize("command", [["show"], ["show", 1], ["diff", 0, 1], ["runs"], ["compare"]])
def test_every_command_prints_json(folder, capsys, command):
    """One value and nothing else, for other programs."""
    name, *rest = command
    others = [folder] if name == "compare" else rest
    code, out, err = said(capsys, name, folder, *others, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)


@pytest.mark.parametrize("member", [0, 1])
def test_an_exported_member_loads(folder, tmp_path, capsys, member):
    """Without this package, as any program of DSPy's."""
    target = tmp_path / "program.json"
    code, out, _ = said(capsys, "export", folder, member, target)
    program = dspy.Predict("message -> code")
    program.load(target)
    assert code == 0
    assert str(target) in out
    candidate = load_run(folder).result.members[member].candidate
    assert program.signature.instructions == candidate["self"]


def test_a_program_of_several_predictors_is_exported(tmp_path, capsys):
    """Each instruction in its place."""
    best = compiled(tmp_path / "run", program=label_task.Pipeline())
    returned = load_run(tmp_path / "run").story.returned
    said(capsys, "export", tmp_path / "run", returned, tmp_path / "program.json")
    program = label_task.Pipeline()
    program.load(tmp_path / "program.json")
    for (_, one), (_, two) in zip(program.named_predictors(), best.named_predictors(), strict=True):
        assert one.signature.instructions == two.signature.instructions


def test_runs_has_a_row_for_each_directory(folder, capsys):
    """One that cannot be read has its reason in its row, and the others are shown all the same."""
    broken = folder.with_name("second run")
    shutil.copytree(folder, broken)
    (broken / "events.jsonl").unlink()
    (broken / "events.jsonl").write_text("no journal\n")
    code, out, _ = said(capsys, "runs", folder.parent)
    shutil.rmtree(broken)
    assert code == 0
    assert "member 1" in out
    assert "cannot be read" in out


def test_runs_are_values_for_programs(folder, capsys):
    """Numbers and null, under names, and the same names where a run cannot be read."""
    broken = folder.with_name("second run")
    shutil.copytree(folder, broken)
    (broken / "events.jsonl").write_text("no journal\n")
    rows = json.loads(said(capsys, "runs", folder.parent, "--json")[1])
    shutil.rmtree(broken)
    whole, other = rows
    story = load_run(folder).story
    assert whole["returned"] == 1
    assert (whole["right"], whole["seen"]) == (story.members[1].right, story.members[1].seen)
    assert whole["seed_right"] == story.members[0].right
    assert whole["metric_calls"] == story.total.metric_calls
    assert whole["began_at"] == story.began_at
    assert "cannot be read" in other["problem"]
    assert whole.keys() == other.keys()
    assert {other[name] for name in other.keys() - {"run", "problem"}} == {None}
    assert all(name.isidentifier() for name in whole)


def test_a_comparison_says_whether_it_is_a_regression(folder, capsys):
    """For programs."""
    told = json.loads(said(capsys, "compare", folder, folder, "--json")[1])
    assert told["regression"] is False


def test_a_run_that_returned_nothing_is_compared_with_none(folder, tmp_path, capsys):
    """It is named, and why."""
    optimizer = GEPA(
        label_task.metric,
        max_metric_calls=60,
        num_threads=1,
        reflection_lm=label_task.reflection_lm(),
        log_dir=str(tmp_path / "new"),
        max_total_tokens=1,
    )
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(
            dspy.Predict("message -> code"), label_task.examples(8), label_task.examples(8)
        )
    code, _, err = said(capsys, "compare", folder, tmp_path / "new")
    assert code == 2
    assert "new returned nothing, because no member was validated" in err


def test_a_regression_fails_where_that_is_asked_for(folder, tmp_path, capsys):
    """By what is in the examples; the same run against itself is none."""
    compiled(tmp_path / "new", Forgetful())
    code, out, _ = said(capsys, "compare", folder, tmp_path / "new", "--fail-on-regression")
    assert code == 1, out
    assert "a regression" in out
    assert said(capsys, "compare", folder, tmp_path / "new")[0] == 0
    assert said(capsys, "compare", folder, folder, "--fail-on-regression")[0] == 0


def test_a_report_is_made_for_an_old_run(folder, tmp_path, capsys):
    """Anywhere; nothing else in the directory is changed."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    code, out, _ = said(capsys, "report", folder, "--output", tmp_path / "page.html")
    assert code == 0
    assert "kB" in out
    assert "bill means Q7" in (tmp_path / "page.html").read_text("utf-8")
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["show", "nowhere"], "holds no run"),
        (["report", "nowhere"], "holds no run"),
        (["runs", "nowhere"], "is no folder"),
        (["show", None, 99], "no member 99"),
        (["diff", None, 0, -1], "no member -1"),
        (["export", None, 0, "deeper"], "may write there, or name another file"),
        (["report", None, "--output", "deeper"], "may write there, or name another file"),
    ],
)
def test_what_is_wrong_is_one_line(folder, tmp_path, capsys, arguments, problem):
    """On the side of errors, with exit code 2."""
    nowhere = tmp_path / "nowhere"
    named = {None: folder, "nowhere": nowhere, "deeper": nowhere / "program.json"}
    code, out, err = said(capsys, *(named.get(each, each) for each in arguments))
    assert (code, out) == (2, "")
    assert problem in err
    assert len(err.splitlines()) == 1


def test_a_reader_that_has_seen_enough_is_no_error(folder):
    """As with `| head`."""
    command = f"'{sys.executable}' -m dspy_gepa show '{folder}' --json | head -c 20"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""

"""The benchmark of strong reflection LMs runs, goes on where it was, and reads a mailbox."""

import json
import re
import sys
import threading
import time
from pathlib import Path

import dspy
import pytest
from scripted_engine import new_texts, scripted_lm

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import strong_reflection
from house_runs import ARMS, row_scores, texts_of
from house_tasks import house_task
from mailbox_lm import MailboxLM, Usage
from strong_reflection import arguments_of, carry_out, paired_interval, print_runs, reached

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs")

KEY = "Now you know the facts."


def student(house):
    """A model that answers rightly as soon as the instruction has the key."""
    right = {row.message: row.answer["signal"] for rows in house.rows.values() for row in rows}

    def reply(prompt):
        message = re.search(r"^message: (.*)$", prompt, re.MULTILINE)[1]
        return f"mood: some\nsignal: {right[message] if KEY in prompt else 'none'}"

    return scripted_lm(reply)


def reflect(prompt):
    """The key, in the form that is asked for: our marks, or the field of dspy.GEPA."""
    if "new_instruction" in prompt:
        return json.dumps({"new_instruction": KEY})
    return new_texts(prompt, KEY)


def arguments(*more):
    """A small command line."""
    short = ["--tasks", "signals", "--seeds", "1", "--budget", "60", "--test", "12"]
    return arguments_of(["--reflection-model", "scripted", *short, *more])


def test_every_arm_finds_what_its_reflection_knows_and_is_written_down(tmp_path, capsys):
    """All arms reach 1 on the test; each run is in the file, and is not made again."""
    path, usage, house = tmp_path / "strong.json", Usage(), house_task("signals", 0, test=12)
    lm = scripted_lm(reflect, callbacks=[usage])
    asked = arguments("--json", str(path))
    record = carry_out(asked, student(house), lm, usage)
    runs = json.loads(path.read_text("utf-8"))["runs"]
    assert [run["problem"] for run in runs] == [""] * len(ARMS)
    assert {run["arm"]: run["scores"] for run in runs} == dict.fromkeys(ARMS, [1.0] * 12)
    assert all(run["reflection_calls"] > 0 and run["tokens_in"] > 0 for run in runs)
    assert all(run["best"][-1]["texts"] == run["texts"] for run in runs)
    calls = usage.calls
    assert carry_out(asked, student(house), lm, usage).runs == runs
    assert usage.calls == calls
    print_runs(record.runs, "dspy.GEPA")
    assert "signals, diagnose minus dspy.GEPA: +0.000" in capsys.readouterr().out


def test_what_failed_is_told_and_tried_again(tmp_path, capsys):
    """An arm that breaks has its problem in its row; the next start runs it once more."""
    path, usage, house = tmp_path / "strong.json", Usage(), house_task("signals", 0, test=12)
    asked = arguments("--json", str(path), "--arms", "diagnose")
    broken = carry_out(asked, student(house), scripted_lm("no idea"), usage)
    assert "ReflectionError" in broken.runs[0]["problem"]
    print_runs(broken.runs, "diagnose")
    assert "failed: ReflectionError" in capsys.readouterr().out
    mended = carry_out(asked, student(house), scripted_lm(reflect), usage)
    assert [run["problem"] for run in mended.runs] == [""]


def test_an_unreadable_answer_scores_nothing():
    """A program whose model keeps to no line scores 0 on every row."""
    house = house_task("signals", 0, test=12)
    assert row_scores(house, texts_of(house.task.program), scripted_lm("what?"), 5) == [0.0] * 5


def test_the_interval_is_of_paired_rows():
    """Equal rows differ by nothing, surely; opposite ones by everything."""
    assert paired_interval([([1, 0, 1], [1, 0, 1])]) == (0, 0, 0)
    assert paired_interval([([1, 1], [0, 0]), ([1, 1], [1, 1])]) == (0.5, 0.5, 0.5)


def test_the_calls_to_reach_the_others_score_are_read_off():
    """The first best program that has the other's final score; never if there is none."""
    own = {"best": [{"metric_calls": 20, "score": 0.2}, {"metric_calls": 50, "score": 0.9}]}
    other = {"best": [{"metric_calls": 99, "score": 0.6}]}
    assert (reached(own, other), reached(other, own)) == ("50", "never")
    assert reached(own, {"best": [{"metric_calls": 9, "score": None}]}) == "?"


def test_a_mailbox_hands_prompts_out_and_replies_in(tmp_path):
    """Each prompt is a file of its own number; numbers go on; waiting and tokens are counted."""
    (tmp_path / "007.prompt").write_text("an old one", "utf-8")
    usage, lm = Usage(), MailboxLM(tmp_path)
    lm.callbacks.append(usage)
    prompt = tmp_path / "008.prompt"

    def answer():
        while not prompt.exists():
            time.sleep(0.01)
        (tmp_path / "008.part").write_text(prompt.read_text("utf-8").upper(), "utf-8")
        (tmp_path / "008.part").rename(tmp_path / "008.reply")

    thread = threading.Thread(target=answer)
    thread.start()
    with dspy.context(lm=lm):
        assert lm.copy(temperature=1)("a prompt of 8 tokens, or there.") == [
            "A PROMPT OF 8 TOKENS, OR THERE."
        ]
    thread.join()
    assert (usage.calls, usage.tokens_in, usage.tokens_out) == (1, 7, 7)
    assert lm.waited_seconds > 0
    lm.close()
    assert (tmp_path / "over").exists()
    MailboxLM(tmp_path)
    assert not (tmp_path / "over").exists()


def test_several_replies_are_several_letters(tmp_path):
    """An optimizer that wants alternatives gets so many, each of which was asked for."""
    for number in (1, 2):
        (tmp_path / f"{number:03}.reply").write_text(f"reply {number}", "utf-8")
    assert MailboxLM(tmp_path)("a prompt", n=2) == ["reply 1", "reply 2"]


def test_nobody_answers(tmp_path):
    """The patience of a mailbox ends in an error that names the file."""
    with pytest.raises(TimeoutError, match=r"001\.prompt"):
        MailboxLM(tmp_path, patience_seconds=0).forward(prompt="anybody?")


def test_a_mailbox_is_a_reflection_model(tmp_path):
    """`mailbox:FOLDER` makes one, which counts its calls."""
    usage = Usage()
    lm = strong_reflection.reflection_model(f"mailbox:{tmp_path}", usage)
    assert isinstance(lm, MailboxLM)
    assert lm.callbacks == [usage]

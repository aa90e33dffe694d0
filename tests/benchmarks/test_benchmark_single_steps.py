"""The bench of single steps freezes its questions, puts each in every wording, and scores."""

import json
import sys
from pathlib import Path

import pytest
from scripted_engine import scripted_lm

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import blame_world
from frozen_questions import REPORT, STATES, TASKS, TUNE, asked_at, frozen, place_of
from mailbox_lm import Usage
from single_steps import WORDINGS, Answering, arguments_of, carry_out, print_steps

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs")


def arguments(*more):
    short = ["--tasks", "steps", "--seeds", "2", "--rows", "12"]
    return arguments_of(["--reflection-model", "scripted", *short, *more])


def knowing(prompt):
    """The texts without a fault of every step whose current text stands in the prompt."""
    blocks = []
    for number in range(4):
        case = blame_world.question(number)
        for name in blame_world.STEPS:
            if case.instructions[name] in prompt and case.good[name] != case.instructions[name]:
                is_named = '<new_text component="' in prompt
                named = f' component="{name}"' if is_named else ""
                blocks.append(f"<new_text{named}>\n{case.good[name]}\n</new_text>")
    return "\n".join(dict.fromkeys(blocks)) or "<no_change/>"


def test_every_wording_answers_every_question_and_is_scored(tmp_path, capsys):
    """A reflection that knows the facts mends what is at fault in any wording; a second run of the
    command asks nothing more."""
    path, kept = tmp_path / "steps.json", tmp_path / "frozen.json"
    usage = Usage()
    lm = scripted_lm(knowing, callbacks=[usage])
    answering = [Answering(name, lm, usage) for name in WORDINGS]
    asked = arguments("--json", str(path), "--frozen", str(kept))
    steps = carry_out(asked, None, answering)
    questions = {each["question"] for each in steps}
    assert len(questions) == 4
    assert len(steps) == len(questions) * len(WORDINGS)
    for each in steps:
        assert sum(each["scores"]) > sum(each["parent"])
        assert each["lm_calls"] == (1 if each["wording"] == "diagnose" else 3)
        assert not each["missing"]
    assert json.loads(path.read_text("utf-8"))["steps"] == steps
    assert len(json.loads(kept.read_text("utf-8"))) == 4
    calls = usage.calls
    assert carry_out(asked, None, answering) == steps
    assert usage.calls == calls
    print_steps(steps, asked.wordings)
    assert "Tasks for the report: steps" in capsys.readouterr().out


def test_questions_are_the_same_when_they_are_read_again(tmp_path):
    """With their rollouts, and also where there is nothing to ask."""
    places = [place_of("steps", seed, state, None, 4) for seed in range(3) for state in STATES]
    path = tmp_path / "frozen.json"
    made = frozen(places, path)
    assert frozen(places, path) == made == frozen(places, None)
    assert [each.request for each in made] == [
        asked for place in places if (asked := asked_at(place)) is not None
    ]


def test_no_task_is_both_tuned_on_and_reported():
    """A wording that was chosen on a task says nothing about it."""
    assert set(TUNE) | set(REPORT) == set(TASKS)
    assert not set(TUNE) & set(REPORT)

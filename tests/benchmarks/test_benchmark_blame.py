"""The benchmark of blame: faults are what they say, and each outcome is counted as such."""

import json
import re
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from scripted_engine import scripted_lm

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import blame
from blame_world import FAULTS, STEPS, question, stated

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs")

NUMBERS = range(blame.QUESTIONS)


def reply(texts):
    """New texts in our marks; none of them is no change."""
    blocks = [f'<new_text component="{s}">\n{t}\n</new_text>' for s, t in texts.items()]
    return "\n".join(blocks) or "<no_change/>"


@pytest.mark.parametrize("number", NUMBERS)
def test_the_planted_fault_is_the_only_thing_that_is_wrong(number):
    """Good texts score 1 on what is unseen; the program as given less, unless nothing is wrong."""
    case = question(number)
    assert blame.unseen_score(case, case.good) == 1
    given = blame.unseen_score(case, case.instructions)
    assert (given == 1) == (case.fault == "none") == (not case.faulty)
    assert len(case.faulty) == {"two": 2, "none": 0}.get(case.fault, 1)


def test_faults_go_round_the_steps():
    """Five questions a fault; each fault of one step is planted in every step that can have it."""
    cases = [question(number) for number in NUMBERS]
    assert [case.fault for case in cases] == list(FAULTS) * 5
    for fault in ("dropped", "wrong", "contradictory"):
        assert {min(case.faulty) for case in cases if case.fault == fault} == set(STEPS)


def test_facts_are_drawn_by_the_number():
    """The same number is the same question; other numbers have other facts."""
    assert question(1).instructions == question(1).instructions
    assert len({question(number).good["sign"] for number in NUMBERS}) == len(NUMBERS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A message about a kettle is jade.", "jade"),
        ("- Kettles -> jade\n- lamps -> rust", "jade"),
        ("| lamp | rust |\n| kettle | jade |", "jade"),
        ("jade: kettle, lamp; rust: radio", "jade"),
        ("If it names a kettle, say jade. Else say rust.", "jade"),
        ("A kettle is rust.\nA kettle is jade.", "rust"),
        ("A lamp is rust.", ""),
        ("A kettle is a thing.", ""),
    ],
)
def test_rules_are_found_in_any_words(text, value):
    """A value that stands with the key is stated; of two the first counts."""
    assert stated(text, "kettle", ("rust", "jade")) == value


@pytest.mark.parametrize("number", range(6))
def test_a_reflection_that_mends_the_fault_is_right(number):
    """It changes the steps at fault, the others are equal, and the score is whole again."""
    case = question(number)
    lm = scripted_lm(reply({step: case.good[step] for step in sorted(case.faulty)}))
    row = blame.asked(number, lm, "diagnose")
    assert row["failure"] == ""
    assert row["changed"] == row["faulty"] == sorted(case.faulty)
    assert (row["right"], row["innocent"], row["equal"], row["mended"]) == (True, 0, True, 1)


def test_a_reflection_that_rewrites_all_blames_innocents():
    """Two of three are innocent; a text that is sent back as it was counts as unchanged."""
    case = question(0)
    texts = {step: case.good[step] + "\nBe exact." for step in STEPS}
    row = blame.asked(0, scripted_lm(reply(texts)), "diagnose")
    assert (row["right"], row["found"], row["innocent"]) == (False, 1, 2)


def test_each_question_asks_once():
    """One question about all three steps, so that blame is what the reply says."""
    prompts = []

    def answer(prompt):
        prompts.append(prompt)
        return reply({})

    row = blame.asked(0, scripted_lm(answer), "diagnose")
    assert len(prompts) == 1
    assert all(re.search(rf"\b{step}\b", prompts[0]) for step in STEPS)
    assert (row["changed"], row["right"], row["equal"]) == ([], False, True)


def test_questions_in_the_file_are_not_asked_again(tmp_path, capsys):
    """A second start answers the rest; the table counts by fault."""
    path = tmp_path / "blame.json"
    settings = {"style": "diagnose", "reflection_model": "scripted", "json": path}

    def carried_out(first, questions):
        own = Namespace(**settings, first_question=first, questions=questions)
        return blame.carry_out(own, scripted_lm(reply({})))

    carried_out(0, 1)
    rows = carried_out(0, 2)
    assert [row["number"] for row in rows] == [0, 1]
    assert len(json.loads(path.read_text("utf-8"))["rows"]) == 2
    blame.print_rows(rows)
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["all", "2", "0"]
    assert [row["number"] for row in carried_out(1, 2)] == [1, 2]


def test_questions_from_another_number_on_have_faults_that_are_what_they_say():
    """Fresh questions, six of them, hold each fault once, and only what is planted is wrong."""
    cases = [question(number) for number in range(60, 66)]
    assert [case.fault for case in cases] == list(FAULTS)
    for case in cases:
        assert blame.unseen_score(case, case.good) == 1
        assert (blame.unseen_score(case, case.instructions) == 1) == (not case.faulty)

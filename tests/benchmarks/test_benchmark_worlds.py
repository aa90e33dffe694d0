"""The simulated worlds are what they say, and both benchmarks of them run."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import dspy
import pytest
from dspy.adapters.json_adapter import JSONAdapter

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionRequest
from dspy_gepa.reflect.exchange import Reply
from dspy_gepa.reflect.prompt import PromptContext, render
from dspy_gepa.reflect.records import EvidenceRecord
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.reply import read_reply
from dspy_gepa.reflect.templates import ADDITION

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import engine_overhead
import report
import search_efficiency
from worlds import (
    FIRST_UNSEEN,
    WORLDS,
    ReflectionLM,
    Stated,
    Steps,
    Task,
    TaskLM,
    World,
    instructions,
    stated_in,
)

# dspy.LM takes engines from DSPy 3.4 on only, and the benchmark runs with 3.3 too.
pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs")

# The fields in which dspy.GEPA 3.4 asks for an instruction.
ProposeInstruction = dspy.Signature(
    "current_instruction, examples_with_feedback -> new_instruction"
)


def numbered(number, *fields, **others):
    """A call with its number."""
    return number, Step(*fields, **others)


SMALL = World("small", True, 8, 2, 6, 8, partial_credit=True, needs=(1, 3))


def candidate(world, rules, quirks=(), wording="w9"):
    """Texts that state these rules, each in its step."""
    return [
        Stated(
            step, frozenset(r for r in rules if r % world.steps == step), frozenset(quirks)
        ).text(wording)
        for step in range(world.steps)
    ]


def done(task, texts, case):
    """What a program with these texts says about a case."""
    found = {stated_in(text).step: text for text in texts}
    met = [r for r in task.needed(case) if task.met(found[task.step_of(r)], case, r)]
    return " ".join(f"met-{rule}" for rule in met)


def test_half_of_the_worlds_are_held_out():
    """There are at least eight worlds with names of their own, half of them for tuning."""
    assert len({world.name for world in WORLDS}) == len(WORLDS) >= 8
    assert sum(world.tuning for world in WORLDS) * 2 == len(WORLDS)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_expected_score_is_the_mean_over_wordings(world):
    """The exact score agrees with simulated outcomes of many wordings, without noise."""
    task = Task(replace(world, noise=0.0), 3)
    texts = candidate(world, range(0, world.rules, 2), quirks=(1, 2))
    cases = range(FIRST_UNSEEN, FIRST_UNSEEN + 60)
    scores = [
        task.judged(
            case, done(task, candidate(world, range(0, world.rules, 2), (1, 2), w), case), 0
        )
        for w in (f"w{number}" for number in range(60))
        for case in cases
    ]
    mean = sum(score for score, _ in scores) / len(scores)
    assert task.expected(texts, cases=60) == pytest.approx(mean, abs=0.025)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_rules_help_and_quirks_hurt(world):
    """More rules are worth more on unseen cases, a remedy for one case costs all others."""
    task = Task(world, 0)
    nothing = task.expected(candidate(world, ()))
    everything = task.expected(candidate(world, range(world.rules)))
    assert nothing == task.expected(instructions(Steps(world.steps)))
    assert everything > 2 * nothing
    assert task.expected(candidate(world, range(world.rules), (1, 2, 3))) < everything
    assert all(task.likelihood(Stated(0, frozenset(), frozenset({1})), 1, r) > 0.9 for r in (0, 1))


def test_a_rule_of_a_pair_counts_only_with_its_partner():
    """In the world of pairs some rules are followed only where another one is stated too."""
    world = next(world for world in WORLDS if world.pairs)
    task = Task(world, 0)
    alone = [task.likelihood(Stated(0, frozenset({r}), frozenset()), 1, r) for r in range(20)]
    paired = [
        task.likelihood(Stated(0, frozenset({r, r + world.steps}), frozenset()), 1, r)
        for r in range(20)
    ]
    assert 0 < sum(likely < 0.5 for likely in alone) < 20
    assert all(likely > 0.9 for likely in paired)


def test_only_noise_makes_a_metric_change_its_mind():
    """The same outcome gets the same score at every call, except in a noisy world."""
    for world in WORLDS:
        task = Task(world, 0)
        scores = {task.judged(1, "nothing", call)[0] for call in range(50)}
        assert (len(scores) > 1) == (world.noise > 0)


def test_the_program_does_through_dspy_what_the_task_says():
    """Task LM, program and metric agree with the direct simulation."""
    bench = search_efficiency.Bench(Task(SMALL, 1), "rollouts")
    program = Steps(SMALL.steps)
    for predictor, text in zip(program.predictors(), candidate(SMALL, {1, 2, 3}), strict=True):
        predictor.signature = predictor.signature.with_instructions(text)
    with dspy.context(lm=TaskLM(bench.task)):
        for example in bench.task.examples()[0]:
            case = int(example.case.removeprefix("case-"))
            said = done(bench.task, candidate(SMALL, {1, 2, 3}), case)
            prediction = program(**example.inputs())
            assert set(prediction.done.split()) - {"nothing"} == set(said.split())
            assert bench.given(example, prediction).score == bench.task.judged(case, said, 0)[0]


def test_the_current_instruction_is_told_from_earlier_attempts():
    """Of several instructions in a prompt, in dspy.GEPA's form or ours, the current one is used."""
    old, current, later = (Stated(1, frozenset({r}), frozenset()).text(f"w{r}") for r in (3, 5, 7))
    calls = (numbered(1, "step1", {}, {}),)
    said = "Score. missed-1@1!4 missed-2@0!4"
    record = EvidenceRecord(1, 0.0, passed=False, feedback=said, calls=calls, calls_made=1)
    ours = render([record], PromptContext(current, f"Tried: {old}. Tried: {later}.")).text
    messages = JSONAdapter().format(
        ProposeInstruction,
        [],
        {"current_instruction": current, "examples_with_feedback": record.feedback},
    )
    theirs = "\n".join(message["content"] for message in messages)
    for prompt in (ours, theirs, f"{theirs}\nOthers: {later} {current}"):
        lm = ReflectionLM(Task(replace(SMALL, learn=1.0, keep=1.0, overfit=0.0), 0), lambda: 0)
        (reply,) = lm(prompt)
        assert stated_in(reply) == Stated(1, frozenset({1, 5}), frozenset())
        assert lm.unclear == 0
    lm("Two texts, and none is marked: " + old + later)
    assert lm.unclear == 1


def test_a_model_that_sees_no_instruction_writes_what_was_missed():
    """Of the step whose outputs it sees; and what is added to an instruction is a part of it."""
    calls = (numbered(1, "step1", {}, {"done1": "x"}),)
    said = "missed-1@1!4 missed-2@0!4"
    record = EvidenceRecord(1, 0.0, passed=False, feedback=said, calls=calls, calls_made=1)
    lm = ReflectionLM(Task(replace(SMALL, learn=1.0, overfit=0.0, repeat=1.0), 0), lambda: 0)
    (reply,) = lm(render([record], PromptContext(""), template=ADDITION).text)
    new = json.loads(reply)["new_instruction"]
    assert stated_in(new) == Stated(1, frozenset({1}), frozenset())
    old = Stated(1, frozenset({3}), frozenset({7})).text("w1")
    added = f"{old}\n\n{new}"
    assert stated_in(added) == Stated(1, frozenset({1, 3}), frozenset({7}))
    (again,) = lm(render([record], PromptContext(added)).text)
    assert json.loads(again)["new_instruction"] == added
    assert lm.unclear == 0
    lm("Nothing that says what this is about.")
    assert lm.unclear == 1


def test_both_optimizers_read_the_reply():
    """The reply is the same text to dspy.GEPA's adapter and to ours."""
    current = Stated(0, frozenset({2, 4}), frozenset({8})).text("w0")
    lm = ReflectionLM(Task(SMALL, 0), lambda: 0)
    (reply,) = lm(current)
    theirs = JSONAdapter().parse(ProposeInstruction, reply)["new_instruction"]
    assert read_reply(reply, {"step0": current}).texts == {"step0": theirs}
    assert stated_in(theirs).step == 0


def test_of_several_instructions_those_at_fault_are_rewritten():
    """In the form of our question about all of them; one of which no rule was missed stays."""
    texts = [Stated(step, frozenset({step}), frozenset()).text("w0") for step in range(3)]
    program = Candidate.of({f"step{step}": text for step, text in enumerate(texts)})
    steps = tuple(Step(name, {}, {}) for name in program)
    run = Rollout(0.0, "Score. missed-3@0!4 missed-5@2!4", trace=Trace(steps=steps))
    request = ReflectionRequest(1, program, tuple(program), (Evidence(4, run),))
    world = replace(SMALL, rules=9, steps=3, learn=1.0, keep=1.0, overfit=0.0)
    lm = ReflectionLM(Task(world, 0), lambda: 0)
    answer = Reflector(lambda prompt: Reply(lm(prompt.text)[0]))(request, {}, {})
    assert {name: stated_in(text).rules for name, text in answer.texts.items()} == {
        "step0": {0, 3},
        "step2": {2, 5},
    }
    assert lm.unclear == 0
    fine = replace(request, evidence=(Evidence(4, replace(run, feedback="Score.")),))
    assert Reflector(lambda prompt: Reply(lm(prompt.text)[0]))(fine, {}, {}).is_unchanged


def test_the_moment_at_which_a_curve_reaches_a_score():
    """It is interpolated on the first stretch that reaches it, and infinite where none does."""
    curve = {100: 0.1, 200: 0.3, 400: 0.2, 800: 0.6}
    assert report.reached_at(curve, 0.05) == 100
    assert report.reached_at(curve, 0.2) == pytest.approx(150)
    assert report.reached_at(curve, 0.4) == pytest.approx(600)
    assert report.reached_at(curve, 0.7) == float("inf")


def test_search_efficiency_runs(tmp_path, capsys):
    """A tiny run prints its tables and writes every number."""
    path = tmp_path / "efficiency.json"
    given = ["--worlds", "overfit", "--seeds", "2", "--budgets", "60", "40"]
    search_efficiency.main([*given, "--json", str(path)])
    printed = capsys.readouterr().out
    assert "overfit (for tuning; " in printed
    assert "geometric mean of the ratios, ours, all worlds: " in printed
    record = json.loads(path.read_text("utf-8"))
    assert [run["seed"] for run in record["runs"]] == [0, 1]
    for run in record["runs"]:
        assert [each["budget"] for each in run["ours"]] == [40, 60]
        assert all(20 <= each["rollouts"] <= each["budget"] for each in run["ours"])
        assert run["dspy.GEPA"][-1]["rollouts"] >= 60


def test_every_call_counts_where_that_is_asked_for():
    """With a metric of five parameters the feedback calls of both stay on the account."""
    own = search_efficiency.ours(SMALL, 0, 60, "calls")
    assert 0 < own["feedback_calls"] <= 60 - own["rollouts"]
    *_, end = search_efficiency.reference(SMALL, 0, [60], "calls")
    assert end["feedback_calls"] > 0


def test_engine_overhead_runs(tmp_path, capsys):
    """A tiny run prints its table and writes the same numbers."""
    path = tmp_path / "overhead.json"
    engine_overhead.main(["--sizes", "3x40", "4x60", "--seeds", "1", "--json", str(path)])
    assert "4 x 60" in capsys.readouterr().out
    record = json.loads(path.read_text("utf-8"))
    assert all(row["runs"]["ours"][0]["rejected_ms"] > 0 for row in record["rows"])

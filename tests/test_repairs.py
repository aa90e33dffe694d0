"""Replies of a reflection LM of which a part cannot be used, from the question to the verdict."""

from __future__ import annotations

import dspy
import pytest
from label_task import Pipeline, examples, metric, task_lm
from scripted_engine import scripted_lm

from dspy_gepa import GEPA, load_run

RULES = "bill means Q7; lock means K2; ship means Z9; leak means M4"
FIRST = (
    f'<new_text component="final">\nGive the code. {RULES}.\n</new_text>\n'
    '<new_text component="draft">\n...\n</new_text>'
)
BAD = "no new text stands between"


def optimized(second, log_dir=None, **settings):
    """The result of a run whose reflection LM answers so, and to every repair as told."""
    questions = []

    def reply(prompt):
        is_repair = "A reply was to give new texts" in prompt
        questions.append(is_repair)
        return second() if is_repair else FIRST

    optimizer = GEPA(
        metric=metric,
        max_metric_calls=60,
        reflection_lm=scripted_lm(reply),
        log_dir=log_dir,
        **settings,
    )
    with dspy.context(lm=task_lm()):
        best = optimizer.compile(Pipeline(), trainset=examples(12), valset=examples(12))
    return best, optimizer.result, questions


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (lambda: "Hm.", BAD),
        (lambda: "", "it is empty"),
        (lambda: '<new_text component="draft">\n?\n</new_text>', "there is no word in it"),
        (lambda: '<new_text component="draft">\nGive a code.', "is not closed"),
    ],
)
def test_a_good_text_is_used_whatever_becomes_of_the_repair_of_the_rest(second, reason, tmp_path):
    """The verdict and the record of the proposal say whose text is missing, and so does a run that
    is read from its journal."""
    best, result, questions = optimized(second, str(tmp_path / "run"))
    assert best.final.signature.instructions == f"Give the code. {RULES}."
    assert best.draft.signature.instructions == Pipeline().draft.signature.instructions
    (kept,) = [each for each in result.proposals if each.verdict.kind == "accepted"]
    assert questions[:2] == [False, True]
    (fault,) = kept.faults
    assert fault.components == ("draft",)
    assert reason in fault.reason
    assert f"(not rewritten: draft: {fault.reason})" in kept.verdict.reason
    state = load_run(str(tmp_path / "run")).result.state
    assert [each.faults for each in state.history] == [each.faults for each in result.state.history]


def test_a_repair_that_says_that_nothing_is_to_be_changed_leaves_no_fault():
    """The text that was good is used, the other is kept by the model's own word."""
    best, result, _ = optimized(lambda: "<no_change/>")
    assert best.final.signature.instructions == f"Give the code. {RULES}."
    assert not any(each.faults for each in result.proposals)


def test_a_model_that_writes_one_text_is_asked_about_each_instruction_from_then_on():
    """The question about all of them is asked once in the run; each question has the evidence."""
    prompts = []

    def reply(prompt):
        prompts.append(prompt)
        known = [rule for rule in RULES.split("; ") if rule in prompt]
        return f"Some rules are missing.\n```\nGive the code. {'; '.join(known)}.\n```"

    optimizer = GEPA(
        metric=metric,
        max_metric_calls=150,
        reflection_lm=scripted_lm(reply),
        reflection_minibatch_size=3,
        window=1,
    )
    with dspy.context(lm=task_lm()):
        best = optimizer.compile(Pipeline(), trainset=examples(12), valset=examples(24)[12:])
    assert all(rule in best.final.signature.instructions for rule in RULES.split("; "))
    together = [prompt for prompt in prompts if "## draft\n" in prompt and "## final\n" in prompt]
    assert len(together) == 1 < len(prompts)
    assert all("# What the program did" in prompt for prompt in prompts)

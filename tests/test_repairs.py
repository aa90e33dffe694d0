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


FORMS = {
    "a fence": "Some rules are missing.\n```\n{}\n```",
    "marks without a name": "<diagnosis>\nRules.\n</diagnosis>\n<new_text>\n{}\n</new_text>",
    "a field": '{{"reasoning": "Rules are missing.", "instruction": "{}"}}',
}


def nameless(form, prompts, names_from=None):
    """A model that writes one text in this form, whatever it is asked, up to some prompt."""

    def reply(prompt):
        prompts.append(prompt)
        known = [rule for rule in RULES.split("; ") if rule in prompt]
        text = f"Given the fields `message`, produce the fields `code`. {'; '.join(known)}."
        if names_from is not None and len(prompts) >= names_from:
            return f'<new_text component="final">\n{text}\n</new_text>'
        return form.format(text)

    return scripted_lm(reply)


def improved(lm, **limits):
    """The program after a run with this reflection LM, and the result."""
    optimizer = GEPA(
        metric=metric,
        reflection_lm=lm,
        reflection_minibatch_size=3,
        window=1,
        **{"max_metric_calls": 150, **limits},
    )
    with dspy.context(lm=task_lm()):
        best = optimizer.compile(Pipeline(), trainset=examples(12), valset=examples(24)[12:])
    return best, optimizer.result


def together(prompts):
    """Which of the prompts ask about both components, and about no reply."""
    return [
        number
        for number, prompt in enumerate(prompts)
        if "## draft\n" in prompt and "## final\n" in prompt and "# The reply" not in prompt
    ]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_model_that_names_no_component_is_asked_about_each_instruction(form):
    """After it was asked for the names, once in a few proposals; each has the evidence."""
    prompts = []
    best, result = improved(nameless(form, prompts))
    assert all(rule in best.final.signature.instructions for rule in RULES.split("; "))
    assert together(prompts) == [0]
    assert "# The reply" in prompts[1]
    assert all("# What the program did" in prompt for prompt in prompts[2:])
    assert result.tally.reflection_calls == len(prompts)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("most", [2, 3, 5, 8, 12])
def test_a_model_that_names_no_component_works_within_any_number_of_calls(form, most):
    """Each proposal has one text at least, and the limit is kept."""
    prompts = []
    _, result = improved(nameless(form, prompts), max_reflection_calls=most)
    assert len(prompts) == result.tally.reflection_calls <= most
    verdicts = [each.verdict.kind for each in result.proposals if each.reflected_examples]
    assert len(verdicts) >= min(most // 2, 2)
    assert "failed" not in verdicts


@pytest.mark.parametrize(
    ("template", "calls"),
    [
        (None, [2, 1, 1]),
        ("Improve <curr_param>\n\n<side_info>\n\nPut the new one within ``` blocks.", [1, 1, 1]),
    ],
)
def test_a_model_that_always_answers_with_a_sentence_and_a_fence_is_heard(template, calls):
    """Where our marks were asked for, a text that goes on from nothing is asked about, then taken:
    here in the first proposal alone, from which the others go on. Where a fence is what the user's
    own template asks for, any text in one is taken at once."""

    def reply(prompt):
        rules = [rule for rule in RULES.split("; ") if rule in prompt]
        return f"Some rules are missing.\n```\nGive the code. {'; '.join(rules)}.\n```"

    optimizer = GEPA(
        metric,
        max_metric_calls=150,
        reflection_lm=scripted_lm(reply),
        reflection_minibatch_size=2,
        reflection_template=template,
        window=1,
    )
    with dspy.context(lm=task_lm()):
        student = dspy.Predict("message -> code")
        best = optimizer.compile(student, examples(12), examples(24)[12:])
    result = optimizer.result
    assert all(rule in best.signature.instructions for rule in RULES.split("; "))
    assert "failed" not in [each.verdict.kind for each in result.proposals]
    assert paid(result) == calls


def paid(result):
    """The calls of each proposal's reflection, where there were any."""
    counts = [over.charge.reflection_calls for over in result.state.history]
    return list(filter(None, counts))


def test_a_model_that_names_no_component_is_asked_about_all_of_them_ever_more_seldom():
    """After the first failure the next two proposals are about one each, after the second four,
    and so on; a name that is given at last counts at once."""
    asked = []

    def reply(prompt):
        asked.append(prompt)
        text = f"Given the fields `message`, produce the fields `code`. Try {len(asked)}."
        is_named = len(together(asked)) >= 4 and "## draft" in prompt
        return f"<new_text{' component=' * is_named}{'final' * is_named}>\n{text}\n</new_text>"

    limits = {"max_metric_calls": 350, "max_reflection_calls": None}
    _, result = improved(scripted_lm(reply), **limits)
    once, apart = [4], [1]
    expected = [*once, *apart * 2, *once, *apart * 4, *once, *apart * 8]
    assert paid(result)[: len(expected)] == expected
    assert set(paid(result)[len(expected) :]) == {1}


def test_one_slip_is_asked_about_once_and_changes_nothing_after_it():
    """The repair names a component, so all are asked about together to the end of the run."""
    prompts = []
    best, result = improved(nameless(FORMS["a fence"], prompts, names_from=2))
    assert all(rule in best.final.signature.instructions for rule in RULES.split("; "))
    assert together(prompts) == [number for number in range(len(prompts)) if number != 1]
    assert [each.verdict.kind for each in result.proposals].count("failed") == 0

"""What users ask of new texts, and of the material that they are made from, in whole runs."""

import re

import dspy
import label_task
import pytest
from label_task import TOLD, TRAIN, VALIDATION, saying
from scripted_engine import scripted_lm

from dspy_gepa import GEPA, copies_no_examples, keeps_placeholders, names_output_fields
from dspy_gepa.errors import ReflectionError, SettingsError, WrongType

pytestmark = pytest.mark.usefixtures("label_task_configured")
OWN = "Answer for ACME GmbH. Use {tone}. Give the code."


@pytest.fixture
def program():
    return dspy.Predict(dspy.Signature("message -> code", OWN))


def run(program, lm, **settings):
    """The instruction of the program that comes back, and the optimizer."""
    optimizer = GEPA(label_task.metric, **{"max_metric_calls": 60, "reflection_lm": lm, **settings})
    improved = optimizer.compile(program, TRAIN, VALIDATION)
    return improved.signature.instructions, optimizer


GOOD = f"Answer for ACME GmbH. Use {{tone}}. Give the code. {TOLD}"


@pytest.mark.parametrize(
    ("settings", "bad", "reason"),
    [
        ({"frozen": {"self": ["Answer for ACME GmbH."]}}, f"Use {{tone}}. {TOLD}", "ACME GmbH"),
        ({"frozen": {"*": re.compile(r"ACME \w+")}}, f"Use {{tone}}. {TOLD}", "ACME GmbH"),
        ({"invariants": [keeps_placeholders]}, f"Answer for ACME GmbH. {TOLD}", "{tone}"),
        ({"max_instruction_tokens": 60}, f"{GOOD} {'very ' * 80}", "tokens"),
        (
            {"invariants": [lambda component, old, new: "no shouting" if "!" in new else True]},
            f"{GOOD}!",
            "no shouting",
        ),
    ],
)
def test_a_text_that_breaks_a_rule_costs_no_rollout(program, settings, bad, reason):
    """It is told to the reflection LM, which is asked once more; the better text is taken."""
    lm = saying(bad, GOOD)
    text, optimizer = run(program, lm, **settings)
    assert text == GOOD
    assert "- the new text was refused: " in lm.engine.prompts[1]
    assert reason in lm.engine.prompts[1]
    assert all(bad != entry.candidate["self"] for entry in optimizer.result.proposals)


@pytest.mark.parametrize(
    "settings",
    [
        {"frozen": {"self": ["  key: value"]}},
        {"invariants": [lambda component, old, new: "  key: value" in new]},
    ],
)
def test_what_is_held_to_the_rules_is_the_text_that_is_used(settings):
    """DSPy takes off indentation that the lines of an instruction share."""
    program = dspy.Predict(dspy.Signature("message -> code", "Form:\n  key: value\nEnd."))
    bad, good = f"Form:\n  key: value\n  {TOLD}", f"Form:\n  key: value\n{TOLD}"
    text, optimizer = run(program, saying(bad, good), **settings)
    assert text == good
    assert good in {entry.candidate["self"] for entry in optimizer.result.members}


REASON = "all matters of money that a customer writes about go to the desk on the second floor"


def test_long_reasons_of_a_metric_may_become_the_instruction():
    """What the README's metric says is a fact that nobody else knows, however many words it has."""

    def metric(gold, pred, trace=None):
        if pred.code.strip() == gold.code:
            return 1.0, "Right."
        return 0.0, f"The answer is {gold.code}, because {gold.reason}."

    rows = [dspy.Example(**row, reason=REASON) for row in label_task.examples(12, ("bill",))]
    examples = [row.with_inputs("message") for row in rows]

    def quoting(prompt):
        assert REASON in prompt
        return f"<new_text>\nGive the code. bill means Q7, because {REASON}.\n</new_text>"

    optimizer = GEPA(metric, max_metric_calls=60, reflection_lm=scripted_lm(quoting))
    improved = optimizer.compile(dspy.Predict("message -> code"), examples, examples[:8])
    assert REASON in improved.signature.instructions
    assert optimizer.result.proposals[0].verdict.kind == "accepted"


def test_a_text_of_another_shape_is_refused_only_where_that_was_asked_for(program):
    """Without placeholders, without the names of fields, and with a whole example in it."""
    example = label_task.examples(12)[0]
    text = f"{TOLD} For instance: {example.message} {example.code}."
    assert run(program, saying(text))[0] == text
    refused = {"invariants": [keeps_placeholders, names_output_fields, copies_no_examples(4)]}
    with pytest.raises(ReflectionError, match=re.escape("{tone}")):
        run(program, saying(text), **refused, max_proposals=1)


def test_a_reflection_that_keeps_breaking_a_rule_is_skipped_with_the_reason(program):
    """Nothing is paid for its texts but the calls of the reflection LM."""
    optimizer = GEPA(
        label_task.metric,
        max_metric_calls=60,
        max_proposals=2,
        reflection_lm=saying(TOLD),
        frozen={"self": ["ACME"]},
    )
    with pytest.raises(Exception, match="ACME"):
        optimizer.compile(program, TRAIN, VALIDATION)
    verdicts = [proposal.verdict for proposal in optimizer.result.proposals]
    assert {verdict.kind for verdict in verdicts} == {"failed"}
    assert optimizer.result.tally.reflection_calls == 4


def test_texts_of_a_users_own_proposer_are_held_to_the_rules_too(program):
    """A proposer cannot know of them."""
    texts = iter([TOLD, GOOD])

    def proposer(candidate, reflective_dataset, components_to_update):
        return dict.fromkeys(components_to_update, next(texts, GOOD))

    text, optimizer = run(
        program, None, instruction_proposer=proposer, frozen={"self": ["ACME GmbH"]}
    )
    assert text == GOOD
    first = optimizer.result.proposals[0].verdict
    assert first.kind == "failed"
    assert "ACME GmbH" in first.reason


@pytest.mark.parametrize(
    ("frozen", "error"),
    [
        (["other"], "frozen=\\['other'\\] was given; the components are \\['self'\\]"),
        (["self"], "nothing is left"),
        ({"*": True}, "nothing is left"),
        ({"self": ["not in the text"]}, "no such part"),
    ],
)
def test_a_frozen_part_that_there_is_not_is_refused(program, frozen, error):
    """Before a call is paid."""
    lm = saying(GOOD)
    with pytest.raises(SettingsError, match=error):
        run(program, lm, frozen=frozen)
    assert lm.engine.prompts == []


class TwoSteps(dspy.Module):
    def __init__(self):
        super().__init__()
        self.first = dspy.Predict("message -> code")
        self.second = dspy.Predict("message, hint -> code")

    def forward(self, message):
        return self.second(message=message, hint=self.first(message=message).code)


def test_a_frozen_component_is_left_alone_and_a_seed_instruction_is_started_from():
    """Each by the component's name."""
    program, before = TwoSteps(), TwoSteps().second.signature.instructions
    optimizer = GEPA(
        label_task.metric,
        max_metric_calls=60,
        reflection_lm=saying(TOLD),
        seed_instructions={"second": "Be brief."},
        frozen=["first"],
    )
    improved = optimizer.compile(program, TRAIN, VALIDATION)
    assert optimizer.result.members[0].candidate["second"] == "Be brief."
    assert program.second.signature.instructions == before
    assert improved.second.signature.instructions == TOLD
    assert len({member.candidate["first"] for member in optimizer.result.members}) == 1


def test_an_unknown_seed_instruction_is_refused(program):
    """With the names that there are."""
    with pytest.raises(SettingsError, match="no components \\['other'\\]"):
        run(program, saying(GOOD), seed_instructions={"other": "text"})


def test_what_must_keep_passing_keeps_passing(program):
    """A text that does better on the rest and fails an example that the seed passed is left out."""

    special = dspy.Example(message="Another bill.", code="unknown").with_inputs("message")
    student = dspy.Predict("message -> code")
    text, optimizer = run(student, saying(TOLD), must_pass=[special])
    assert text == student.signature.instructions
    reason = "worse than the seed on 1 of the examples that must keep passing"
    assert reason in {proposal.verdict.reason for proposal in optimizer.result.proposals}
    free, _ = run(student, saying(TOLD))
    assert free == TOLD


def test_the_reflection_lm_is_shown_what_the_user_knows(program, tmp_path):
    """Constraints, guidance and reference files are in its prompt."""
    (tmp_path / "house.md").write_text("Codes are two characters.", "utf-8")
    lm = saying(GOOD)
    run(
        program,
        lm,
        constraints=["Write in English.", "Never mention prices."],
        guidance="Small steps.",
        references=[tmp_path / "house.md"],
    )
    for said in (
        "Write in English.",
        "Never mention prices.",
        "Small steps.",
        "house.md",
        "Codes are two characters.",
    ):
        assert said in lm.engine.prompts[0]
    assert "- Write in English.\n- Never mention prices.\n" in lm.engine.prompts[0]


def test_a_reference_that_cannot_be_read_is_refused(program, tmp_path):
    """Before a call is paid."""
    lm = saying(GOOD)
    with pytest.raises(SettingsError, match=r"gone\.md.* cannot be read"):
        run(program, lm, references=[tmp_path / "gone.md"])
    assert lm.engine.prompts == []


def test_a_users_own_reflection_prompt(program):
    """For all components, or for one by its name."""
    mine = "MINE {{instruction}} and {{examples}}"
    for template in (mine, {"self": mine}):
        lm = saying(GOOD)
        text, _ = run(program, lm, reflection_template=template)
        assert text == GOOD
        assert lm.engine.prompts[0].startswith("MINE Answer for ACME")


@pytest.mark.parametrize(
    "given",
    [
        {"guidance": 3},
        {"constraints": 3},
        {"constraints": [3]},
        {"invariants": label_task.metric},
        {"invariants": [3]},
        {"frozen": re.compile("x")},
        {"frozen": None},
        {"references": [3]},
        {"objectives": "brevity"},
        {"objectives": {"brevity": True}},
    ],
)
def test_what_cannot_be_used_is_refused_by_the_constructor(given):
    """With its name, and what is needed in its place."""
    (name,) = given
    with pytest.raises(WrongType, match=f"{name}=.* was given; .* is needed"):
        GEPA(label_task.metric, **given)


@pytest.mark.parametrize(
    ("parts", "error", "word"),
    [
        (3, WrongType, "give a list"),
        ([3], WrongType, "re.compile"),
        (re.compile(b"x"), WrongType, "re.compile"),
        ([""], SettingsError, "keeps nothing"),
    ],
    ids=range(4),
)
def test_parts_that_keep_nothing_are_refused_by_the_constructor(parts, error, word):
    """With what was given and what is needed."""
    with pytest.raises(error, match=word):
        GEPA(label_task.metric, frozen={"self": parts})


def test_a_function_that_cannot_be_asked_about_a_text_is_refused_by_the_constructor():
    """Before a call is paid, and with how it is called."""
    with pytest.raises(WrongType, match=r"invariants has .*, which takes \(old, new\): too many"):
        GEPA(label_task.metric, invariants=[lambda old, new: True])

    async def asynchronous(component, old, new):
        """Awaited by nobody."""

    with pytest.raises(WrongType, match="which is asynchronous"):
        GEPA(label_task.metric, invariants=[asynchronous])


@pytest.mark.parametrize(
    ("settings", "is_advised"),
    [
        ({"reflection_lm": scripted_lm("I'm sorry, I can't help with that.")}, True),
        ({"reflection_lm": saying(TOLD), "invariants": [lambda *_: False]}, False),
        ({"instruction_proposer": lambda **_: {"self": 5}}, False),
    ],
)
def test_a_stronger_model_is_advised_where_replies_could_not_be_used(program, settings, is_advised):
    """It would not mend a proposer, and not a rule that no text keeps."""
    lm = settings.pop("reflection_lm", None)
    with pytest.raises(ReflectionError) as raised:
        run(program, lm, max_proposals=1, **settings)
    assert ("Try a stronger reflection_lm" in str(raised.value)) == is_advised


def test_a_small_model_may_be_asked_for_additions_only(program):
    """Then the text that there is stays, and what the model writes stands below it."""
    lm = saying(TOLD)
    text, _ = run(program, lm, edit_mode="append")
    assert text == f"{OWN}\n\n{TOLD}"
    assert "the lines to be added" in lm.engine.prompts[0]


def test_additions_may_be_asked_for_in_ones_own_words(program):
    """It is `edit_mode` that says what becomes of them."""
    mine = "Say what to add to {{instruction}} for {{examples}}"
    text, _ = run(program, saying(TOLD), edit_mode="append", reflection_template=mine)
    assert text == f"{OWN}\n\n{TOLD}"


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("no placeholders", SettingsError),
        (7, WrongType),
        ({"other": "{{instruction}} {{examples}}"}, SettingsError),
    ],
)
def test_a_reflection_prompt_that_cannot_work_is_refused(program, template, error):
    """Before a call is paid."""
    lm = saying(GOOD)
    with pytest.raises(error):
        run(program, lm, reflection_template=template)
    assert lm.engine.prompts == []


HALVES = (f"{OWN}\n\nbill means Q7; lock means K2.", f"{OWN}\n\nleak means M4; ship means Z9.")
WHOLE = f"{HALVES[0]}\n\nleak means M4; ship means Z9."


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ({}, {WHOLE, f"{HALVES[1]}\n\nbill means Q7; lock means K2."}),
        ({"search": "paper"}, HALVES),
        ({"max_instruction_tokens": 30}, HALVES),
        ({"use_merge": False}, HALVES),
    ],
    ids=["default", "paper", "no room", "no merge"],
)
def test_what_two_members_learned_apart_comes_together(program, settings, texts):
    """Two rewritings of one instruction become one text with the lines of both, unless the
    published search is asked for, or that text would break a rule."""
    text, _ = run(
        program,
        saying(*HALVES),
        candidate_selection_strategy=FromTheSeed(),
        max_metric_calls=200,
        reflection_minibatch_size=8,
        **settings,
    )
    assert text in texts


class FromTheSeed:
    """A candidate selection of gepa's kind."""

    def select_candidate_idx(self, state):
        del state
        return 0


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_to_start_from_is_refused_by_the_arguments_name(program, text):
    """With what was given, so that one of several texts is found."""
    with pytest.raises(SettingsError, match=r"seed_instructions=\{'self': .*the text is empty"):
        run(program, saying(GOOD), seed_instructions={"self": text})

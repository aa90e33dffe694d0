"""Descriptions of tools, arguments and fields as components of whole runs."""

import json
import re
from pathlib import Path

import dspy
import label_task
import pytest
from label_task import CODES, Copying
from scripted_engine import answer, new_texts, scripted_lm

from dspy_gepa import GEPA, keeps_placeholders, load_run
from dspy_gepa.errors import JournalMismatch, ReflectionError, SettingsError
from dspy_gepa.program.components.tools import TOOL_MARK

HINT = "Here are all codes of messages"
TOOL = "tools['codes']"
COMPONENTS = (
    "react",
    "extract.predict",
    "tools['notes']",
    "tools['codes']",
    "tools['notes'].args.topic",
    "tools['codes'].args.topic",
    "react.fields.message",
    "extract.predict.fields.message",
    "extract.predict.fields.code",
)


def notes(topic: str) -> str:
    """Looks it up."""
    return f"nothing about {topic}"


def codes(topic: str) -> str:
    """Looks it up."""
    return CODES[topic]


def agent():
    return dspy.ReAct("message -> code", tools=[notes, codes])


def task_lm():
    """A model that knows which tool has the codes, or the codes, only where it is told HINT."""

    def reply(prompt):
        asked = prompt.rsplit("[[ ## message ## ]]", 1)[1]
        topic = next(topic for topic in CODES if topic in asked)
        found = re.search(r"\[\[ ## observation_0 ## \]\]\n(\w+)", asked)
        if "[[ ## next_tool_name ## ]]" not in prompt:
            code = CODES[topic] if HINT in prompt else found[1]
            return answer(reasoning="so", code=code)
        if found:
            return answer(next_thought="so", next_tool_name="finish", next_tool_args="{}")
        tool = "codes" if HINT in prompt else "notes"
        arguments = json.dumps({"topic": topic})
        return answer(next_thought="so", next_tool_name=tool, next_tool_args=arguments)

    return scripted_lm(reply)


def component_in(prompt):
    """The component that the reflection LM is asked about."""
    named = re.search(r"^This component: (\S+?)[.,](?:\s|$)", prompt, re.MULTILINE)
    return named[1] if named else ""  # a repair says nothing of it


def reflection_lm(component, text=f"{HINT}."):
    """A model that has something to say about this component alone."""

    def reply(prompt):
        asked = component_in(prompt)
        said = text if asked == component else f"About {asked}."
        return new_texts(prompt, said)

    return scripted_lm(reply)


@pytest.fixture(autouse=True)
def _configured():
    with dspy.context(lm=task_lm(), adapter=dspy.ChatAdapter()):
        yield


def optimizer(component=TOOL, **settings):
    given = {
        "optimize": ("instructions", "tools", "fields"),
        "max_metric_calls": 60,
        "num_threads": 1,
        "reflection_lm": reflection_lm(component),
    }
    return GEPA(label_task.metric, **{**given, **settings})


def compiled(gepa, student=None):
    return gepa.compile(student or agent(), label_task.examples(12), label_task.examples(8))


def asked(program):
    """The first prompt that the program's model is sent, and what the program answers."""
    lm = task_lm()
    with dspy.context(lm=lm):
        said = program(message="About a leak, again.")
    return lm.engine.prompts[0], said.code


def others(component):
    return [name for name in COMPONENTS if name != component]


@pytest.mark.parametrize(
    "component",
    ["react", TOOL, f"{TOOL}.args.topic", "react.fields.message", "extract.predict.fields.code"],
)
def test_a_better_text_of_any_kind_is_found_and_reaches_the_model(component, tmp_path):
    """The score rises, the student is untouched, and DSPy alone loads what was saved."""
    student = agent()
    before = asked(student)
    gepa = optimizer(component, frozen=others(component))
    improved = compiled(gepa, student)
    best = gepa.result.members[gepa.result.best].candidate
    assert {name for name in best if best[name] != gepa.result.members[0].candidate[name]} == {
        component
    }
    assert gepa.result.mean_scores[gepa.result.best] == 1.0 > gepa.result.mean_scores[0]
    assert asked(student) == before
    assert asked(improved)[1] == CODES["leak"] != before[1]

    improved.save(str(tmp_path / "agent.json"))
    assert "dspy_gepa" not in (tmp_path / "agent.json").read_text("utf-8")
    loaded = agent()
    loaded.load(str(tmp_path / "agent.json"))
    assert asked(loaded) == asked(improved)


def test_among_all_components_the_one_that_matters_is_found():
    """One component at a time, and nothing is lost of the list of tools meanwhile."""
    gepa = optimizer(max_metric_calls=300)
    improved = compiled(gepa)
    assert list(gepa.result.members[0].candidate) == list(COMPONENTS)
    assert asked(improved)[1] == CODES["leak"]
    assert f"(2) codes, whose description is <desc>{HINT}.</desc>." in asked(improved)[0]
    for member in gepa.result.members:
        assert member.candidate["react"].count(TOOL_MARK) == 1


@pytest.mark.parametrize(
    ("instruction", "kept"),
    [
        (f"{HINT}: use codes.", f"{HINT}: use codes.\n\n{TOOL_MARK}"),
        (f"{HINT}.\n{TOOL_MARK}\nBe quick.", f"{HINT}.\n{TOOL_MARK}\nBe quick."),
        (f"{HINT}: {{letter}}-{{digit}}.", f"{HINT}: {{letter}}-{{digit}}.\n\n{TOOL_MARK}"),
    ],
)
def test_the_mark_of_the_tools_is_no_placeholder_of_the_users(instruction, kept):
    """It may be dropped or kept, and other words may stand in braces: nobody is asked again."""
    lm = reflection_lm("react", instruction)
    gepa = optimizer(reflection_lm=lm, frozen=others("react"), max_proposals=1)
    improved = compiled(gepa)
    best = gepa.result.members[gepa.result.best].candidate
    assert best["react"] == kept
    assert gepa.result.tally.reflection_calls == len(lm.engine.prompts) == 1
    assert "Keep these placeholders" not in lm.engine.prompts[0]
    assert "(3) finish, whose description" in asked(improved)[0]


def test_a_placeholder_beside_the_mark_is_guarded():
    """What the user's own code fills in has to stay."""

    class Reading(dspy.Signature):
        """Answer for {house}."""

        message: str = dspy.InputField()
        code: str = dspy.OutputField()

    lm = reflection_lm("react", f"{HINT}: codes.")
    guarded = {"frozen": others("react"), "invariants": [keeps_placeholders]}
    gepa = optimizer(reflection_lm=lm, max_proposals=1, **guarded)
    with pytest.raises(ReflectionError, match=r"lost placeholders [^{]* \{house\}\.$"):
        compiled(gepa, dspy.ReAct(Reading, tools=[notes, codes]))
    assert "{house}" in lm.engine.prompts[1].split("# The reply")[0]


def test_a_tool_is_shown_with_the_others_and_the_calls_of_its_step():
    """What another tool is better for can only be said by who knows the others."""
    lm = reflection_lm(TOOL)
    compiled(optimizer(reflection_lm=lm, frozen=others(TOOL), max_proposals=1))
    (prompt,) = lm.engine.prompts
    others_told, _, _ = prompt.partition(f"This component: {TOOL}, ")
    listed = others_told.split("Other tools that may be called in its place:\n")[1]
    assert listed.startswith("- notes(topic: string): Looks it up.\n- finish(): Marks")
    assert "- codes(" not in listed
    assert "next_tool_name: notes" in prompt
    assert "1. this step, call 1\n2. this step, call 2\n3. extract.predict: " in prompt


def test_frozen_descriptions_are_never_rewritten():
    """By the names that they have as components."""
    lm = reflection_lm(TOOL)
    gepa = optimizer(reflection_lm=lm, frozen=[TOOL, "react.fields.message"], max_metric_calls=100)
    compiled(gepa)
    rewritten = {component_in(prompt) for prompt in lm.engine.prompts}
    assert rewritten
    assert not rewritten & {TOOL, "react.fields.message"}


def test_a_part_of_a_description_can_be_frozen():
    """As of an instruction; the reflection LM is told."""
    lm = reflection_lm(TOOL)
    gepa = optimizer(
        reflection_lm=lm,
        frozen={TOOL: ["Looks it up."], **dict.fromkeys(others(TOOL), True)},
        max_proposals=1,
    )
    with pytest.raises(ReflectionError, match=r"fixed part .Looks it up\."):
        compiled(gepa)
    assert 'Repeat this part to the character: "Looks it up."' in lm.engine.prompts[0]


def test_a_description_can_be_started_from():
    """Seed texts are given by the component's name, like those of instructions."""
    gepa = optimizer(seed_instructions={TOOL: f"{HINT}!"}, max_proposals=0)
    improved = compiled(gepa)
    assert asked(improved)[1] == CODES["leak"]
    assert gepa.result.members[0].candidate[TOOL] == f"{HINT}!"


def test_by_default_the_components_are_those_of_dspys_gepa():
    """Instructions, the list of tools within them."""
    lm = reflection_lm("react")
    gepa = GEPA(label_task.metric, max_metric_calls=60, max_proposals=1, reflection_lm=lm)
    compiled(gepa)
    seed = gepa.result.members[0].candidate
    assert list(seed) == [name for name, _ in agent().named_predictors()]
    assert seed["react"] == agent().react.signature.instructions


@pytest.mark.parametrize("words", [("instructions", "tool"), (), "everything"])
def test_an_unknown_kind_is_refused_before_a_call(words):
    """With the words that there are."""
    lm = reflection_lm(TOOL)
    with pytest.raises(SettingsError, match=r"optimize=.*instructions.*code.*tools.*fields"):
        compiled(optimizer(optimize=words, reflection_lm=lm))
    assert lm.engine.prompts == dspy.settings.lm.engine.prompts == []


def test_a_run_that_died_is_carried_on_and_read_again(tmp_path):
    """A new optimizer on the directory ends where the undisturbed one does, for fewer calls."""
    settings = {"frozen": list(COMPONENTS[4:]), "max_metric_calls": 100}
    copying = Copying(tmp_path / "run")
    whole = optimizer(log_dir=str(copying.folder), observers=[copying], **settings)
    improved = compiled(whole)
    assert asked(improved)[1] == CODES["leak"]
    assert len(copying.copies) > 2

    dead, _ = copying.copies[1]
    known = load_run(dead).result.tally.metric_calls
    calls = []

    def metric(gold, pred, trace=None):
        calls.append(gold)
        return label_task.metric(gold, pred)

    metric.__name__ = label_task.metric.__name__
    again = GEPA(
        metric,
        optimize=whole.optimize,
        num_threads=1,
        reflection_lm=reflection_lm(TOOL),
        log_dir=str(dead),
        **settings,
    )
    assert asked(compiled(again)) == asked(improved)
    assert list(again.result.members) == list(whole.result.members)
    assert known > 0
    assert len(calls) == again.result.tally.metric_calls - known

    for folder in (copying.folder, dead):
        assert asked(load_run(folder).program(agent())) == asked(improved)
        best = agent()
        best.load(str(Path(folder) / "best_program.json"))
        assert asked(best) == asked(improved)


def test_another_choice_of_components_is_another_run(tmp_path):
    """It is refused, with the difference."""
    compiled(optimizer(log_dir=str(tmp_path / "run"), max_proposals=1))
    with pytest.raises(JournalMismatch, match=r"component tools\['codes'\]: none given"):
        compiled(optimizer(log_dir=str(tmp_path / "run"), optimize=("instructions",)))

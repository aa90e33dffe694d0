"""Descriptions of tools and arguments as components: what models are told of, and what is saved."""

from __future__ import annotations

import inspect
import threading

import dspy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tool_programs import Desk, agent, asked, forget, look_up, tool_user

from dspy_gepa.core.work import Evidence, ReflectionRequest, RolloutRequest
from dspy_gepa.errors import SettingsError
from dspy_gepa.program.components.description_templates import TOOL_TEMPLATE
from dspy_gepa.program.components.kinds import (
    DEFAULT_KINDS,
    KINDS,
    kinds_for,
    owners_of,
    parts_of,
    unsaved,
)
from dspy_gepa.program.components.listings import tool_line
from dspy_gepa.program.components.tools import TOOL_MARK
from dspy_gepa.program.program import build, components_of, describe
from dspy_gepa.program.proposers.reflection import ReflectionByKind
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.program.worker import ProgramWorker
from dspy_gepa.reflect.exchange import Reply
from dspy_gepa.reflect.reflector import Reflector

TOOLS = kinds_for(["instructions", "tools"])
SEARCH = "tools['look_up']"


def tools_of(program):
    """The components that are about tools."""
    return [
        name
        for name, part in parts_of(program, KINDS).items()
        if part.kind.name in ("tool description", "argument description")
    ]


def test_tools_are_components_where_they_are_asked_for():
    """By default an agent has its two instructions; its own `finish` is never a component."""
    assert list(components_of(agent())) == ["react", "extract.predict"]
    assert list(components_of(agent(), TOOLS)) == [
        "react",
        "extract.predict",
        "tools['look_up']",
        "tools['forget']",
        "tools['look_up'].args.query",
        "tools['look_up'].args.most",
        "tools['forget'].args.topic",
    ]


def test_seed_texts_of_tools_are_what_the_student_says():
    """A description is what the tool has, and nothing where nobody has said anything."""
    seed = components_of(agent(), TOOLS)
    assert seed[SEARCH] == look_up.__doc__
    assert seed[f"{SEARCH}.args.query"] == ""
    described = dspy.Tool(look_up, arg_desc={"query": "One word."})
    program = dspy.ReAct("question -> answer", tools=[described])
    assert components_of(program, TOOLS)[f"{SEARCH}.args.query"] == "One word."


def test_an_instruction_around_tools_has_a_mark_in_place_of_their_list():
    """The list follows from the tools' own components, so it cannot be rewritten twice."""
    text = components_of(agent(), TOOLS)["react"]
    whole = components_of(agent())["react"]
    assert text.count(TOOL_MARK) == 1
    assert "Looks it up" not in text
    before, after = text.split(TOOL_MARK)
    assert whole.startswith(f"{before}(1) look_up, ")
    assert whole.endswith(f"It takes arguments {{}}.{after}")


def test_the_model_of_an_agent_is_told_what_was_rewritten():
    """Description and argument stand in the instruction of ReAct, which is made only once."""
    student = agent()
    texts = {
        SEARCH: "Finds books.\n\nNever films.",
        f"{SEARCH}.args.query": "A title, without 'the'.",
        f"{SEARCH}.args.most": "At most 9.",
    }
    built = build(student, components_of(student, TOOLS).rewritten(texts))
    first = asked(built, question="q")[0]
    line = (
        "(1) look_up, whose description is <desc>Finds books.    Never films.</desc>. It takes "
        "arguments {'query': {'type': 'string', 'description': \"A title, without 'the'.\"}, "
        "'most': {'type': 'integer', 'default': 3, 'description': 'At most 9.'}}.\n"
    )
    assert line in first
    assert "Looks it up" not in first
    assert "(2) forget, whose description is <desc>Forgets it.</desc>" in first
    assert built.tools["look_up"].desc == texts[SEARCH]


def test_a_tool_is_rewritten_without_its_instruction():
    """Where instructions are no components, the list alone is another one."""
    student = agent()
    kinds = kinds_for(["tools"])
    built = build(student, components_of(student, kinds).rewritten({SEARCH: "Finds books."}))
    said, was = (components_of(each)["react"] for each in (built, student))
    assert said == was.replace(look_up.__doc__.replace("\n", "  "), "Finds books.")
    assert said != was


def test_instruction_and_tools_are_rewritten_together():
    """The text around the list is the instruction's, and the list the tools'."""
    student = agent()
    texts = {"react": f"Use these:\n{TOOL_MARK}\nBe quick.", SEARCH: "Finds books."}
    built = build(student, components_of(student, TOOLS).rewritten(texts))
    said = built.react.signature.instructions
    assert said.startswith("Use these:\n(1) look_up, whose description is <desc>Finds books.</desc")
    assert "\n(3) finish, whose" in said
    assert said.endswith("It takes arguments {}.\nBe quick.")
    assert components_of(built, TOOLS)["react"] == texts["react"]


def test_no_tool_is_lost_where_the_mark_is():
    """It is put at the end, and what was rewritten is still to the character what is said."""
    student = agent()
    candidate = components_of(student, TOOLS).rewritten({"react": "Be quick."})
    built = build(student, candidate)
    assert built.react.signature.instructions.startswith("Be quick.\n\n(1) look_up, whose")
    assert components_of(built, TOOLS)["react"] == f"Be quick.\n\n{TOOL_MARK}"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Be quick.", "Be quick.\n\n{tools}"),
        ("Use {tools} well.", "Use\n{tools}\nwell."),
        ("{tools}\n{tools}", "{tools}"),
        (
            "A.\n- look_up. It takes arguments {}.\n(2) forget. It takes arguments {}.\nB.",
            "A.\n{tools}\nB.",
        ),
        ("A.\n{tools}\n\n(1) look_up. It takes arguments {}.\nB.", "A.\n{tools}\n\nB."),
        ("  {tools}  \n\n  And more.", "{tools}\n\nAnd more."),
    ],
)
def test_the_mark_stands_on_a_line_of_its_own(text, normal):
    """And once: tools are listed once."""
    assert parts_of(agent(), TOOLS)["react"].kind.normalised(text) == normal


def test_an_instruction_around_tools_may_not_be_empty():
    """As no other instruction may be."""
    with pytest.raises(SettingsError, match="empty"):
        parts_of(agent(), TOOLS)["react"].kind.normalised(" ")


def test_the_student_is_not_changed():
    """Neither its tools nor what its models are told; the functions are the same."""
    student = agent()
    before, told = components_of(student, KINDS), asked(student, question="q")
    seed = components_of(student, KINDS)
    built = build(student, dict.fromkeys(seed, "Another text."))
    assert set(components_of(built, KINDS).values()) == {
        "Another text.",
        f"Another text.\n\n{TOOL_MARK}",
    }
    assert components_of(student, KINDS) == before
    assert asked(student, question="q") == told
    assert built.tools["look_up"] is not student.tools["look_up"]
    assert built.tools["look_up"].func is look_up


def test_a_tool_that_cannot_be_copied_is_not_shared():
    """What it calls is; its description is each candidate's own."""

    class Locked:
        """Opens nothing."""

        def __init__(self):
            self.lock = threading.Lock()

        def __call__(self, key: str) -> str:
            return key

    locked = Locked()
    student = dspy.ReAct("question -> answer", tools=[dspy.Tool(locked, name="open")])
    built = build(student, {"tools['open']": "Opens a door."})
    assert components_of(student, TOOLS)["tools['open']"] == "Opens nothing."
    assert components_of(built, TOOLS)["tools['open']"] == "Opens a door."
    assert built.tools["open"].func is locked


@pytest.mark.parametrize("make", [agent, Desk])
def test_the_seed_is_the_student(make):
    """Where no text is another one, nothing is written."""
    student = make()
    built = build(student, components_of(student, KINDS))
    for own, copied in zip(student.predictors(), built.predictors(), strict=True):
        assert copied.signature is own.signature
    assert components_of(built, KINDS) == components_of(student, KINDS)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS, TEXTS, TEXTS)
@example("\t{tools}", "a\n\tb", "'", "0")
@example("0\r{tools}0", "</desc>. It takes arguments {}.", "</desc>", "x")
@example("look_up. It takes arguments {}.\nforget. It takes arguments {}.\n{tools}", "", "", "")
@example("a\n {tools}", "(1) look_up. It takes arguments {}.", "", "")
def test_a_built_program_says_what_the_candidate_says(instruction, tool, argument, field):
    """Texts of all kinds, once normal, come back to the character and stay normal."""
    student = STUDENT
    names = ("react", SEARCH, f"{SEARCH}.args.query", "extract.predict.fields.answer")
    parts = parts_of(student, KINDS)
    try:
        texts = {
            name: parts[name].kind.normalised(text)
            for name, text in zip(names, (instruction, tool, argument, field), strict=True)
        }
    except SettingsError:
        return
    candidate = components_of(student, KINDS).rewritten(texts)
    built = build(student, candidate)
    assert components_of(built, KINDS) == candidate
    for name, text in texts.items():
        assert parts[name].kind.normalised(text) == text
    line = tool_line(built.tools["look_up"], built.react.signature.instructions)
    assert line.is_about(built.tools["look_up"])
    assert "\n(3) finish, whose" in built.react.signature.instructions


STUDENT = agent()


@pytest.mark.parametrize("text", ["\ud800", None])
def test_a_description_that_cannot_be_sent_is_refused(text):
    """Before any program is built with it."""
    for name in (SEARCH, f"{SEARCH}.args.query", "extract.predict.fields.answer"):
        with pytest.raises(SettingsError):
            parts_of(agent(), KINDS)[name].kind.normalised(text)


def test_a_description_may_be_taken_back():
    """As none is what many tools and fields begin with."""
    program = dspy.ReAct(
        "question -> answer", tools=[dspy.Tool(look_up, arg_desc={"query": "One word."})]
    )
    built = build(program, {SEARCH: "", f"{SEARCH}.args.query": ""})
    assert "(1) look_up. It takes arguments {'query': {'type': 'string'}, " in (
        built.react.signature.instructions
    )


def test_unknown_tools_and_arguments_are_refused():
    """The error names them."""
    with pytest.raises(SettingsError, match=r"tools\['other'\]"):
        build(agent(), {"tools['other']": "text"})
    with pytest.raises(SettingsError, match=r"args\.other"):
        build(agent(), {SEARCH: "text", f"{SEARCH}.args.other": "text"})


def test_the_calls_of_a_tool_are_those_of_whoever_is_told_of_it():
    """The predictor that acts, and not the one that concludes."""
    owners = owners_of(parts_of(agent(), TOOLS))
    assert set(owners.values()) == {("react",)}
    assert list(owners) == tools_of(agent())
    assert set(owners_of(parts_of(Desk(), TOOLS)).values()) == {("clerk.react",)}


def test_a_saved_agent_keeps_its_tools_descriptions(tmp_path):
    """Plain DSPy loads them into a new agent, and the model is told the same."""
    student = agent()
    texts = {SEARCH: "Finds books.\nNever films.", f"{SEARCH}.args.query": "A title."}
    built = build(student, components_of(student, KINDS).rewritten(texts))
    assert unsaved(parts_of(built, KINDS)) == ()
    built.save(str(tmp_path / "agent.json"))
    loaded = agent()
    loaded.load(str(tmp_path / "agent.json"))
    assert asked(loaded, question="q") == asked(built, question="q")


def test_a_loaded_agent_goes_on_from_what_was_saved(tmp_path):
    """Its texts are those of its instruction: its tools are new, and say what they did."""
    student = agent()
    texts = {SEARCH: "Finds books.", f"{SEARCH}.args.query": "A title."}
    built = build(student, components_of(student, KINDS).rewritten(texts))
    built.save(str(tmp_path / "agent.json"))
    loaded = agent()
    loaded.load(str(tmp_path / "agent.json"))
    assert components_of(loaded, KINDS) == components_of(built, KINDS)
    again = build(loaded, components_of(loaded, KINDS).rewritten({f"{SEARCH}.args.most": "Few."}))
    assert components_of(again, KINDS) == components_of(built, KINDS).rewritten(
        {f"{SEARCH}.args.most": "Few."}
    )
    assert "<desc>Finds books.</desc>" in asked(again, question="q")[0]


def test_whatever_else_an_instruction_says_stays_to_the_character():
    """Also where DSPy would take off more of its indentation."""

    class Given(dspy.Signature):
        """
        Answer:
          - in one word

          You may use:
          - look_up, whose description is <desc>Looks.</desc>. It takes arguments {}.
          Mind that "relook_up. It takes arguments {}." is none.
        """

        question: str = dspy.InputField()
        answer: str = dspy.OutputField()

    class Asker(dspy.Module):
        def __init__(self):
            super().__init__()
            self.ask = dspy.Predict(Given)
            self.tool = dspy.Tool(look_up, desc="Looks.", args={})

    built = build(Asker(), {"tool": "Finds books."})
    assert built.ask.signature.instructions == inspect.cleandoc(Given.__doc__).replace(
        "Looks.", "Finds books."
    )


@pytest.mark.skipif(not hasattr(dspy, "ReActV2"), reason="this DSPy has no ReActV2")
def test_an_agent_of_the_second_kind_is_told_by_its_tools():
    """They are an input there: in the prompt, or as what a provider is told to call."""
    student = dspy.ReActV2("question -> answer", tools=[look_up])
    assert tools_of(student) == [SEARCH, f"{SEARCH}.args.query", f"{SEARCH}.args.most"]
    assert components_of(student, TOOLS)["react"] == components_of(student)["react"]
    built = build(student, {SEARCH: "Finds books.", f"{SEARCH}.args.query": "A title."})
    handed = {"question": "q", "history": dspy.History(messages=[])}
    messages = dspy.ChatAdapter().format(
        built.react.signature, [], {**handed, "tools": list(built.tools.values())}
    )
    assert "Finds books." in str(messages)
    assert "A title." in str(messages)
    called = built.tools["look_up"].format_as_litellm_function_call()["function"]
    assert called["description"] == "Finds books."
    assert called["parameters"]["properties"]["query"]["description"] == "A title."


@pytest.mark.skipif(not hasattr(dspy, "ReActV2"), reason="this DSPy has no ReActV2")
def test_what_is_not_saved_is_named(tmp_path):
    """DSPy saves signatures, and the tools of the second kind of agent stand in none."""
    student = dspy.ReActV2("question -> answer", tools=[look_up])
    parts = parts_of(student, KINDS)
    assert list(unsaved(parts)) == tools_of(student)
    built = build(student, {SEARCH: "Finds books.", "react": "Act.", "react.fields.question": "Q."})
    built.save(str(tmp_path / "agent.json"))
    loaded = dspy.ReActV2("question -> answer", tools=[look_up])
    loaded.load(str(tmp_path / "agent.json"))
    said = components_of(loaded, KINDS)
    assert (said["react"], said["react.fields.question"]) == ("Act.", "Q.")
    assert said[SEARCH] == look_up.__doc__


@pytest.mark.skipif(not hasattr(dspy, "CodeAct"), reason="this DSPy has no CodeAct")
@pytest.mark.filterwarnings("ignore:CodeAct is deprecated")
def test_agents_that_write_code_are_told_too():
    """CodeAct lists tools as ReAct does."""
    student = dspy.CodeAct("question -> answer", tools=[look_up])
    built = build(student, {SEARCH: "Finds books.", f"{SEARCH}.args.query": "A title."})
    said = built.codeact.signature.instructions
    assert "(1) look_up, whose description is <desc>Finds books.</desc>. It takes" in said
    assert "{'query': {'type': 'string', 'description': 'A title.'}" in said


def test_recursive_models_are_told_of_tools_but_not_of_arguments():
    """RLM lists them as functions, so that a description of an argument would reach nobody."""
    student = dspy.RLM("question -> answer", tools=[look_up])
    name = "_user_tools['look_up']"
    assert tools_of(student) == [name]
    candidate = components_of(student, TOOLS).rewritten({name: "Finds books."})
    built = build(student, candidate)
    assert "(query: string, most: integer)` - Finds books." in (
        built.generate_action.signature.instructions
    )
    assert components_of(built, TOOLS) == candidate


class Passing(dspy.Module):
    """Passes its tools on as an input."""

    def __init__(self):
        super().__init__()
        self.helpers = [dspy.Tool(look_up), dspy.Tool(forget)]
        self.act = dspy.Predict("question, tools: list[dspy.Tool] -> answer")
        self.note = dspy.Predict("answer -> note")

    def forward(self, question):
        return self.act(question=question, tools=self.helpers)


def test_tools_of_a_users_module_are_found_where_they_are_an_input():
    """Under the names of the tools, which outlast another order."""
    parts = parts_of(Passing(), TOOLS)
    assert parts["helpers['look_up']"].owners == ("act",)
    built = build(Passing(), {"helpers['forget'].args.topic": "One topic."})
    assert "One topic." in asked(built, question="q")[0]
    assert "helpers['forget'].args.topic" in unsaved(parts)


class Spelling(dspy.Module):
    """Passes on descriptions in its own way."""

    def __init__(self):
        super().__init__()
        self.helper = dspy.Tool(look_up)
        self.act = dspy.Predict("question, help -> answer")

    def forward(self, question):
        return self.act(question=question, help=f"{self.helper.name}: {self.helper.desc}")


def test_tools_of_a_users_module_count_as_told_to_the_predictors_beside_them():
    """Which way they are told cannot be seen, so that it is taken for granted."""
    assert parts_of(Spelling(), TOOLS)["helper"].owners == ("act",)
    built = build(Spelling(), {"helper": "Finds books."})
    assert "look_up: Finds books." in asked(built, question="q")[0]


def test_a_shared_tool_is_one_component():
    """Whoever is told of it owns it, and a change reaches them all."""

    class Shared(dspy.Module):
        def __init__(self):
            super().__init__()
            self.tool = dspy.Tool(look_up)
            self.one = dspy.ReAct("question -> answer", tools=[self.tool])
            self.other = dspy.ReAct("question -> answer", tools=[self.tool])

    parts = parts_of(Shared(), KINDS)
    assert tools_of(Shared())[0] == "one.tools['look_up']"
    assert parts["one.tools['look_up']"].owners == ("one.react", "other.react")
    built = build(Shared(), {"one.tools['look_up']": "Finds books."})
    for each in (built.one, built.other):
        assert "<desc>Finds books.</desc>" in each.react.signature.instructions


def test_tools_with_one_name_are_told_apart():
    """Each agent has its own, even within another one's program."""

    class Two(dspy.Module):
        def __init__(self):
            super().__init__()
            self.one = agent()
            self.other = agent()

    built = build(Two(), {"other.tools['look_up']": "Finds books."})
    assert "Looks it up." in built.one.react.signature.instructions
    assert "Finds books." in built.other.react.signature.instructions


def test_frozen_agents_keep_their_tools():
    """What counts as compiled is not searched."""
    student = Desk()
    student.clerk._compiled = True
    assert tools_of(student) == []
    assert list(parts_of(student, KINDS)) == [
        "writer.predict",
        "writer.predict.fields.letter",
        "writer.predict.fields.facts",
        "writer.predict.fields.reply",
    ]


def test_a_program_without_tools_has_its_instructions():
    """To ask for tools does not change it."""
    program = dspy.ChainOfThought("question -> answer")
    assert components_of(program, TOOLS) == components_of(program, DEFAULT_KINDS)
    with pytest.raises(SettingsError, match=r"none of the texts.*tool description"):
        components_of(program, kinds_for(["tools"]))


def test_a_tool_docstring_with_tabs_is_listed():
    """DSPy puts spaces in place of them in an instruction."""

    def look(query: str) -> str:
        return query

    look.__doc__ = "Looks.\n\t\tA\tlot."
    student = dspy.ReAct("question -> answer", tools=[look])
    assert components_of(student, TOOLS)["tools['look']"] == "Looks.\n\t\tA\tlot."
    built = build(student, {"tools['look'].args.query": "One word."})
    assert components_of(built, TOOLS)["tools['look']"] == "Looks.\n\t\tA\tlot."
    assert "One word." in built.react.signature.instructions


def test_a_tool_is_rewritten_from_what_the_agent_did_with_it():
    """From the rollout over the reflection to the prompt of the program's model."""
    student = agent()
    seed = components_of(student, KINDS)
    example = dspy.Example(question="q", answer="yes").with_inputs("question")

    def metric(gold, pred, trace=None):
        return dspy.Prediction(score=float(gold.answer == pred.answer), feedback="It knows films.")

    worker = ProgramWorker(student, Metric(metric), [example], None)
    with dspy.context(lm=tool_user(), adapter=dspy.ChatAdapter()):
        rollout = worker(RolloutRequest(seed, 0, traced=True)).rollout
    assert not rollout.trace.calls_of(SEARCH)
    request = ReflectionRequest(0, seed, (SEARCH,), (Evidence(0, rollout),))
    prompts = []

    def ask(prompt):
        prompts.append(prompt.text)
        return Reply("<new_text>\nFinds films.\n</new_text>")

    asking = {"tool description": Reflector(ask, template=TOOL_TEMPLATE)}
    reflect = ReflectionByKind(parts_of(student, KINDS), asking)
    said = reflect(request, describe(student, KINDS), {})
    assert said.texts == {SEARCH: "Finds films."}
    assert look_up.__doc__ in prompts[0]
    assert "It knows films." in prompts[0]
    assert "next_tool_name: look_up" in prompts[0]
    lm = tool_user()
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        build(student, seed.rewritten(said.texts))(question="q")
    assert "<desc>Finds films.</desc>" in lm.engine.prompts[0]

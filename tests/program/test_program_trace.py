"""One run of a program: which predictor did what, and what went wrong."""

from __future__ import annotations

import asyncio
import copy
import inspect

import dspy
import pytest
from dspy.utils import DummyLM
from recorded_run import called, echo, recorded, step
from scripted_engine import scripted_lm

from dspy_gepa.core.rollout import Trace
from dspy_gepa.judging.fields import fields_of
from dspy_gepa.models.event_loop import EventLoop
from dspy_gepa.program.program import build, components_of
from dspy_gepa.program.rollouts.entry import entry_of
from dspy_gepa.program.rollouts.trace import Predictors, ProgramRun


class Twins(dspy.Module):
    """Two predictors of one signature, called in turn, the second one twice."""

    def __init__(self):
        super().__init__()
        self.left = dspy.Predict("question -> answer")
        self.right = dspy.Predict("question -> answer")
        self.idle = dspy.Predict("question -> answer")

    def forward(self, question):
        first = self.right(question=question).answer
        second = self.left(question=first).answer
        return self.right(question=second)


def test_steps_belong_to_the_predictor_that_was_called():
    """Equal signatures do not confuse, every call is kept in order, and who was idle has none."""
    trace, _ = recorded(Twins(), scripted_lm(echo), question="a")
    assert trace == Trace(
        {"question": "a"},
        {"answer": "a!!!"},
        (step("right", "a", "a!"), step("left", "a!", "a!!"), step("right", "a!!", "a!!!")),
    )
    assert trace.calls_of("idle") == ()


def test_the_calls_of_a_component_are_dspys_own_trace():
    """A metric gets the live predictor with its inputs and its output."""
    program = Twins()
    recording = ProgramRun(program, Predictors(program))
    with dspy.context(lm=scripted_lm(echo)):
        recording.outcome(entry_of(program), {"question": "a"}, EventLoop(), None)
    assert [each[0] for each in recording.calls] == [program.right, program.left, program.right]
    assert recording.calls_of("left") == [recording.calls[1]]
    assert recording.calls_of("left")[0][1:] == ({"question": "a!"}, dspy.Prediction(answer="a!!"))


class Agent(dspy.Module):
    """Adds what came of each call to the history and the list that the call was given."""

    def __init__(self):
        super().__init__()
        self.act = dspy.Predict("question, history: dspy.History, notes: list[str] -> answer")

    def forward(self, question):
        history, notes = dspy.History(messages=[]), []
        for _ in range(2):
            pred = self.act(question=question, history=history, notes=notes)
            history.messages.append({"question": question, "answer": pred.answer})
            notes.append(pred.answer)
        return pred


def test_a_step_keeps_what_its_call_was_given():
    """What the program adds to a history or a list later on was not seen by the call."""
    trace, _ = recorded(Agent(), scripted_lm(echo), question="a")
    first, second = (step.inputs for step in trace.steps)
    assert (first["history"].messages, first["notes"]) == ([], [])
    assert (len(second["history"].messages), second["notes"]) == (1, ["a!"])


def test_the_callers_trace_and_the_program_stay_as_they_were():
    """Nothing of a recorded run is seen outside of it, and `forward` is never replaced."""
    program, outside = Twins(), []
    attributes = set(vars(program))
    with dspy.context(trace=outside):
        recorded(program, scripted_lm(echo), question="a")
    assert outside == []
    assert set(vars(program)) == attributes


class Nested(dspy.Module):
    def __init__(self):
        super().__init__()
        self.hops = [dspy.ChainOfThought("question -> query"), Twins()]
        self.by_name = {"last": dspy.Predict("question -> answer")}

    def forward(self, question):
        query = self.hops[0](question=question).query
        return self.by_name["last"](question=self.hops[1](question=query).answer)


def test_nested_modules_in_lists_and_dicts():
    """Components are named as DSPy names them, by the path to the predictor."""
    trace, output = recorded(Nested(), scripted_lm(echo), question="a")
    assert called(trace) == [
        "hops[0].predict",
        "hops[1].right",
        "hops[1].left",
        "hops[1].right",
        "by_name['last']",
    ]
    assert output.answer == "a?!!!!"


def test_a_predictor_alone():
    """Its one component is called self."""
    assert called(
        recorded(dspy.Predict("question -> answer"), scripted_lm(echo), question="a")[0]
    ) == ["self"]


def test_an_agent():
    """ReAct's turns are calls of one component, and its conclusion is the other."""
    replies = [
        {"next_thought": "look", "next_tool_name": "look_up", "next_tool_args": '{"word": "x"}'},
        {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": "{}"},
        {"reasoning": "so", "answer": "found"},
    ]

    def look_up(word: str) -> str:
        """Looks it up."""
        raise LookupError(word)

    agent = dspy.ReAct("question -> answer", tools=[look_up])
    trace, output = recorded(agent, DummyLM(replies), question="a")
    assert called(trace) == ["react", "react", "extract.predict"]
    assert output.answer == "found"
    assert "Execution error in look_up" in trace.steps[1].inputs["trajectory"]


def is_long(args, prediction):
    return float(len(prediction.answer))


@pytest.mark.parametrize("kind", [dspy.BestOfN, dspy.Refine])
def test_deep_copies_belong_to_their_originals(kind):
    """BestOfN and Refine run copies; even twins of one signature are told apart in them."""

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.best = kind(module=Twins(), N=2, reward_fn=is_long, threshold=1.0)

        def forward(self, question):
            return self.best(question=question)

    trace, output = recorded(build(Program(), {}), scripted_lm(echo), question="a")
    assert called(trace) == ["best.module.right", "best.module.left", "best.module.right"]
    assert output.answer == "a!!!"


def test_an_equal_signature_decides_where_nothing_else_can():
    """A predictor that was made anew from a component counts as it; a stranger counts as none."""
    program = Twins()
    program.left.signature = program.left.signature.with_instructions("Left.")
    predictors = Predictors(program)
    renewed = dspy.Predict(dspy.Signature("question -> answer", "Left."))
    assert predictors.component_of(renewed) == "left"
    assert predictors.component_of(dspy.Predict("other -> answer")) is None


def test_copies_of_one_predictor_are_told_apart_by_their_instructions():
    """A predictor that the user copied by hand shares DSPy's mark with its original."""

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.one = dspy.Predict("question -> answer")
            self.two = copy.deepcopy(self.one)

    program = build(Program(), {"two": "Two."})
    predictors = Predictors(program)
    again = copy.deepcopy(program)
    assert [predictors.component_of(each) for each in (again.one, again.two)] == ["one", "two"]


def test_frozen_predictors_are_no_steps():
    """A frozen sub-module's calls are nobody's, although a component has the same signature."""

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.frozen = Twins()
            self.frozen._compiled = True
            self.live = dspy.Predict("question -> answer")

        def forward(self, question):
            return self.live(question=self.frozen(question=question).answer)

    assert called(recorded(Program(), scripted_lm(echo), question="a")[0]) == ["live"]


def test_calls_in_dspys_threads_are_recorded():
    """dspy.Parallel carries trace and callbacks into its threads."""

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question):
            parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
            found = parallel([(self.answer, {"question": each}) for each in question.split()])
            return dspy.Prediction(answer=" ".join(each.answer for each in found))

    trace, output = recorded(Program(), scripted_lm(echo), question="a b c")
    assert called(trace) == ["answer"] * 3
    assert {each.inputs["question"] for each in trace.steps} == {"a", "b", "c"}
    assert output.answer == "a! b! c!"


class Asynchronous(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    async def aforward(self, question):
        first = await self.answer.acall(question=question)
        return await self.answer.acall(question=first.answer)


def test_a_program_with_aforward_alone_runs():
    """In a plain thread, and where a notebook's event loop is running already."""
    lm = scripted_lm(echo)

    async def in_a_notebook():
        return recorded(Asynchronous(), lm, question="a")

    expected = (step("answer", "a", "a!"), step("answer", "a!", "a!!"))
    for trace, _ in (recorded(Asynchronous(), lm, question="a"), asyncio.run(in_a_notebook())):
        assert trace.steps == expected
    assert len(lm.history) == 4


def test_a_program_made_synchronous_by_dspy_runs_as_a_copy():
    """dspy.syncify puts `forward` on the object; a built program's is bound to itself."""
    student = dspy.syncify(Asynchronous())
    program = build(student, {"answer": "Anew."})
    trace, _ = recorded(program, scripted_lm(echo), question="a")
    assert called(trace) == ["answer", "answer"]
    assert inspect.getattr_static(program, "forward").__self__ is program


@pytest.mark.parametrize(
    ("output", "fields"),
    [
        (dspy.Prediction(answer="a"), {"answer": "a"}),
        ({"answer": "a", 1: 2}, {"answer": "a", "1": 2}),
        ("a", {"output": "a"}),
        (None, {}),
        ([1], {"output": [1]}),
    ],
    ids=repr,
)
def test_whatever_a_program_answers_has_fields(output, fields):
    """Programs need not answer with a Prediction."""

    class Program(dspy.Module):
        def forward(self, question):
            return output

    assert recorded(Program(), None, question="a") == (Trace({"question": "a"}, fields), output)
    assert fields_of(output) == fields


def test_a_candidate_is_what_is_traced():
    """The instruction of the built program reaches the model."""
    lm = scripted_lm(echo)
    student = Twins()
    recorded(build(student, {**components_of(student), "left": "Go left."}), lm, question="a")
    assert ["Go left." in prompt for prompt in lm.engine.prompts] == [False, True, False]

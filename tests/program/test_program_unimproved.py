"""What is said of a program before anything is spent: what of it cannot be improved, or run."""

import asyncio
import functools
from types import MethodType

import dspy
import pytest
from swap_task import CODES, exact, examples, gepa, instructions, task_lm

from dspy_gepa.errors import SettingsError
from dspy_gepa.program.demos import DemoSettings
from dspy_gepa.program.unimproved import check_program, remarks_on

QUESTION = "question -> answer"
expert = dspy.Predict(QUESTION)


def ask_an_expert(question: str) -> str:
    return expert(question=question).answer


def ask_through_another(question: str) -> str:
    return ask_an_expert(question)


def nearest(k=1):
    vectors = dspy.Embedder(lambda texts: [[float(len(text)), 1.0] for text in texts])
    return dspy.KNNFewShot(k=k, trainset=examples(4), vectorizer=vectors)


class Holding(dspy.Module):
    """Holds this beside a predictor of its own."""

    def __init__(self, held=None):
        super().__init__()
        self.answer = dspy.Predict(QUESTION)
        self.held = held

    def forward(self, question):
        return self.answer(question=question)


class Helper:
    """No module, with a predictor."""

    def __init__(self):
        self.judge = dspy.Predict(QUESTION)


class Slotted:
    __slots__ = ("judge",)

    def __init__(self):
        self.judge = dspy.Predict(QUESTION)


def closed():
    sub_agent = dspy.ChainOfThought(QUESTION)
    return lambda question: sub_agent(question=question)


def frozen():
    inner = dspy.ChainOfThought(QUESTION)
    inner._compiled = True
    return inner


class Naming(Holding):
    """Names a predictor of the file in a method."""

    def forward(self, question):
        return self.answer(question=ask_an_expert(question))


HIDDEN = {
    "an object": (Holding(Helper()), "held.judge"),
    "an object with slots": (Holding(Slotted()), "held.judge"),
    "a list in a list": (Holding([[dspy.Predict(QUESTION)]]), "held[0][0]"),
    "a dict in a dict": (Holding({"a": {"b": dspy.Predict(QUESTION)}}), "held['a']['b']"),
    "a set": (Holding({dspy.Predict(QUESTION)}), "held[0]"),
    "a closure": (Holding(closed()), "sub_agent.predict in the function closed.<locals>.<lambda>"),
    "a partial": (Holding(functools.partial(max, dspy.Predict(QUESTION))), "held[0]"),
    "a bound method": (Holding(dspy.Predict(QUESTION).__call__), "held"),
    "a function's file": (Naming(), "expert in the function ask_an_expert"),
    "a tool": (dspy.ReAct(QUESTION, tools=[ask_through_another]), "expert in the function ask_an"),
    "a tool of a module within": (
        Holding(dspy.ReAct(QUESTION, tools=[ask_an_expert])),
        "expert in",
    ),
}


@pytest.mark.parametrize(("program", "place"), HIDDEN.values(), ids=HIDDEN)
def test_predictors_that_are_no_component_are_named(program, place):
    """Wherever the program keeps them where DSPy does not look, with what to do."""
    (remark,) = remarks_on(program)
    assert remark.startswith("Not improved, as DSPy does not count them as the program's: ")
    assert place in remark
    assert "Hold them as attributes" in remark


def test_what_counts_as_compiled_is_named():
    """A frozen module stays as it is, as in DSPy's own optimizers, and that is said."""
    (remark,) = remarks_on(Holding(frozen()))
    assert "count as compiled: held.predict. Set `_compiled = False`" in remark


def dspys_own():
    made = {
        "Predict": dspy.Predict(QUESTION),
        "ChainOfThought": dspy.ChainOfThought(QUESTION),
        "MultiChainComparison": dspy.MultiChainComparison(QUESTION),
        "ReAct": dspy.ReAct(QUESTION, tools=[len]),
        "BestOfN": dspy.BestOfN(dspy.Predict(QUESTION), 2, lambda args, pred: 1.0, 0.5),
        "Refine": dspy.Refine(dspy.Predict(QUESTION), 2, lambda args, pred: 1.0, 0.5),
        "ProgramOfThought": dspy.ProgramOfThought(QUESTION),
    }
    late = {name: getattr(dspy, name, None) for name in ("RLM", "Flex")}
    return made | {name: kind(QUESTION) for name, kind in late.items() if kind is not None}


@pytest.mark.parametrize("module", dspys_own().values(), ids=dspys_own())
def test_nothing_is_said_of_dspys_own_modules(module):
    """All of their predictors are components, alone and within a program."""
    for program in (module, Holding(module), Holding({"one": module})):
        check_program(program)
        assert [*remarks_on(program)] == []


def test_data_in_a_program_is_not_looked_into():
    """Examples, texts and a model's own parts are no predictors."""
    data = {"rows": examples(3), "texts": ["a"] * 3, "lm": task_lm(), "kinds": [Holding, dspy]}
    assert [*remarks_on(Holding(data))] == []


def replaced_by_a_function():
    program = Holding()
    program.forward = lambda question: program.answer(question=question)
    return program


def wrapped_on_the_object():
    program = Holding()
    original = program.forward

    @functools.wraps(original)
    def forward(*args, **kwargs):
        return original(*args, **kwargs)

    program.forward = forward
    return program


@pytest.mark.parametrize(
    "make",
    [lambda: nearest().compile(Holding()), replaced_by_a_function, wrapped_on_the_object],
    ids=["KNNFewShot", "a function", "a wrapper"],
)
def test_a_program_whose_copies_would_run_another_one_is_refused(make):
    """Before anything is spent; as a part of another program it is said to be rewritten in vain."""
    calls = []

    def metric(gold, pred, trace=None):
        calls.append(pred)
        return 1.0

    lm = task_lm()
    with dspy.context(lm=lm), pytest.raises(SettingsError, match="of its own"):
        gepa(metric).compile(make(), examples(4), examples(4))
    assert (calls, lm.history) == ([], [])
    assert any("The `forward` of held was replaced" in each for each in remarks_on(Holding(make())))


def test_a_method_that_was_put_on_the_program_is_its_own():
    """Bound to the program and holding no other one, it runs the texts of each copy."""

    def forward(self, question):
        return self.answer(question=question)

    program = Holding()
    program.forward = MethodType(forward, program)
    check_program(program)
    improved = optimized(program)
    assert CODES["bill"] in instructions(improved)["answer"]


def optimized(program):
    with dspy.context(lm=task_lm()):
        return gepa(exact).compile(program, examples(8), examples(4))


class OwnCall(dspy.Module):
    """Does its work where modules are called, and has no other method."""

    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict(QUESTION)

    def __call__(self, question):
        return self.answer(question=question)


class Around(OwnCall):
    """Does something before and after."""

    def __call__(self, question):
        found = super().__call__(question.strip())
        return dspy.Prediction(answer=found.answer.strip())


class Beside(Holding):
    """Its call leaves DSPy's own out."""

    def __call__(self, question):
        return self.forward(question)


@pytest.mark.parametrize("kind", [OwnCall, Around, Beside], ids=lambda kind: kind.__name__)
def test_programs_that_override_the_call_are_improved(kind):
    """They are called as their users call them."""
    check_program(kind())
    assert CODES["bill"] in instructions(optimized(kind()))["answer"]


def test_tools_that_wait_for_a_loop_that_stands_still_are_named():
    """A session of MCP that was opened in the notebook's loop is served by nobody meanwhile."""

    async def look_up(question: str) -> str:
        """The house code."""
        return question

    program = dspy.ReAct(QUESTION, tools=[look_up])

    async def cell():
        return [*remarks_on(program)]

    assert [*remarks_on(program)] == []
    (remark,) = asyncio.run(cell())
    assert "running event loop" in remark


def test_demonstrations_that_nobody_can_make_are_named():
    """DSPy's bootstrapping runs no asynchronous program."""

    class Waiting(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict(QUESTION)

        async def aforward(self, question):
            return await self.answer.acall(question=question)

    assert [*remarks_on(Waiting())] == []
    (remark,) = remarks_on(Waiting(), DemoSettings(bootstrapped=2), examples(2))
    assert "No demonstrations will be found" in remark


def test_demonstrations_that_no_model_would_be_shown_are_named():
    """DSPy leaves out of a prompt what has no output of the predictor, as an agent's steps have."""
    agent, labeled = dspy.ReAct(QUESTION, tools=[len]), DemoSettings(labeled=4)

    class Drafting(dspy.Module):
        def __init__(self):
            super().__init__()
            self.draft = dspy.Predict("question -> draft")

        def forward(self, question):
            return dspy.Prediction(answer=self.draft(question=question).draft)

    (remark,) = remarks_on(Drafting(), labeled, examples(4))
    assert "max_bootstrapped_demos" in remark
    assert [*remarks_on(Drafting(), DemoSettings(labeled=4, bootstrapped=1), examples(4))] == []
    # What extracts the agent's answer has the example's input and its output.
    for program in (agent, dspy.ChainOfThought(QUESTION)):
        assert [*remarks_on(program, labeled, examples(4))] == []

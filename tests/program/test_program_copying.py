"""Copies that run on the same models and share what cannot be copied."""

from __future__ import annotations

import functools
import logging
import socket
import threading
from dataclasses import dataclass

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from scripted_engine import answer, scripted_lm

from dspy_gepa.errors import SettingsError
from dspy_gepa.program.copying import copied
from dspy_gepa.program.program import build, components_of


@dataclass
class Judge:
    lm: dspy.LM


class Slotted:
    __slots__ = ("lm",)

    def __init__(self, lm):
        self.lm = lm


class Program(dspy.Module):
    def __init__(self, **held):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, question):
        return self.answer(question=question)


def test_a_model_bound_to_a_predictor_is_the_students():
    """Its history and its calls are those of every candidate's rollouts together."""
    student = Program()
    lm = scripted_lm(answer(answer="x"))
    student.set_lm(lm)
    for text in ("Say x.", "Say X."):
        build(student, {"answer": text})(question="q")
    assert len(lm.history) == len(lm.engine.prompts) == 2


@pytest.mark.parametrize(
    "hold",
    [
        lambda lm: lm,
        lambda lm: [lm],
        lambda lm: {"strong": (lm,)},
        lambda lm: {"nested": [{"deep": Judge(lm)}]},
        Judge,
        Slotted,
        lambda lm: functools.partial(print, lm),
        lambda lm: functools.partial(print, judge=lm),
        lambda lm: Judge(lm).lm.copy,
    ],
    ids=["attribute", "list", "dict", "deep", "object", "slots", "partial", "keyword", "method"],
)
def test_a_model_is_shared_wherever_it_is_held(hold):
    """As an attribute, in containers, in objects, in partials and bound methods."""
    lm = scripted_lm("x")
    duplicate = copied(Program(held=hold(lm)))
    reached, pending = [], [duplicate.held]
    while pending:
        each = pending.pop()
        if isinstance(each, dspy.LM):
            reached.append(each)
        elif isinstance(each, dict):
            pending += each.values()
        elif isinstance(each, (list, tuple)):
            pending += each
        elif isinstance(each, functools.partial):
            pending += [*each.args, *each.keywords.values()]
        else:
            pending.append(getattr(each, "lm", None) or each.__self__)
    assert [each is lm for each in reached] == [True]


def test_a_client_for_decisions_is_shared_as_well():
    """DSPy's second kind of model is no BaseLM, and says what it is by its class."""

    class Decider:
        supports_decision_requests = True

    decider = Decider()
    assert copied(Program(decider=decider)).decider is decider


@pytest.mark.parametrize("make", [threading.Lock, socket.socket, lambda: iter(i for i in [1])])
def test_what_cannot_be_copied_is_shared_and_everything_else_is_copied(make, caplog):
    """Also beside predictors in one container; nobody is warned of it."""
    handle = make()
    student = Program(
        handle=handle, mixed={"handle": handle, "hop": dspy.Predict("a -> b")}, seen=[1]
    )
    with caplog.at_level(logging.DEBUG):
        built = build(student, {"answer": "Say x.", "mixed['hop']": "Say b."})
    assert built.handle is handle
    assert built.mixed["handle"] is handle
    assert built.mixed["hop"] is not student.mixed["hop"]
    assert built.seen == [1]
    assert built.seen is not student.seen
    assert components_of(student)["mixed['hop']"] != "Say b."
    assert caplog.records == []
    if isinstance(handle, socket.socket):
        handle.close()


def test_an_object_that_holds_a_lock_is_shared_whole():
    """Half a copy of somebody's object would be worse than none."""

    class Index:
        def __init__(self):
            self.lock = threading.Lock()
            self.rows = [1, 2]

    index = Index()
    assert copied(Program(index=index)).index is index


def test_mutable_state_is_not_shared_between_copies():
    """What one candidate's program writes into itself, no other sees."""
    student = Program(cache={"a": 1})
    one, two = copied(student), copied(student)
    one.cache["b"] = 2
    assert (student.cache, two.cache) == ({"a": 1}, {"a": 1})


def test_demos_settings_and_callbacks_are_kept_and_history_is_not():
    """DSPy drops callbacks from a deep copy; they are the user's, and stay the same objects."""
    callback, inner = BaseCallback(), BaseCallback()
    student = Program()
    student.callbacks = [callback]
    student.answer.callbacks = [inner]
    student.answer.config = {"temperature": 0.7}
    student.answer.demos = [dspy.Example(question="1", answer="2")]
    student.history.append({"prompt": "x"})
    duplicate = copied(student)
    assert duplicate.callbacks == [callback]
    assert duplicate.answer.callbacks == [inner]
    assert duplicate.answer.config == {"temperature": 0.7}
    assert duplicate.answer.demos == student.answer.demos
    assert duplicate.answer.demos is not student.answer.demos
    assert duplicate.history == []
    duplicate.callbacks.append(inner)
    assert student.callbacks == [callback]


def test_a_module_without_super_init_can_be_copied():
    """Many programs forget the call; DSPy forgives it."""

    class Forgetful(dspy.Module):
        def __init__(self):
            self.answer = dspy.Predict("question -> answer")

    assert list(components_of(copied(Forgetful()))) == ["answer"]


def test_a_program_that_refuses_to_be_copied_is_named():
    """The error says which class, and what to do."""

    class Unique(Program):
        def __deepcopy__(self, memo):
            raise TypeError("there can be only one")

    with pytest.raises(SettingsError, match=r"Unique cannot be copied.*only one"):
        copied(Unique())


def test_a_history_of_any_length_costs_nothing():
    """A student that was used a lot is not searched through its past calls."""

    class Trap(dict):
        def __deepcopy__(self, memo):
            raise AssertionError

    student = Program()
    student.history.append(Trap())
    assert copied(student).history == []


def test_a_tool_that_is_a_method_is_the_copys():
    """Also where something else in the program cannot be copied."""

    class Helped(dspy.Module):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()
            self.answer = dspy.Predict("question -> answer")
            self.tools = [dspy.Tool(self.look_up), dspy.Tool(functools.partial(str), name="text")]

        def look_up(self, query: str) -> str:
            """Looks it up."""
            return query

    student = Helped()
    duplicate = copied(student)
    assert duplicate.lock is student.lock
    assert duplicate.tools[0] is not student.tools[0]
    assert duplicate.tools[0].func.__self__ is duplicate

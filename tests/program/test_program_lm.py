"""Asking a model outside of the program."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import dspy
import pytest
from dspy.utils import DummyLM
from model_server import model_server
from scripted_engine import scripted_lm

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.program.lm import ask, language_model, reflection_asker


def test_a_model_answers_through_dspy():
    """The reply is text, and the model's own history tells of the call."""
    lm = scripted_lm(str.upper)
    assert ask(lm, "hello") == "HELLO"
    assert [entry["prompt"] for entry in lm.history] == ["hello"]


@pytest.mark.parametrize("temperature", [None, 0.0, 1.0])
def test_no_reply_comes_from_the_cache(temperature):
    """The same prompt is answered anew, without a warning and on the same model object."""
    counted = iter("123")
    lm = scripted_lm(lambda _: next(counted), cache=True, temperature=temperature)
    before = (lm.cache, dict(lm.kwargs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [ask(lm, "the very same prompt") for _ in range(3)] == ["1", "2", "3"]
    assert len(lm.history) == 3
    assert (lm.cache, dict(lm.kwargs)) == before


def test_nothing_lands_in_the_callers_trace():
    """A caller that collects a trace finds its own calls there and none of ours."""
    trace = []
    predict = dspy.Predict("question -> answer")

    def reflect(prompt):
        return predict(question=prompt).answer

    with dspy.context(trace=trace, lm=DummyLM([{"answer": "x"}])):
        assert ask(reflect, "hello") == "x"
    assert trace == []


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("text", "text"),
        (["first", "second"], "first"),
        (["", "second"], "second"),
        ([{"text": "said", "reasoning_content": "thought"}], "said"),
        ([{"text": None, "reasoning_content": "thought"}], ""),
        ([], ""),
        (None, ""),
        (("text",), "text"),
    ],
    ids=repr,
)
def test_replies_of_every_form(reply, text):
    """Text is taken out of lists and of the dicts that reasoning models give."""
    assert ask(lambda prompt: reply, "hello") == text


def test_a_reasoning_model_of_the_old_kind_is_read():
    """DSPy gives a dict where there is more than text."""

    class Reasoner(dspy.BaseLM):
        def forward(self, prompt=None, messages=None, **kwargs):
            message = SimpleNamespace(content="said", reasoning_content="thought")
            choice = SimpleNamespace(message=message)
            return SimpleNamespace(choices=[choice], usage={}, model="m")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert ask(Reasoner("some/model"), "hello") == "said"


def test_a_served_model_answers():
    """The way over HTTP is DSPy's own."""
    with model_server(200, text="served") as server:
        assert ask(server.lm(), "hello") == "served"
        assert len(server.requests) == 1


def test_a_reply_that_is_no_text_is_refused():
    """The error says what came and what is needed."""
    with pytest.raises(WrongType, match="gave a int"):
        ask(lambda prompt: 3, "hello")


def test_a_name_stands_for_a_model():
    """A name becomes a dspy.LM; a model and a function stay themselves."""
    named = language_model("openai/some-model")
    assert (type(named), named.model) == (dspy.LM, "openai/some-model")
    assert language_model(named) is named
    assert language_model(str.upper) is str.upper


@pytest.mark.parametrize("given", [None, 3, dspy.LM, ["openai/some-model"]], ids=repr)
def test_what_is_no_model_is_refused(given):
    """The error shows it and says what may be passed."""
    with pytest.raises(WrongType, match=r"Pass a dspy.LM"):
        language_model(given)


def test_without_a_model_the_configured_one_is_asked():
    """It is looked up when the function is made, not when it asks."""
    with dspy.context(lm=scripted_lm("configured")):
        asker = reflection_asker(None)
    assert asker("hello") == "configured"
    with dspy.context(lm=None), pytest.raises(SettingsError, match="no model to reflect with"):
        reflection_asker(None)

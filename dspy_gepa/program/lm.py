"""The one way in which a model is asked something that is not the program's own business.

Every call goes through DSPy, so that its history, callbacks and costs stay true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import dspy

from dspy_gepa.errors import SettingsError, WrongType

__all__ = ["LanguageModel", "ask", "language_model", "reflection_asker"]

LanguageModel: TypeAlias = "dspy.BaseLM | Callable[[str], Any]"
"""A model of DSPy's, or a function from a prompt to a reply or a list of replies."""


def language_model(given: object) -> LanguageModel:
    """The model that was given, or the one that a name stands for.

    Raises:
        WrongType: it is neither a model, nor a name, nor a function.
    """
    if isinstance(given, str):
        return dspy.LM(given)
    if isinstance(given, dspy.BaseLM) or (callable(given) and not isinstance(given, type)):
        return given
    raise WrongType(
        f"The reflection LM is {given!r}. Pass a dspy.LM, the name of a model such as "
        '"openai/gpt-5", or a function from a prompt to a reply.'
    )


def reflection_asker(given: object) -> Callable[[str], str]:
    """A function that asks this model; with None, the model that DSPy has configured here and now.

    Raises:
        SettingsError: nothing was given, and DSPy has no model configured either.
    """
    if given is None:
        given = dspy.settings.lm
    if given is None:
        raise SettingsError(
            "There is no model to reflect with. Pass reflection_lm=dspy.LM(...), "
            "or configure one for DSPy: dspy.configure(lm=dspy.LM(...))."
        )
    return partial(ask, language_model(given))


def ask(lm: LanguageModel, prompt: str) -> str:
    """The model's reply to this prompt, never from the response cache; empty where it says nothing.

    Raises:
        WrongType: the reply is no text.
    """
    with dspy.context(trace=[]):
        # A cached reply would be the very text that was tried before. `cache=False` for one call
        # leaves the LM object, its history and its temperature as they are.
        reply = lm(prompt, cache=False) if isinstance(lm, dspy.BaseLM) else lm(prompt)
    return _text(reply)


def _text(reply: object) -> str:
    if isinstance(reply, str):
        return reply
    if reply is None:
        return ""
    if isinstance(reply, dict):
        # DSPy gives a dict where a model says more than text: its reasoning, say.
        return _text(reply.get("text"))
    if isinstance(reply, Sequence):
        return next(filter(None, map(_text, reply)), "")
    raise WrongType(
        f"The reflection LM gave a {type(reply).__name__}; a text or a list of texts is needed."
    )

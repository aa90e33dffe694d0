"""The one way in which a model is asked something that is not the program's own business.

A model of DSPy's is called through DSPy, so that its history, callbacks and costs stay true. A
plain function is called with the text alone.
"""

from __future__ import annotations

import inspect
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import dspy
from dspy.utils.exceptions import (
    AdapterParseError,
    ContextWindowExceededError,
    LMInvalidRequestError,
    LMServerError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
)

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.models.media import content_parts
from dspy_gepa.models.outages import too_long_in
from dspy_gepa.models.usage import Meter
from dspy_gepa.reflect.exchange import Prompt, PromptTooLong, Reply
from dspy_gepa.values.media import without_base64

__all__ = ["LanguageModel", "ask", "check_language_model", "language_model", "reflection_asker"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

LanguageModel: TypeAlias = "dspy.BaseLM | Callable[[str], Any]"
"""A model of DSPy's, or a function from a prompt to a reply or a list of replies."""

_CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
"""What servers give as the reason for an end where a limit of tokens was reached."""
_BY_ITSELF = frozenset({"stop", "end_turn", "eos", "eos_token", "completed"})
"""What they give where the model came to an end."""
_OF_MEDIA = re.compile(r"image|audio|multi-?modal|vision|mmproj", re.IGNORECASE)
_LONGEST_REASON = 300
"""Characters of a refusal that a warning shows."""


def check_language_model(model: object) -> None:
    """Nothing, if this can be asked.

    Raises:
        WrongType: it is neither a model, nor a name, nor a function of one text.
    """
    if reason := _no_model(model):
        raise WrongType(
            f"The reflection LM is {model!r:.200}{reason}. Pass a dspy.LM, the name of a model "
            'such as "openai/gpt-5", or a function from a prompt to a reply.'
        )


def _no_model(model: object) -> str:  # noqa: PLR0911 - one for each reason
    """What is wrong with what was given, after its name; empty if it can be asked."""
    if isinstance(model, str):
        return "" if model.strip() else ", which names no model"
    if isinstance(model, dspy.BaseLM):
        own = type(model)
        is_own = own.__call__ is not dspy.BaseLM.__call__ or own.forward is not dspy.BaseLM.forward
        return "" if is_own else ", which has neither forward nor __call__ of its own"
    if isinstance(model, type):
        return ", which is a class and no model made of it"
    if not callable(model):
        return ", which cannot be called"
    if isinstance(model, dspy.Module):
        return (
            ", which is a program; give its model, or a function that calls it with its fields "
            "and returns one of them"
        )
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    if any(is_kind(each) for is_kind in kinds for each in (model, type(model).__call__)):
        return ", which has to be awaited"
    try:
        inspect.signature(model).bind("prompt")
    except ValueError:
        return ""  # a built-in that does not say what it takes
    except TypeError as error:
        return f", which cannot be called with a prompt alone: {error}"
    return ""


def language_model(model: object) -> LanguageModel:
    """The model that was given, or the one that a name stands for.

    Raises:
        WrongType: it is neither a model, nor a name, nor a function.
    """
    check_language_model(model)
    return dspy.LM(model) if isinstance(model, str) else model


def reflection_asker(model: object) -> Callable[[Prompt], Reply]:
    """A function that asks this model; with None, the model that DSPy has configured here and now.

    Raises:
        SettingsError: nothing was given, and DSPy has no model configured either.
        WrongType: what was given cannot be asked.
    """
    if model is None:
        model = dspy.settings.lm
    if model is None:
        raise SettingsError(
            "There is no model to reflect with. Pass reflection_lm=dspy.LM(...), "
            "or configure one for DSPy: dspy.configure(lm=dspy.LM(...))."
        )
    return partial(ask, language_model(model))


def ask(lm: LanguageModel, prompt: Prompt) -> Reply:
    """The model's reply, never from the response cache; an empty text where it says nothing.

    A model of DSPy's is asked as its predictors ask it: with messages, through an adapter. Media is
    sent as content parts after the text, each after its title. A model that refuses it is asked
    again with the text alone, and one that is a plain function takes no more than text.

    Raises:
        PromptTooLong: the model says that it cannot read so much.
        WrongType: the reply is no text.
    """
    witness, meter, began_seconds = _Witness(), Meter(), time.monotonic()
    callers = [*(dspy.settings.caller_modules or ()), witness]
    # A cached reply would be the very text that was tried before. `cache=False` for one call
    # leaves the LM object, its history and its temperature as they are.
    with meter.around(), dspy.context(trace=[], caller_modules=callers):
        outcome = catching(lambda: _said(lm, prompt, witness))
    if isinstance(outcome, Failed):
        if (refusal := too_long_in(outcome.error)) is not None:
            raise PromptTooLong(str(refusal)) from outcome.error
        raise outcome.error
    took = round(time.monotonic() - began_seconds, 3)
    return Reply(_text(outcome), witness.saw_truncation(), took, *meter.tokens)


def _said(lm: LanguageModel, prompt: Prompt, witness: _Witness) -> object:
    if not isinstance(lm, dspy.BaseLM):
        return lm(prompt.text)
    return _asked_with_media(lm, prompt, witness) if prompt.media else _sent(lm, prompt.text)


class _Witness:
    """Stands among the modules that make a call, to which DSPy hands its history entry.

    The model's own history would not say which entry is this call's: several threads may ask it.
    Where DSPy is told to keep no history, nothing is seen.
    """

    def __init__(self) -> None:
        self.history: list[Mapping[str, Any]] = []

    def saw_truncation(self) -> bool | None:
        """Whether a server said that it stopped at a limit; None if none said why it stopped."""
        reasons = {
            reason.lower()
            for entry in self.history
            for reason in _reasons(entry.get("response"))
            if isinstance(reason, str)
        }
        if reasons & _CUT_OFF:
            return True
        return False if reasons & _BY_ITSELF else None


def _reasons(response: object) -> Iterator[object]:
    """Why the response ended, in every place where some API says so."""
    yield _part(response, "finish_reason")
    yield _part(_part(response, "incomplete_details"), "reason")
    for several in ("choices", "outputs"):
        for choice in _part(response, several) or ():
            yield _part(choice, "finish_reason")


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


class _AsItIs(dspy.Adapter):  # type: ignore[misc]  # DSPy is untyped here
    """Sends content parts and returns the reply, both unchanged.

    An adapter is DSPy's own place for chat messages: a direct call with them is on its way out,
    and a `dspy.lm15.Request` leaves out the settings of the LM and is unknown before DSPy 3.4.
    """

    def format(
        self,
        signature: type[dspy.Signature],  # noqa: ARG002 - DSPy's interface
        demos: list[dict[str, Any]],  # noqa: ARG002 - DSPy's interface
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """The one message."""
        return [{"role": "user", "content": inputs["content"]}]

    def parse(
        self,
        signature: type[dspy.Signature],  # noqa: ARG002 - DSPy's interface
        completion: str,
    ) -> dict[str, Any]:
        """The reply."""
        return {"reply": completion}


_SIGNATURE = dspy.Signature("content -> reply")


def _asked_with_media(lm: dspy.BaseLM, prompt: Prompt, witness: _Witness) -> object:
    try:
        return _sent(lm, _content(prompt))
    except ContextWindowExceededError:
        raise
    except dspy.LMError as error:
        if not _refuses_media(error):
            raise
        logger.warning(
            "The reflection LM %s refuses %s, and is asked without: %s",
            lm.model,
            ", ".join(title for title, _ in prompt.media),
            without_base64(str(error))[:_LONGEST_REASON],
        )
        witness.history.clear()
        return _sent(lm, prompt.text)


def _refuses_media(error: dspy.LMError) -> bool:
    """Whether the model may take the text without the media."""
    if isinstance(error, LMUnsupportedModelError):
        return False
    is_of_the_request = isinstance(error, (LMInvalidRequestError, LMUnsupportedFeatureError))
    # llama.cpp, for one, calls it an error of the server.
    is_of_the_server = isinstance(error, LMServerError) and bool(_OF_MEDIA.search(str(error)))
    return is_of_the_request or is_of_the_server


def _content(prompt: Prompt) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = [{"type": "text", "text": prompt.text}]
    for title, shown in prompt.media:
        content += [{"type": "text", "text": title}, *content_parts(shown)]
    return content


def _sent(lm: dspy.BaseLM, content: str | list[dict[str, Any]]) -> list[str]:
    # A model of the user's own need not know the option, and has no cache of DSPy's.
    options = {"cache": False} if isinstance(lm, dspy.LM) else {}
    try:
        replies = _AsItIs()(lm, options, _SIGNATURE, [], {"content": content})
    except AdapterParseError:
        return []  # the model said nothing
    return [reply["reply"] for reply in replies]


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

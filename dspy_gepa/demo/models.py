"""The language models of a demonstration: local, hosted, or one of each.

One rule: nothing is answered from DSPy's cache. A second run would otherwise show the speed of a
disk, and two local models under one name would answer for each other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import dspy

from dspy_gepa.demo.server import serve

__all__ = ["ModelChoice", "Models", "models"]

_REFLECTION_TOKENS = {"local": 700, "hosted": 8000}


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which models the user asked for."""

    model: str | None = None
    """A hosted model that runs the program; the local one where it is None."""
    reflection_model: str | None = None
    """A hosted model that rewrites instructions; the same as runs the program where it is None."""
    api_base: str | None = None
    """Where hosted models are reached, if not where litellm knows."""
    local_model: str = "1.5b"
    gguf: Path | None = None
    port: int = 0
    threads: int | None = None


class Models(NamedTuple):
    """The LM that runs the program and the one that rewrites its instructions."""

    student: dspy.LM
    reflection: dspy.LM
    place: str
    """Where they run, in words."""
    is_small: bool = False
    """Whether the local model rewrites its own instructions."""


@contextmanager
def models(choice: ModelChoice, *, answer_tokens: int) -> Iterator[Models]:
    """The models of this choice; a local server runs only as long as the block.

    Raises:
        MissingExtra: the local model is not installed.
        LocalModelError: the local model cannot be run.
    """
    # Seed instructions often get an answer of any length: that they are cut off is no news.
    logging.getLogger("dspy.clients.lm").setLevel(logging.ERROR)
    if choice.model is not None:
        student = _hosted(choice.model, choice.api_base, max_tokens=None)
        reflection = choice.reflection_model or choice.model
        yield Models(student, _reflection(reflection, choice.api_base), choice.model)
        return
    with serve(
        choice.local_model, gguf=choice.gguf, port=choice.port, threads=choice.threads
    ) as local:
        # The stop saves a fifth of each answer: the marker that follows the last field.
        student = dspy.LM(
            **local.settings,
            temperature=0.0,
            max_tokens=answer_tokens,
            stop=["[[ ## completed"],
        )
        if choice.reflection_model is not None:
            reflection_lm = _reflection(choice.reflection_model, choice.api_base)
        else:
            reflection_lm = dspy.LM(
                **local.settings, temperature=0.8, max_tokens=_REFLECTION_TOKENS["local"]
            )
        place = f"{local.model} at {local.api_base}, threads: {local.threads}"
        yield Models(student, reflection_lm, place, is_small=choice.reflection_model is None)


def _reflection(name: str, api_base: str | None) -> dspy.LM:
    return _hosted(name, api_base, max_tokens=_REFLECTION_TOKENS["hosted"])


def _hosted(name: str, api_base: str | None, *, max_tokens: int | None) -> dspy.LM:
    address = {}
    if api_base is not None:
        # A server of one's own mostly wants no key, but the client insists on having one.
        address = {"api_base": api_base, "api_key": os.environ.get("OPENAI_API_KEY", "none")}
    return dspy.LM(name, max_tokens=max_tokens, cache=False, **address)

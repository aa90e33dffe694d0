"""What the reflection LM is told and its texts are held to, made from arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dspy_gepa.config.texts import Frozen
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.models.tokens import input_tokens_of
from dspy_gepa.reflect.rules import EVERY_COMPONENT
from dspy_gepa.reflect.templates import Template

__all__ = [
    "frozen_components",
    "own_templates",
    "prompt_tokens",
    "references",
]

_ANSWER_TOKENS = 4_000
"""What is left for the answer where the model does not say how long it may be."""


def frozen_components(frozen: Frozen, components: Sequence[str]) -> tuple[str, ...]:
    """The components that are never rewritten.

    Raises:
        SettingsError: one that there is not, or all of them.
    """
    whole = (
        [name for name, parts in frozen.items() if parts is True]
        if isinstance(frozen, Mapping)
        else [frozen]
        if isinstance(frozen, str)
        else list(frozen)
    )
    if EVERY_COMPONENT in whole:
        whole = list(components)
    if unknown := [name for name in whole if name not in components]:
        raise SettingsError(f"frozen={unknown} was given; the components are {list(components)}.")
    if whole and set(whole) == set(components):
        raise SettingsError("frozen names all components, so that nothing is left to improve.")
    return tuple(whole)


def prompt_tokens(model: Any) -> int | None:
    """The longest prompt of a reflection; None if the model is not known."""
    most = input_tokens_of(model)
    if most is None:
        return None
    answer = getattr(model, "kwargs", {}).get("max_tokens") or _ANSWER_TOKENS
    return max(1_000, most - min(int(answer), most // 2))


def own_templates(asked: Any, components: Sequence[str]) -> dict[str, Template]:
    """Component to the user's own reflection prompt for it, given one text or one for each.

    Raises:
        SettingsError: a placeholder is wrong, or a component that there is not.
        WrongType: what was given is no text.
    """
    if asked is None:
        return {}
    by_component = asked if isinstance(asked, Mapping) else dict.fromkeys(components, asked)
    if unknown := [name for name in by_component if name not in components]:
        raise SettingsError(
            f"reflection_template names {unknown}; the components are {list(components)}."
        )
    return {name: _template(text) for name, text in by_component.items()}


def _template(text: Any) -> Template:
    if isinstance(text, Template):
        return text
    if not isinstance(text, str):
        raise WrongType(f"reflection_template={text!r:.200} was given, and a text is needed.")
    return Template(text)


def references(
    asked: Mapping[str, str] | Sequence[str | os.PathLike[str]],
) -> dict[str, str]:
    """Title to text, of all that the reflection LM may consult.

    Raises:
        SettingsError: a file that cannot be read.
    """
    if isinstance(asked, Mapping):
        return dict(asked)
    single = isinstance(asked, (str, os.PathLike))
    paths = [asked] if single else asked
    return {Path(path).name: _read(path) for path in paths}  # type: ignore[arg-type]


def _read(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"references has {str(path)!r}, which cannot be read: {error}. Give paths of text "
            "files, or a dict from title to text."
        ) from error

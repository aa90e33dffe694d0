"""What the reflection LM is told and its texts are held to, made from arguments."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy

from dspy_gepa.arguments import Arguments
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.models.tokens import counted_tokens, input_tokens_of
from dspy_gepa.program.components.fields import users_outputs
from dspy_gepa.program.components.kinds import ARGUMENT, TOOL, Part
from dspy_gepa.program.components.tools import TOOL_MARK
from dspy_gepa.reflect.predicates import (
    CopiesNoExamples,
    Facts,
    KeepsPlaceholders,
    NamesOutputFields,
)
from dspy_gepa.reflect.rules import EVERY_COMPONENT, Rules
from dspy_gepa.reflect.templates import Template
from dspy_gepa.values.words import text_of

__all__ = [
    "frozen_components",
    "own_templates",
    "prompt_tokens",
    "references",
    "rules",
    "rules_for_code",
]

_ANSWER_TOKENS = 4_000
"""What is left for the answer where the model does not say how long it may be."""


def frozen_components(given: Arguments, components: Sequence[str]) -> tuple[str, ...]:
    """The components that are never rewritten.

    Raises:
        SettingsError: one that there is not, or all of them.
    """
    frozen = given.frozen
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


def rules(
    given: Arguments,
    student: dspy.Module,
    parts: Mapping[str, Part],
    trainset: Iterable[dspy.Example],
) -> Rules:
    """What new texts are held to.

    Raises:
        SettingsError, WrongType: a rule that cannot be kept, or that is none.
    """
    frozen = given.frozen if isinstance(given.frozen, Mapping) else {}
    constraints = given.constraints
    made = Rules(
        frozen={
            name: [fixed] if isinstance(fixed, (str, re.Pattern)) else fixed
            for name, fixed in frozen.items()
            if not isinstance(fixed, bool)
        },
        constraints=[constraints] if isinstance(constraints, str) else constraints,
        max_instruction_tokens=given.max_instruction_tokens,
        count_tokens=counted_tokens,
        predicates=tuple(given.invariants),
        normalised=lambda component, text: parts[component].kind.normalised(text),
    )
    made.check({name: part.text for name, part in parts.items()})
    return made.with_facts(
        Facts(
            users_outputs(student),
            lambda: [text_of(value) for example in trainset for value in dict(example).values()],
            (TOOL_MARK,) if any(p.kind in (TOOL, ARGUMENT) for p in parts.values()) else (),
        )
    )


def rules_for_code(held_to: Rules) -> Rules:
    """The rules that also apply to a source, in which braces are no placeholders."""
    prose = (KeepsPlaceholders, NamesOutputFields, CopiesNoExamples)
    own = [each for each in held_to.predicates if not isinstance(each, prose)]
    return replace(held_to, max_instruction_tokens=None, predicates=tuple(own))


def prompt_tokens(model: Any) -> int | None:
    """The longest prompt of a reflection; None where the model is not known."""
    most = input_tokens_of(model)
    if most is None:
        return None
    answer = getattr(model, "kwargs", {}).get("max_tokens") or _ANSWER_TOKENS
    return max(1_000, most - min(int(answer), most // 2))


def own_templates(given: Arguments, components: Sequence[str]) -> dict[str, Template]:
    """Component to the user's own reflection prompt for it.

    Raises:
        SettingsError: a placeholder is wrong, or a component that there is not.
        WrongType: what was given is no text.
    """
    asked = given.reflection_template
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


def references(given: Arguments) -> dict[str, str]:
    """Title to text, of all that the reflection LM may consult.

    Raises:
        SettingsError: a file that cannot be read.
    """
    if isinstance(given.references, Mapping):
        return dict(given.references)
    single = isinstance(given.references, (str, os.PathLike))
    paths = [given.references] if single else given.references
    return {Path(path).name: _read(path) for path in paths}  # type: ignore[arg-type]


def _read(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"references has {str(path)!r}, which cannot be read: {error}. Give paths of text "
            "files, or a dict from title to text."
        ) from error

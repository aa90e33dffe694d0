"""Which texts are rewritten, what they are held to, and how the reflection LM is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dspy_gepa.config.checks import (
    allowed,
    are,
    check_frozen_parts,
    check_function,
    check_predicates,
    check_type,
    set_checked,
    whole,
)
from dspy_gepa.models.asking import check_language_model
from dspy_gepa.reflect.templates import Template

__all__ = ["Frozen", "Reflection", "TextRules"]

EDIT_MODES = ("rewrite", "append")
REFLECTION_STYLES = ("diagnose", "transcribe")

Frozen: TypeAlias = (
    Sequence[str] | Mapping[str, bool | str | re.Pattern[str] | Sequence[str | re.Pattern[str]]]
)
"""Components that stay as they are; or component to True, or to the parts of its text that must
stay."""


@dataclass(frozen=True, kw_only=True)
class TextRules:
    """Which texts are rewritten, and what every new one is held to.

    Raises:
        SettingsError: an argument is wrong.
        WrongType: an argument has a type that cannot be used.
    """

    optimize: Sequence[str] = ("instructions", "code")
    seed_instructions: Mapping[str, str] | None = None
    frozen: Frozen = ()
    constraints: str | Sequence[str] = ()
    invariants: Sequence[Callable[[str, str, str], Any]] = ()
    max_instruction_tokens: int | None = None
    must_pass: Sequence[Any] = ()

    def __post_init__(self) -> None:
        check_type(
            "seed_instructions",
            self.seed_instructions,
            "a dict from component to text",
            is_right=self.seed_instructions is None or isinstance(self.seed_instructions, Mapping),
        )
        check_type(
            "frozen",
            self.frozen,
            "a list of components, or a dict from component to True or to the parts that stay,",
            is_right=isinstance(self.frozen, Collection),
        )
        for component, parts in self.kept_parts.items():
            check_frozen_parts(component, parts)
        check_type(
            "constraints",
            self.constraints,
            "a text or a list of texts",
            is_right=are(str, self.constraints, alone=True),
        )
        check_type(
            "invariants",
            self.invariants,
            "a list of functions",
            is_right=are(Callable, self.invariants),
        )
        check_predicates("invariants", self.invariants)
        tokens = whole("max_instruction_tokens", self.max_instruction_tokens, 1)
        set_checked(self, max_instruction_tokens=tokens)

    @property
    def kept_parts(self) -> dict[str, Sequence[str | re.Pattern[str]]]:
        """Component to the parts of its text that must stay."""
        frozen = self.frozen if isinstance(self.frozen, Mapping) else {}
        return {
            name: [parts] if isinstance(parts, (str, re.Pattern)) else parts
            for name, parts in frozen.items()
            if not isinstance(parts, bool)
        }

    @property
    def listed_constraints(self) -> Sequence[str]:
        """What every new text has to comply with, one sentence each."""
        return [self.constraints] if isinstance(self.constraints, str) else self.constraints


@dataclass(frozen=True, kw_only=True)
class Reflection:
    """By which model and how new texts are asked for.

    Raises:
        SettingsError: an argument is wrong.
        WrongType: an argument has a type that cannot be used.
    """

    reflection_lm: Any = None
    guidance: str = ""
    references: Mapping[str, str] | Sequence[str | os.PathLike[str]] = ()
    reflection_template: Any = None
    reflection_style: str = "diagnose"
    edit_mode: str = "rewrite"
    add_format_failure_as_feedback: bool = True
    instruction_proposer: Any = None
    code_proposer: Any = None
    repairs: int = 1

    def __post_init__(self) -> None:
        if self.reflection_lm is not None:
            check_language_model(self.reflection_lm)
        check_type("guidance", self.guidance, "a text", is_right=isinstance(self.guidance, str))
        check_type(
            "references",
            self.references,
            "a list of paths, or a dict from title to text,",
            is_right=are((str, os.PathLike), self.references, alone=True),
        )
        asked = self.reflection_template
        for template in asked.values() if isinstance(asked, Mapping) else [asked]:
            if template is not None and not isinstance(template, Template):
                Template(template)
        allowed("reflection_style", self.reflection_style, REFLECTION_STYLES)
        allowed("edit_mode", self.edit_mode, EDIT_MODES)
        check_function("code_proposer", self.code_proposer)
        set_checked(self, repairs=whole("repairs", self.repairs, 0))

    @property
    def diagnoses(self) -> bool:
        """Whether one question is about all instructions."""
        return self.edit_mode == "rewrite" and self.reflection_style == "diagnose"

"""A program's texts taken out of it, and put into a copy of it.

A candidate's text is what the program built from it says, to the character.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import dspy
from dspy.adapters.utils import get_field_description_string as _fields

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.program.copying import copied
from dspy_gepa.program.kinds import parts_of

__all__ = ["build", "components_of", "describe"]

_LONGEST_DOCSTRING = 600
"""Characters of a program's docstring that a description keeps."""


def components_of(student: dspy.Module) -> Candidate:
    """The instructions of every predictor and the source of every `dspy.Flex`, as `parts_of` says.

    Raises:
        WrongType: the student is no program.
        SettingsError: it has nothing that could be improved.
    """
    if not isinstance(student, dspy.Module):
        raise WrongType(
            f"The student is {student!r:.200}, and a dspy.Module instance is needed."
            + (" Call the class to make one." if isinstance(student, type) else "")
        )
    texts = {name: part.text for name, part in parts_of(student).items()}
    if not texts:
        raise SettingsError(
            f"The student {type(student).__name__} has no predictor whose instructions could be "
            "improved. Hold its predictors as attributes, for instance "
            "self.answer = dspy.Predict(...). Sub-modules with _compiled=True are frozen: set "
            "that to False to have them improved."
        )
    return Candidate.of(texts)


def build(student: dspy.Module, candidate: Mapping[str, str]) -> dspy.Module:
    """A copy of the student with the candidate's texts: a plain DSPy program.

    Runs on the student's own model objects. Demos, settings and callbacks are kept, and so is
    whether it counts as compiled. The student is not changed.

    Raises:
        UnboundCode: a source is no source of a module.
        SettingsError: a component that the student does not have, or a text that cannot be used.
    """
    program = copied(student)
    parts = parts_of(program)
    if unknown := [component for component in candidate if component not in parts]:
        raise SettingsError(f"The program has no components {unknown}; it has {list(parts)}.")
    for component, text in candidate.items():
        parts[component].say(text)
    return program


def describe(student: dspy.Module) -> dict[str, str]:
    """For each component, what it is part of and what its fields are; not its text."""
    parts = parts_of(student)
    whole = f"The program is {type(student).__name__}."
    # DSPy's own classes document how to use them in Python, which says nothing about the task.
    own_words = type(student).__doc__ if _is_users_own(student) else None
    if own_words:
        whole += " " + inspect.cleandoc(own_words)[:_LONGEST_DOCSTRING]
    if len(parts) > 1:
        whole += f"\nIts components: {', '.join(parts)}."
    return {
        name: f"{whole}\nThis component: {name}.\n"
        f"Its input fields:\n{_fields(part.holder.signature.input_fields)}\n"
        f"Its output fields:\n{_fields(part.holder.signature.output_fields)}"
        for name, part in parts.items()
    }


def _is_users_own(student: dspy.Module) -> bool:
    return type(student).__module__.partition(".")[0] != "dspy"

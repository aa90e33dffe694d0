"""A program's texts taken out of it, and put into a copy of it.

A candidate's text is what the program built from it says, to the character.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import dspy
from dspy.adapters.utils import get_field_description_string

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.program.copying import copied

__all__ = ["build", "components_of", "describe", "normalised"]

_LONGEST_DOCSTRING = 600
"""Characters of a program's docstring that a description keeps."""


def components_of(student: dspy.Module) -> Candidate:
    """The instructions of every predictor, in the program's order.

    A predictor that can be reached in several ways is one component. Predictors in a sub-module
    that counts as compiled are frozen, and no components.

    Raises:
        WrongType: the student is no program.
        SettingsError: it has no predictor that could be improved.
    """
    if not isinstance(student, dspy.Module):
        raise WrongType(
            f"The student is {student!r:.200}, and a dspy.Module instance is needed."
            + (" Call the class to make one." if isinstance(student, type) else "")
        )
    texts = {name: each.signature.instructions for name, each in student.named_predictors()}
    if not texts:
        raise SettingsError(
            f"The student {type(student).__name__} has no predictor whose instructions could be "
            "improved. Hold its predictors as attributes, for instance "
            "self.answer = dspy.Predict(...). Sub-modules with _compiled=True are frozen: set "
            "that to False to have them improved."
        )
    return Candidate.of(texts)


def build(student: dspy.Module, candidate: Mapping[str, str]) -> dspy.Module:
    """A copy of the student with the candidate's instructions: a plain DSPy program.

    Runs on the student's own model objects. Demos, settings and callbacks are kept, and so is
    whether it counts as compiled. The student is not changed.

    Raises:
        SettingsError: a component that the student does not have, or a text that cannot be used.
    """
    program = copied(student)
    predictors = dict(program.named_predictors())
    if unknown := [component for component in candidate if component not in predictors]:
        raise SettingsError(f"The program has no components {unknown}; it has {list(predictors)}.")
    for component, text in candidate.items():
        predictor = predictors[component]
        # An unchanged signature stays the very class that the user wrote.
        if text != predictor.signature.instructions:
            predictor.signature = predictor.signature.with_instructions(normalised(text))
    return program


def normalised(text: object) -> str:
    """The text as a program says it: DSPy takes off common indentation and outer blank lines.

    Raises:
        SettingsError: it cannot be an instruction. Says why.
    """
    if not isinstance(text, str):
        raise SettingsError(f"an instruction is text, and this is a {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"the text cannot be sent to a model: {error}") from None
    clean = text.strip()
    # Once is not enough: what the first pass leaves at the beginning decides the second one.
    while (cleaner := inspect.cleandoc(clean)) != clean:
        clean = cleaner
    if not clean:
        raise SettingsError("the text is empty, and DSPy would put its default in place of it")
    return clean


def describe(student: dspy.Module) -> dict[str, str]:
    """For each component, what it is part of and what its fields are; not its instruction."""
    predictors = student.named_predictors()
    whole = f"The program is {type(student).__name__}."
    # DSPy's own classes document how to use them in Python, which says nothing about the task.
    own_words = type(student).__doc__ if _is_users_own(student) else None
    if own_words:
        whole += " " + inspect.cleandoc(own_words)[:_LONGEST_DOCSTRING]
    if len(predictors) > 1:
        whole += f"\nIts components: {', '.join(name for name, _ in predictors)}."
    return {
        name: f"{whole}\nThis component: {name}.\n"
        f"Its input fields:\n{get_field_description_string(each.signature.input_fields)}\n"
        f"Its output fields:\n{get_field_description_string(each.signature.output_fields)}"
        for name, each in predictors
    }


def _is_users_own(student: dspy.Module) -> bool:
    return type(student).__module__.partition(".")[0] != "dspy"

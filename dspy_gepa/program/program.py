"""A program's texts taken out of it, and put into a copy of it.

A candidate's text is what the program built from it says, to the character.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dspy

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.program.components.describing import describe
from dspy_gepa.program.components.kinds import DEFAULT_KINDS, ComponentKind, kinds_in, parts_of
from dspy_gepa.program.copying import copied

__all__ = ["build", "components_of", "describe"]


def components_of(
    student: dspy.Module, kinds: Iterable[ComponentKind] = DEFAULT_KINDS
) -> Candidate:
    """The program's texts of these kinds, as `parts_of` says: instructions and code by default.

    Raises:
        WrongType: the student is no program.
        SettingsError: it has nothing that could be improved.
    """
    if not isinstance(student, dspy.Module):
        raise WrongType(
            f"The student is {student!r:.200}, and a dspy.Module instance is needed."
            + (" Call the class to make one." if isinstance(student, type) else "")
        )
    asked = tuple(kinds)
    texts = {name: part.text for name, part in parts_of(student, asked).items()}
    if not texts and parts_of(student):
        names = ", ".join(kind.name for kind in asked)
        raise SettingsError(
            f"The student {type(student).__name__} has none of the texts that are to be improved: "
            f"{names}. Its instructions could be."
        )
    if not texts:
        raise SettingsError(
            f"The student {type(student).__name__} has no predictor whose instructions could be "
            "improved. Hold its predictors as attributes, for instance "
            "self.answer = dspy.Predict(...). Sub-modules with _compiled=True are frozen: set "
            "that to False to have them improved."
        )
    return Candidate.of(texts)


def build(student: dspy.Module, candidate: Mapping[str, str]) -> dspy.Module:
    """A copy of the student with the candidate's texts, of whatever kinds: a plain DSPy program.

    Runs on the student's own model objects. Demos, settings and callbacks are kept, and so is
    whether it counts as compiled. The student is not changed.

    Raises:
        UnboundCode: a source is no source of a module.
        SettingsError: a component that the student does not have, or a text that cannot be used.
    """
    program = copied(student)
    parts = parts_of(program)
    if any(component not in parts for component in candidate):
        parts = parts_of(program, kinds_in(program, candidate))
    if unknown := [component for component in candidate if component not in parts]:
        known = list(parts or parts_of(program))
        raise SettingsError(f"The program has no components {unknown}; it has {known}.")
    for component, text in candidate.items():
        parts[component].say(text)
    return program

"""The kinds of component that a program has: a row of a table for each says how it is treated.

Instructions are held by predictors, and code by `dspy.Flex` modules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import dspy

from dspy_gepa.errors import SettingsError
from dspy_gepa.program.boundary import Raised, settled
from dspy_gepa.program.flex import CODE_MODULES

__all__ = ["CODE", "INSTRUCTION", "KINDS", "Kind", "Part", "UnboundCode", "normalised", "parts_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of component is, and all that differs between kinds."""

    name: str
    holders: Callable[[dspy.Module], Iterable[tuple[str, Any]]]
    """Component name and the module that holds its text, for all of a program."""
    read: Callable[[Any], str]
    """The text that a holder has."""
    write: Callable[[str, Any, str], None]
    """Gives a component's holder another text."""
    normalised: Callable[[object], str]
    """The text as a holder says it; SettingsError where it cannot be one."""
    is_asked_about: bool
    """Whether a metric can be asked about its part alone, by `pred_name`."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component of one program."""

    name: str
    kind: Kind
    holder: Any
    """The predictor or module that holds its text."""

    @property
    def text(self) -> str:
        """What it says now."""
        return self.kind.read(self.holder)

    def say(self, text: str) -> None:
        """Let it say this text, to the character if that is normal.

        Raises:
            SettingsError: the text cannot be used.
        """
        # What is unchanged stays the very object that the user wrote.
        if text != self.text:
            self.kind.write(self.name, self.holder, self.kind.normalised(text))


class UnboundCode(SettingsError):
    """A source that no module can be given. The fault of whoever wrote it, and of nothing else."""

    def __init__(self, component: str, problem: str) -> None:
        super().__init__(f"The source of {component} cannot be bound: {problem}")
        self.component = component


def parts_of(program: dspy.Module) -> dict[str, Part]:
    """The program's components by name: instructions in its order, then code, as dspy.GEPA does.

    One that can be reached in several ways is one component. What is in a sub-module that counts
    as compiled is frozen, and no component.
    """
    return {
        name: Part(name, kind, holder) for kind in KINDS for name, holder in kind.holders(program)
    }


def normalised(text: object) -> str:
    """An instruction as a program says it: DSPy takes off common indentation and blank lines.

    Raises:
        SettingsError: it cannot be an instruction. Says why.
    """
    clean = _sendable(text, "an instruction").strip()
    # Once is not enough: what the first pass leaves at the beginning decides the second one.
    while (cleaner := inspect.cleandoc(clean)) != clean:
        clean = cleaner
    if not clean:
        raise SettingsError("the text is empty, and DSPy would put its default in place of it")
    return clean


def _normal_source(text: object) -> str:
    """A source as it is: every space of it may matter."""
    source = _sendable(text, "a source")
    if not source.strip():
        raise SettingsError("the source is empty, and DSPy would not load it from a saved program")
    return source


def _sendable(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise SettingsError(f"{what} is text, and this is a {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"the text cannot be sent to a model: {error}") from None
    return text


def _instruct(_component: str, predictor: Any, text: str) -> None:
    predictor.signature = predictor.signature.with_instructions(text)


def _bind(component: str, module: Any, source: str) -> None:
    # DSPy has no public name for this, and its own GEPA does the same. The source is parsed here
    # and not run, so whatever is raised is about the source.
    bound = settled(lambda: module._bind_code(source))  # noqa: SLF001
    if isinstance(bound, Raised):
        raise UnboundCode(component, _problem(bound.error)) from bound.error


def _problem(error: Exception) -> str:
    """What is wrong with a source, with the line where it is."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        line = (error.text or "").strip()
        return f"SyntaxError in line {error.lineno}: {error.msg}" + (f": {line}" if line else "")
    return f"{type(error).__name__}: {error}"


INSTRUCTION = Kind(
    name="instruction",
    holders=lambda program: program.named_predictors(),
    read=lambda predictor: str(predictor.signature.instructions),
    write=_instruct,
    normalised=normalised,
    is_asked_about=True,
)
CODE = Kind(
    name="code",
    holders=lambda program: (
        (name, each) for name, each in program.named_parameters() if isinstance(each, CODE_MODULES)
    ),
    read=lambda module: str(module.module_src),
    write=_bind,
    normalised=_normal_source,
    is_asked_about=False,
)
KINDS = (INSTRUCTION, CODE)
"""In the order in which their components stand in a candidate."""

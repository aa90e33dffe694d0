"""Instructions and code, the components that dspy.GEPA knows as well.

Instructions are held by predictors, and code by `dspy.Flex` modules.
"""

from __future__ import annotations

import inspect
from typing import Any

from dspy_gepa.errors import SettingsError
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.program.components.flex import CODE_MODULES
from dspy_gepa.program.components.part import ComponentKind, Found, sendable_text

__all__ = ["CODE", "INSTRUCTION", "UnboundCode", "normalised"]


class UnboundCode(SettingsError):
    """A source that no module can be given. The fault of whoever wrote it, and of nothing else."""

    def __init__(self, component: str, problem: str) -> None:
        super().__init__(f"The source of {component} cannot be bound: {problem}")
        self.component = component


def normalised(text: object) -> str:
    """An instruction as a program says it: DSPy takes off common indentation and blank lines.

    Raises:
        SettingsError: it cannot be an instruction. Says why.
    """
    clean = sendable_text(text, "an instruction").strip()
    # Once is not enough: what the first pass leaves at the beginning decides the second one.
    while (cleaner := inspect.cleandoc(clean)) != clean:
        clean = cleaner
    if not clean:
        raise SettingsError("the text is empty, and DSPy would put its default in place of it")
    return clean


def _normal_source(text: object) -> str:
    """A source as it is: every space of it may matter."""
    source = sendable_text(text, "a source")
    if not source.strip():
        raise SettingsError("the source is empty, and DSPy would not load it from a saved program")
    return source


def _instruct(_component: str, predictor: Any, text: str) -> None:
    predictor.signature = predictor.signature.with_instructions(text)


def _bind(component: str, module: Any, source: str) -> None:
    # DSPy has no public name for this, and its own GEPA does the same. The source is parsed here
    # and not run, so whatever is raised is about the source.
    bound = catching(lambda: module._bind_code(source))  # noqa: SLF001
    if isinstance(bound, Failed):
        raise UnboundCode(component, _problem(bound.error)) from bound.error


def _problem(error: Exception) -> str:
    """What is wrong with a source, with the line where it is."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        line = (error.text or "").strip()
        return f"SyntaxError in line {error.lineno}: {error.msg}" + (f": {line}" if line else "")
    return f"{type(error).__name__}: {error}"


INSTRUCTION = ComponentKind(
    name="instruction",
    find=lambda program: [Found(name, each) for name, each in program.named_predictors()],
    read=lambda predictor: str(predictor.signature.instructions),
    write=_instruct,
    normalised=normalised,
    is_asked_about=True,
)
CODE = ComponentKind(
    name="code",
    find=lambda program: [
        Found(name, each)
        for name, each in program.named_parameters()
        if isinstance(each, CODE_MODULES)
    ],
    read=lambda module: str(module.module_src),
    write=_bind,
    normalised=_normal_source,
    is_asked_about=False,
)

"""Cheap checks of a new text, made before an evaluation of it is paid for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from dspy_gepa.errors import WrongType
from dspy_gepa.program.calls.boundary import Raised, settled
from dspy_gepa.program.rollouts.trace import failure_text

__all__ = ["as_predicates"]


def as_predicates(checks: Sequence[Callable[[str], Any]]) -> tuple[Callable[..., Any], ...]:
    """The checks as rules for new texts.

    A check is called with a new text. It refuses the text by returning False or a reason, or by
    raising; everything else lets it pass.

    Raises:
        WrongType: one cannot be called like that.
    """
    if isinstance(checks, (str, bytes)) or not isinstance(checks, Sequence):
        raise WrongType(f"checks={checks!r:.200} was given; a list of functions is needed.")
    return tuple(map(_as_predicate, checks))


def _as_predicate(check: Callable[[str], Any]) -> Callable[[str, str, str], Any]:
    name = getattr(check, "__name__", type(check).__name__)
    try:
        inspect.signature(check).bind("text")
    except (TypeError, ValueError) as error:
        raise WrongType(
            f"checks has {check!r:.200}, which cannot be called with a text: {error}. Give "
            "functions of one argument that return False or a reason, or raise, where it is bad."
        ) from error

    def refused(component: str, old: str, new: str) -> Any:  # noqa: ARG001 - a rule's arguments
        said = settled(lambda: check(new))
        if isinstance(said, Raised):
            return failure_text(said.error)
        return said if isinstance(said, str) or said is False else None

    refused.__name__ = name
    return refused

"""Cheap checks of a new text, made before an evaluation of it is paid for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

from dspy_gepa.errors import WrongType
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.models.failures import failure_text

__all__ = ["CheckText", "Refused", "as_predicates", "refusal"]


Refused: TypeAlias = "str | Literal[False] | None"
"""The reason for which a check refuses a text, False if it gives none; None if it passes."""
CheckText: TypeAlias = Callable[[int, str], Refused]
"""Carries a check out, given its number and a new text: what `refusal` returns."""


def as_predicates(
    checks: Sequence[Callable[[str], Any]], carry_out: CheckText | None = None
) -> tuple[Callable[..., Any], ...]:
    """The checks as rules for new texts.

    A check is called with a new text. It refuses the text by returning False or a reason, or by
    raising; everything else lets it pass.

    Args:
        checks: What the user gave.
        carry_out: Where they are carried out; here, where it is None.

    Raises:
        WrongType: one cannot be called like that.
    """
    if isinstance(checks, (str, bytes)) or not isinstance(checks, Sequence):
        raise WrongType(f"checks={checks!r:.200} was given; a list of functions is needed.")
    carried_out = carry_out or (lambda number, text: refusal(checks[number], text))
    return tuple(
        _as_predicate(check, partial(carried_out, number)) for number, check in enumerate(checks)
    )


def refusal(check: Callable[[str], Any], text: str) -> Refused:
    """What a check says of a text."""
    outcome = catching(lambda: check(text))
    if isinstance(outcome, Failed):
        return failure_text(outcome.error)
    return outcome if isinstance(outcome, str) or outcome is False else None


def _as_predicate(
    check: Callable[[str], Any], carry_out: Callable[[str], Any]
) -> Callable[[str, str, str], Any]:
    name = getattr(check, "__name__", type(check).__name__)
    try:
        inspect.signature(check).bind("text")
    except (TypeError, ValueError) as error:
        raise WrongType(
            f"checks has {check!r:.200}, which cannot be called with a text: {error}. Give "
            "functions of one argument that return False or a reason, or raise, where it is bad."
        ) from error

    def refused(component: str, old: str, new: str) -> Any:  # noqa: ARG001 - a rule's arguments
        return carry_out(new)

    refused.__name__ = name
    return refused

"""The user's evaluator, whatever it takes, behind one way of calling it.

What it takes is found out once, before anything is spent.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.models.awaiting import run_to_end

__all__ = ["LONE", "Evaluator"]

LONE = "artifact"
"""The name of the one component of an artifact that is a text."""

_OF_EXAMPLES = ("example", "data_inst", "task", "problem")
"""What the second parameter is called by those who give it by name."""
_OF_ARTIFACTS = ("artifact", "candidate", "program", "solution")


class Evaluator:
    """An evaluator of any common shape: a function, a partial, a method, a callable object, async.

    The artifact comes first and the example second, whatever the parameters are called. An example
    that can be given by keyword only is given so.

    Args:
        evaluate: The user's function.
        takes_example: Whether there are examples, so that it has to take one.
        is_lone: Whether the artifact is one text, and not a dict of named texts.

    Raises:
        WrongType: it cannot be called that way.
        SettingsError: it asks for something that there is not here.
    """

    def __init__(self, evaluate: Callable[..., Any], *, takes_example: bool, is_lone: bool) -> None:
        if not callable(evaluate):
            raise WrongType(
                f"evaluator={evaluate!r:.200} was given, and a function is needed, such as "
                "lambda artifact: score."
            )
        self.name = _name_of(evaluate)
        self._evaluate = evaluate
        self._takes_example = takes_example
        self._is_lone = is_lone
        self._keyword = _checked(evaluate, self.name, takes_example=takes_example)

    def __call__(self, candidate: Candidate, example: Any) -> Any:
        """What the evaluator returns, in its own terms; a coroutine is run to its end."""
        artifact = candidate[LONE] if self._is_lone else dict(candidate)
        if not self._takes_example:
            returned = self._evaluate(artifact)
        elif self._keyword:
            returned = self._evaluate(artifact, **{self._keyword: example})
        else:
            returned = self._evaluate(artifact, example)
        return run_to_end(lambda: returned) if inspect.isawaitable(returned) else returned


def _checked(evaluate: Callable[..., Any], name: str, *, takes_example: bool) -> str:
    """The keyword by which the example has to be given; empty if it is given by position."""
    try:
        signature = inspect.signature(evaluate)
    except (TypeError, ValueError):
        return ""  # a builtin that does not say what it takes shows it when it is called
    parameters = list(signature.parameters.values())
    _check_names(name, [parameter.name for parameter in parameters])
    keywords: Sequence[str] = [
        p.name
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and (p.default is p.empty or p.name in _OF_EXAMPLES)
    ]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        keywords = [*keywords, _OF_EXAMPLES[0]]
    if not takes_example:
        if _binds(signature, 1):
            return ""
        raise WrongType(
            f"The evaluator {name}{signature} cannot be called with the artifact alone, and "
            "without a dataset there is nothing else to give it. Give a dataset, or a function of "
            "one argument."
        )
    if _binds(signature, 2):
        return ""
    for keyword in keywords:
        if _binds(signature, 1, keyword):
            return keyword
    raise WrongType(
        f"The evaluator {name}{signature} cannot be called with an artifact and an example, and "
        "there is a dataset whose examples it is for. Give a function of two arguments, "
        "(artifact, example), or no dataset."
    )


def _check_names(name: str, parameters: Sequence[str]) -> None:
    """Nothing, where the parameters ask for what there is, in this order."""
    if "opt_state" in parameters:
        raise SettingsError(
            f"The evaluator {name} has a parameter opt_state, and earlier results are not handed "
            "to an evaluator here: what an artifact scores would depend on when it ran. Remove the "
            "parameter. To start a search from the best solution so far, let the artifact carry "
            'it, as a component of its own: artifact={"code": ..., "solution": ...}.'
        )
    if len(parameters) > 1 and parameters[0] in _OF_EXAMPLES and parameters[1] in _OF_ARTIFACTS:
        raise SettingsError(
            f"The evaluator {name} takes ({', '.join(parameters)}), and is called by position with "
            "the artifact first. Change the order of its parameters."
        )


def _binds(signature: inspect.Signature, count: int, *keywords: str) -> bool:
    try:
        signature.bind(*range(count), **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def _name_of(evaluate: object) -> str:
    while isinstance(evaluate, functools.partial):
        evaluate = evaluate.func
    return getattr(evaluate, "__name__", None) or type(evaluate).__name__

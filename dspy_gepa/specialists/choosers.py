"""What chooses the member for an input: a new chooser is one entry of `CHOOSERS`.

It imports nothing of this package: see module.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

__all__ = ["CHOOSERS", "FUNCTION", "Chooser", "ChooserError", "chooser_of", "inputs_as_text"]

_BY_SCORES = "which member an example goes to was chosen by the scores on the others"


class ChooserError(ValueError):
    """A chooser named no member."""


class _WhichMember(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Name the member that does best on inputs like these, by its number."""

    inputs: str = dspy.InputField()
    member: str = dspy.OutputField(desc="the number of a member, for instance 0")


class _WhichAnswer(dspy.Signature):  # type: ignore[misc]
    """Several programs answered the same inputs. Name the best answer, by its number."""

    inputs: str = dspy.InputField()
    answers: str = dspy.InputField()
    best: str = dspy.OutputField(desc="the number of an answer, for instance 0")


@dataclass(frozen=True)
class Chooser:
    """How the member for an input is chosen: by a function, or else by a model."""

    measured: str
    """How what it brings was measured: the end of a sentence."""
    choose: Callable[..., Any] | None = None
    """The number of a member, given the `Specialists`, the members' answers and the inputs."""
    predictor: str = ""
    """The attribute of the program that asks a model."""
    signature: Any = None
    """What it is asked, with "inputs", "answers" or both in words."""
    output: str = ""
    """The field of its reply that has the number."""
    runs_all: bool = False
    """Whether all members answer, and one of the answers is chosen."""

    def question(self, answers: Sequence[Any], *args: Any, **kwargs: Any) -> dict[str, str]:
        """What the predictor is given."""
        lines = (f"{place}: {_fields(answer)}" for place, answer in enumerate(answers))
        known = {"inputs": inputs_as_text(args, kwargs), "answers": "\n".join(lines)}
        return {name: known[name] for name in self.signature.input_fields}


def _nearest(program: Any, _answers: Sequence[Any], /, *args: Any, **kwargs: Any) -> int:
    expected = program.expected(*args, **kwargs)
    return max(range(len(expected)), key=lambda place: expected[place])


def _majority(_program: Any, answers: Sequence[Any], /, *_args: Any, **_kwargs: Any) -> int:
    """The first answer of those that most members give, of equals the better member's."""
    votes = [_fields(answer).lower() for answer in answers]
    counts = Counter(votes)
    return max(range(len(votes)), key=lambda place: (counts[votes[place]], -place))


def _function(program: Any, _answers: Sequence[Any], /, *args: Any, **kwargs: Any) -> Any:
    inputs: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    return program.chooser(inputs)


CHOOSERS = {
    "nearest": Chooser(_BY_SCORES, _nearest),
    "lm": Chooser(
        f"{_BY_SCORES}, and not by a model as in the program",
        predictor="router",
        signature=_WhichMember,
        output="member",
    ),
    "vote": Chooser(
        "all members answered, and the most frequent answer counted", _majority, runs_all=True
    ),
    "judge": Chooser(
        "all members answered, and the answer that the judge chose counted",
        predictor="judge",
        signature=_WhichAnswer,
        output="best",
        runs_all=True,
    ),
}
"""By the names that are given for them."""
FUNCTION = Chooser("which member an example goes to was chosen by the function", _function)
"""A function of the user's own."""


def chooser_of(chooser: Any) -> Chooser:
    """The chooser that was asked for.

    Raises:
        ValueError: it is none.
    """
    if callable(chooser):
        return FUNCTION
    if isinstance(chooser, str) and chooser in CHOOSERS:
        return CHOOSERS[chooser]
    raise ValueError(
        f"chooser={chooser!r:.200} was given; allowed: {', '.join(map(repr, CHOOSERS))}, or a "
        "function from the inputs to a member's number."
    )


def inputs_as_text(args: Sequence[Any], inputs: Mapping[str, Any]) -> str:
    """Inputs in words; of images, audio and files only what they are."""
    named = [f"{name}: {_text(value)}" for name, value in sorted(inputs.items())]
    return "\n".join([*map(_text, args), *named])


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}: {_text(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(_text, value))
    if isinstance(getattr(value, "messages", None), list):
        return _text(value.messages)
    is_of_dspy = any(each.__module__.startswith("dspy.") for each in type(value).__mro__)
    return f"<{type(value).__name__}>" if is_of_dspy else str(value)


def _fields(answer: Any) -> str:
    fields = dict(answer.items()) if hasattr(answer, "items") else {"answer": answer}
    shown = {name: value for name, value in fields.items() if name != "reasoning"} or fields
    return "; ".join(f"{name}: {' '.join(_text(value).split())}" for name, value in shown.items())

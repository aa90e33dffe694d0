"""A score with feedback of any kind, which every optimizer of DSPy takes for a number."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, SupportsFloat

import dspy

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.judging.words import in_words
from dspy_gepa.values.media import without_base64

__all__ = ["Feedback", "finite", "objectives_of"]


class Feedback(dspy.Prediction):  # type: ignore[misc]  # DSPy is untyped here
    """What a metric returns: a score, and what a reflection should know about how it came about.

    It is a `dspy.Prediction` with the fields `score` (a finite float, higher is better), `feedback`
    (a text), `objective_scores` (name to float) and `attachments` (name to media, text, dict or
    list). So dspy.Evaluate, dspy.GEPA and every other optimizer take it: it adds, compares and
    converts like its score.

    Args:
        score: A finite number.
        text: What was right or wrong, in any form: a text, a dict or list, an exception (told with
            where it was raised), a profile, a `dspy.Image`, `dspy.Audio` or `dspy.File`, and these
            in each other. Media is moved to `attachments`, and "(attachment: image 1)" says where
            it stood.
        objectives: Named partial scores, finite numbers.
        attachments: Name to whatever the reflection LM should see: media, texts, dicts, lists.

    Raises:
        WrongType: the score or an objective is no number, or an attachment is of no such kind.
        SettingsError: a number is not finite.

    Example:
        >>> Feedback(0.5, "The total is wrong.", attachments={"page": dspy.Image(url)})
    """

    def __init__(
        self,
        score: SupportsFloat,
        text: object = "",
        *,
        objectives: Mapping[str, SupportsFloat] | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> None:
        if attachments is not None and not isinstance(attachments, Mapping):
            raise WrongType(
                f"The attachments are a {type(attachments).__name__}, and a dict from name to "
                'attachment is needed: attachments={"screenshot": dspy.Image(...)}.'
            )
        feedback_text = in_words(text, attachments)
        super().__init__(
            score=finite("The score", score),
            feedback=feedback_text.text,
            objective_scores=objectives_of(objectives),
            attachments=feedback_text.attachments,
        )

    def copy(self, **fields: Any) -> Feedback:
        """A shallow copy, with these fields set: as `dspy.Example.copy` gives it."""
        # DSPy's own passes the fields to a constructor that takes any.
        duplicate = copy.copy(self)
        duplicate._store = {**dict(self.items()), **fields}  # noqa: SLF001 - of our own class
        return duplicate


def objectives_of(objectives: object) -> dict[str, float]:
    """Objectives by name; none where nothing is given.

    Raises:
        WrongType, SettingsError: they are no dict, or one of them is no finite number.
    """
    if objectives is None:
        return {}
    if not isinstance(objectives, Mapping):
        raise WrongType(
            f"The objectives are a {type(objectives).__name__}, and a dict from name to number is "
            'needed: objectives={"brevity": 0.5}.'
        )
    return {
        str(name): finite(f"The objective {name!r:.80}", value)
        for name, value in objectives.items()
    }


def finite(what: str, value: object) -> float:
    """The value as a number.

    Raises:
        WrongType, SettingsError: it is none, or not a finite one.
    """
    number = _number(value)
    if number is None:
        raise WrongType(
            f"{what} is {without_base64(repr(value)):.80}, and a number is needed, such as 0.5."
        )
    if not math.isfinite(number):
        raise SettingsError(f"{what} is {number}, and a finite number is needed, such as 0.5.")
    return number


def _number(value: object) -> float | None:
    # Text is none although "1" would convert: it is a mistake more often than a number.
    if not isinstance(value, SupportsFloat) or isinstance(value, (str, bytes)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except TypeError:
        return None  # an array of several

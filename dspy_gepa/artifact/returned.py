"""What an evaluator returned, in any of the forms that people use, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

from dspy_gepa.artifact.evaluator import LONE
from dspy_gepa.errors import MetricError
from dspy_gepa.judging.feedback import finite, objectives_of
from dspy_gepa.judging.words import FeedbackText, in_words
from dspy_gepa.models.media import captured
from dspy_gepa.values.foreign import entered
from dspy_gepa.values.media import Media, data_uri, without_base64

__all__ = ["EvaluatorResult", "judged"]

_OBJECTIVES = ("objective_scores", "scores")
_OF_COMPONENT = "_specific_info"
"""What ends the name of a field that is about one component."""
_IMAGE_FIELDS = ("url", "path", "base64_data", "media_type")
"""By which an image of the gepa package is known, which is not imported here."""
_MEDIA_TYPES = {"jpg": "image/jpeg", "svg": "image/svg+xml"}
_LONGEST = 300
"""Characters of a returned value in an error."""


@dataclass(frozen=True, slots=True)
class EvaluatorResult:
    """What was said of one artifact on one example."""

    score: float
    feedback: str
    """Empty where no more than a number was returned."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    attachments: Mapping[str, object] = field(default_factory=dict)
    """Name to what a reflection should see beside the words, as plain values and media."""
    by_component: Mapping[str, str] = field(default_factory=dict)
    """What was said about single components only."""


def judged(returned: Any, *, name: str, example: int, components: Sequence[str]) -> EvaluatorResult:
    """What the evaluator of this name said.

    Raises:
        MetricError: it returned something that is no score.
    """
    try:
        score, side = _parts(returned)
        number = finite("The score", score)
        objectives, rest = _objectives(side)
        by_component, rest = _by_component(rest, components)
        attachments = rest.pop("attachments", None) if isinstance(rest, dict) else None
        feedback = _said(_alone(rest), attachments)
    except (TypeError, ValueError) as error:
        why = str(error).removesuffix(".")
        shown = without_base64(repr(returned))
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} [...]"
        raise MetricError(
            f"The evaluator {name} returned {shown} for example {example}. {why}. Return a finite "
            "number, (score, anything), a dict with 'score', or dspy_gepa.Feedback(score, text)."
        ) from error
    return EvaluatorResult(
        number, feedback.text, objectives, captured(dict(feedback.attachments)), by_component
    )


def _parts(returned: Any) -> tuple[Any, Any]:
    """The score, and everything else that was said."""
    if isinstance(returned, Mapping):
        return returned.get("score"), {k: v for k, v in returned.items() if k != "score"}
    if isinstance(returned, tuple) and len(returned) == 2 and not hasattr(returned, "score"):
        score, side = returned
        if isinstance(side, Mapping):
            # One that repeats the score has said nothing more by it.
            return score, {k: v for k, v in side.items() if k != "score" or not _is_same(v, score)}
        return score, side
    if not hasattr(returned, "score"):
        return returned, None
    items = getattr(returned, "items", None)
    fields = dict(items()) if callable(items) else dict(getattr(returned, "__dict__", {}))
    fields = fields or {"feedback": getattr(returned, "feedback", None)}
    return returned.score, {k: v for k, v in fields.items() if k != "score"}


def _objectives(side: Any) -> tuple[dict[str, float], Any]:
    """The named partial scores, and what else was said.

    A field that is called `scores` and holds no names with numbers is feedback like any other.
    """
    if not isinstance(side, Mapping):
        return {}, side
    rest = dict(side)
    objectives: dict[str, float] = {}
    for name in _OBJECTIVES:
        scores = rest.get(name)
        if scores is None:
            rest.pop(name, None)
        elif isinstance(scores, Mapping) and all(map(_is_number, scores.values())):
            objectives |= objectives_of(rest.pop(name))
    return objectives, rest


def _is_number(value: object) -> bool:
    return isinstance(value, SupportsFloat) and not isinstance(value, (str, bytes))


def _by_component(side: Any, components: Sequence[str]) -> tuple[dict[str, str], Any]:
    """What was said about single components, partial scores too, in words; and everything else."""
    if not isinstance(side, dict):
        return {}, side
    feedback: dict[str, str] = {}
    for component in components:
        own_feedback = side.pop(f"{component}{_OF_COMPONENT}", None) if component != LONE else None
        if own_feedback is not None:
            feedback[component] = _said(_alone(own_feedback)).text
    return feedback, side


def _said(side: Any, attachments: object = None) -> FeedbackText:
    """In words, each field of a dict under its name and as it is, and what is taken out of them."""
    if not isinstance(side, Mapping):
        return in_words(_with_media(side, ()), attachments)
    given = in_words("", attachments)
    taken, lines = dict(given.attachments), list[str]()
    for name, value in side.items():
        feedback = in_words(_with_media(value, ()), None, taken)
        taken |= feedback.attachments
        lines.append(f"{name}:{chr(10) if chr(10) in feedback.text else ' '}{feedback.text}")
    return FeedbackText("\n\n".join(lines), taken)


def _alone(side: Any) -> Any:
    """The feedback itself where nothing else was said, nothing if nothing was."""
    if not isinstance(side, Mapping):
        return side
    named_values = {name: value for name, value in side.items() if not _is_nothing(value)}
    if len(named_values) == 1 and next(iter(named_values)) in ("feedback", "Feedback"):
        return next(iter(named_values.values()))
    return named_values or None


def _is_nothing(value: object) -> bool:
    """Whether nothing is said by it. Arrays, which compare by their parts, are not compared."""
    return value is None or (isinstance(value, str) and not value)


def _is_same(value: object, score: object) -> bool:
    """Whether a field repeats the score."""
    return _is_number(value) and _is_number(score) and repr(value) == repr(score)


def _with_media(value: Any, within: tuple[int, ...]) -> Any:
    """The value with media in place of images of the gepa package."""
    if all(hasattr(value, name) for name in _IMAGE_FIELDS):
        return _image(value)
    if type(value) not in (dict, list, tuple):
        return value
    inside = entered(value, within)
    if inside is None:
        return value
    if isinstance(value, dict):
        return {name: _with_media(item, inside) for name, item in value.items()}
    return type(value)(_with_media(item, inside) for item in value)


def _image(value: Any) -> Media:
    if value.url:
        return Media("image", str(value.url))
    if value.base64_data:
        return Media("image", f"data:{value.media_type or 'image/png'};base64,{value.base64_data}")
    path = Path(value.path)
    ending = path.suffix.lower().removeprefix(".")
    kind = value.media_type or _MEDIA_TYPES.get(ending, f"image/{ending or 'png'}")
    return Media("image", data_uri(kind, path.read_bytes()))

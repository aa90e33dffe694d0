"""The user's metric, whatever it takes and whatever it returns, behind one way of calling it.

What it takes is found out once, before anything is spent. What it returns is read, never changed.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any

import dspy

from dspy_gepa.errors import MetricError
from dspy_gepa.judging.feedback import finite, objectives_of
from dspy_gepa.judging.fields import fields_of
from dspy_gepa.judging.words import FeedbackText, in_words
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.models.media import spoken
from dspy_gepa.models.outages import outage_in
from dspy_gepa.program.rollouts.parameters import arguments_of
from dspy_gepa.program.rollouts.trace import PredictorCall
from dspy_gepa.values.media import without_base64

__all__ = ["Judgement", "Metric"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_LONGEST_VALUE = 300
"""Characters of a field's value in a synthesised feedback text."""
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a metric said about one prediction."""

    score: float
    """Finite; higher is better."""
    feedback: str
    """In the metric's words, or else put together from expected and given values."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """Named partial scores; empty if the metric gives none."""
    attachments: Mapping[str, object] = field(default_factory=dict)
    """Name to what a reflection should see beside the words: media, texts, dicts, lists."""


class Metric:
    """A metric of any common shape.

    It takes `(gold, pred)`, optionally `trace`, and optionally the `pred_name` and `pred_trace` of
    dspy.GEPA, by position or by keyword. A function, a partial, a bound method, an object with
    `__call__` and a `dspy.Module` are all metrics. While scoring, everything after the prediction
    is None, as a trace would switch metrics of DSPy's other optimizers to pass or fail; only
    `program_trace` is the trace where the program holds code, whose calls can then be scored.

    Of one that takes anything (`*args`, `**kwargs`) nothing says whether it can be asked about a
    predictor. So it is called with all five arguments first. If that raises, it is given from then
    on what it declares, and the example and the prediction at least.

    Raises:
        WrongType: it cannot be called that way.
    """

    def __init__(self, metric: Callable[..., Any], *, warns_on_mismatch: bool = True) -> None:
        self.name = _name_of(metric)
        self._metric = metric
        self._arguments = arguments_of(metric, self.name)
        self._is_unsure = not all(argument.is_sure for argument in self._arguments)
        self._trying = threading.Lock()
        self._only_scores = False
        self._has_warned = not warns_on_mismatch

    @property
    def asks_per_component(self) -> bool:
        """Whether it can be asked about one component's part in a rollout, as far as is known."""
        has_role = any(argument.role == "pred_name" for argument in self._arguments)
        return has_role and not self._only_scores

    def only_score(self) -> None:
        """Never ask about components from now on."""
        self._only_scores = True

    @property
    def is_unsure(self) -> bool:
        """Whether the next call tries what it takes, which may make two calls of one."""
        return self._is_unsure

    def recall(self, metric_calls: Iterable[int]) -> None:
        """Take over what was tried before, from how often it was called for each rollout."""
        made = {count for count in metric_calls if count}
        if self._is_unsure and made:
            self._settle(takes_all=2 not in made)

    def score(
        self,
        example: Any,
        prediction: Any,
        place: object,
        *,
        program_trace: Sequence[PredictorCall] | None = None,
        again: Callable[[], object] = bool,
    ) -> Judgement:
        """What the metric says about this prediction.

        The user's metric is called once; where it has to be tried what it takes, perhaps a second
        time, of which `again` is told before. `place` says in an error where the example stands.

        Raises:
            MetricError: it returned something that is no score.
        """
        trace = None if program_trace is None else list(program_trace)
        keywords = {"program_trace": trace}
        try:
            if self._is_unsure:
                returned = self._tried(example, prediction, keywords, again)
            else:
                returned = self._call(example, prediction, keywords)
        except MetricError as error:  # of one of our own metrics, which knows no places
            raise MetricError(f"On {place}: {error}") from error
        try:
            score = finite("The score", _part(returned, "score"))
            objectives = objectives_of(dict(_part(returned, "objective_scores") or {}))
            result = _said(returned)
        except (TypeError, ValueError) as error:
            why = str(error).removesuffix(".")  # Python's own errors end without one
            raise MetricError(
                f"The metric {self.name} returned {_quoted(returned)} for {place}. "
                f"{why}. Return a finite number, (score, feedback), a dict with 'score', or "
                "dspy_gepa.Feedback(score, text)."
            ) from error
        feedback = result.text or _synthesised(score, example, prediction)
        return Judgement(score, feedback, objectives, result.attachments)

    def bootstrap(self, example: Any, prediction: Any, trace: Sequence[PredictorCall]) -> float:
        """The score for DSPy's own bootstrapping, where a metric that knows a trace may be strict.

        Raises:
            TypeError, ValueError: it returned something that is no score.
        """
        returned = self._call(example, prediction, {"trace": list(trace)})
        return finite("The score", _part(returned, "score"))

    def feedback(
        self,
        example: Any,
        prediction: Any,
        raw_trace: Sequence[PredictorCall],
        pred_name: str,
        pred_trace: Sequence[PredictorCall],
        *,
        first_score: float | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> FeedbackText | None:
        """What the metric says about one component; None if it says nothing.

        The user's metric is called exactly once. Its score is told with its words; where it differs
        from `first_score`, which counts, one warning says so. What is among `attachments` already,
        those of the whole rollout, keeps its name, and nothing else takes that name.
        """
        keywords = {
            "trace": list(raw_trace),
            "pred_name": pred_name,
            "pred_trace": list(pred_trace),
            "program_trace": list(raw_trace),
        }
        returned = self._call(example, prediction, keywords)
        score = _score_of(returned)
        self._compare(score, first_score)
        # Asked about one predictor, some answer with nothing but words.
        words = returned if isinstance(returned, str) else None
        remark = in_words(words, None, attachments or {}) if words else _said(returned, attachments)
        return remark._replace(score=score) if remark.text or remark.attachments else None

    def _call(self, example: Any, prediction: Any, given: Mapping[str, Any]) -> Any:
        """One call. A role that is not given is None; other parameters keep their defaults."""
        given = {"gold": example, "pred": prediction, **given}
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for name, kind, default, role, _ in self._arguments:
            if kind is Parameter.POSITIONAL_ONLY:
                positional.append(given.get(role) if role else default)
            elif role:
                keywords[name] = given.get(role)
        return self._metric(*positional, **keywords)

    def _tried(
        self,
        example: Any,
        prediction: Any,
        keywords: Mapping[str, Any],
        again: Callable[[], object],
    ) -> Any:
        """A call with everything, or else one with what is sure, and so from then on."""
        with self._trying:
            if self._is_unsure:
                returned = catching(lambda: self._call(example, prediction, keywords))
                if not isinstance(returned, Failed):
                    self._settle(takes_all=True)
                    return returned
                if outage_in(returned.error):
                    raise returned.error
                self._settle(takes_all=False)
                again()
        return self._call(example, prediction, keywords)

    def _settle(self, *, takes_all: bool) -> None:
        if not takes_all:
            self._arguments = tuple(each for each in self._arguments if each.is_sure)
        self._is_unsure = False

    def _compare(self, score: float | None, first_score: float | None) -> None:
        if self._has_warned or None in (score, first_score) or score == first_score:
            return
        self._has_warned = True
        logger.warning(
            "The metric %s scored %g, but %g when asked about one predictor. The first counts.",
            self.name,
            first_score,
            score,
        )


def _name_of(metric: object) -> str:
    while isinstance(metric, functools.partial):
        metric = metric.func
    return getattr(metric, "__name__", None) or type(metric).__name__


def _score_of(returned: object) -> float | None:
    """The score; None if there is none, as where feedback is given alone."""
    try:
        return finite("The score", _part(returned, "score"))
    except (TypeError, ValueError):
        return None


def _part(returned: Any, name: str) -> Any:
    """The score, feedback or objectives within what a metric returned; None if it has none."""
    if isinstance(returned, Mapping):
        return returned.get(name)
    if (part := getattr(returned, name, _MISSING)) is not _MISSING:
        return part
    # A list of two numbers is no score with words.
    is_list = isinstance(returned, list) and len(returned) == 2 and isinstance(returned[1], str)
    if is_list or (isinstance(returned, tuple) and len(returned) == 2):
        return dict(zip(("score", "feedback"), returned, strict=True)).get(name)
    has_parts = isinstance(returned, dspy.Example) or hasattr(returned, "score")
    return returned if name == "score" and not has_parts else None


def _said(returned: object, known: Mapping[str, object] | None = None) -> FeedbackText:
    """What was said in words and attached.

    Raises:
        WrongType: something is attached that no model can be shown.
    """
    return in_words(_part(returned, "feedback"), _part(returned, "attachments"), known or {})


def _synthesised(score: float, example: Any, prediction: Any) -> str:
    """What can be said where the metric gave no more than a number."""
    expected, answer = fields_of(example.labels()), fields_of(prediction)
    shown = {name: value for name, value in answer.items() if name in expected} or answer
    lines = [f"Score: {score:g}."]
    lines += [f"Expected {name}: {_shortened(spoken(value))}" for name, value in expected.items()]
    lines += [f"Given {name}: {_shortened(spoken(value))}" for name, value in shown.items()]
    return "\n".join(lines)


def _quoted(value: object) -> str:
    return _shortened(without_base64(repr(value)))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]} [...]"

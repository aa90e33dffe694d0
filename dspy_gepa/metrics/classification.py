"""A label among those that are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import dspy

from dspy_gepa.errors import MetricError, SettingsError
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.metrics.fields import (
    MISSING,
    answer_in,
    field_of,
    field_text,
    label_in,
    quoted,
    scored_nothing,
)

__all__ = ["Classification"]


@dataclass(frozen=True, slots=True)
class Classification:
    """1 if the label is the expected one, else 0: accuracy.

    Raises:
        SettingsError: labels are given, and there are none, or two that count as one.
    """

    labels: Sequence[object] | None = None
    """All labels that are allowed; None if any is."""
    field: str | None = None
    """Which field holds the label; by default the example's only one."""
    _: KW_ONLY
    ignores_case: bool = True
    ignores_whitespace: bool = True
    """Whether white space around a label, and how much of it is within, does not matter."""

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        keys = [self._key(label) for label in self.labels]
        if not keys or len(set(keys)) < len(keys):
            raise SettingsError(
                f"The labels are {list(self.labels)!r:.300}; at least one is needed, and no two "
                "may count as the same: see ignores_case and ignores_whitespace."
            )

    def __call__(
        self,
        gold: dspy.Example,
        pred: object,
        trace: object = None,  # noqa: ARG002 - other optimizers pass one
        *_: object,  # dspy.GEPA passes two more
    ) -> Feedback:
        """The score, and which label was taken for which.

        Raises:
            MetricError: the expected label is not known, or not among the allowed ones.
        """
        field = field_of(self, self.field, gold, pred)
        expected, answer = label_in(self, field, gold), answer_in(field, pred)
        allowed = None if self.labels is None else {self._key(label) for label in self.labels}
        if allowed is not None and self._key(expected) not in allowed:
            raise MetricError(
                f"The example expects the {field} {quoted(expected)!r}, which is none of the "
                f"labels {self._listed()}. Correct the example, or add the label."
            )
        if answer is MISSING:
            return scored_nothing(field, pred, expected)
        if self._key(answer) == self._key(expected):
            return Feedback(1.0, f"Right: {quoted(expected)}")
        if answer is None:
            return scored_nothing(field, pred, expected)
        if allowed is not None and self._key(answer) not in allowed:
            return Feedback(
                0.0,
                f"{quoted(answer)!r} is no label. The labels are: {self._listed()}. "
                f"Right is {quoted(expected)!r}.",
            )
        return Feedback(0.0, f"Right is {quoted(expected)!r}; it was taken for {quoted(answer)!r}.")

    def _key(self, label: object) -> str:
        text = field_text(label)
        if self.ignores_whitespace:
            text = " ".join(text.split())
        return text.casefold() if self.ignores_case else text

    def _listed(self) -> str:
        return ", ".join(field_text(label) for label in self.labels or ())

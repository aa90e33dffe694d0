"""Short answers against expected ones, as question answering is scored since SQuAD.

Both compare words after SQuAD's normalisation: lower case, without punctuation, without the
articles a, an and the (Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from dataclasses import KW_ONLY, dataclass

import dspy

from dspy_gepa.metrics.fields import (
    MISSING,
    answer_in,
    field_of,
    label_in,
    quoted,
    scored_nothing,
    text_of,
)
from dspy_gepa.program.rollouts.feedback import Feedback

__all__ = ["F1", "ExactMatch"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """1 where the answer is the expected one, else 0.

    An expected list holds alternatives, any of which is right, unless the answer is a list too.
    """

    field: str | None = None
    """Which field to compare; by default the example's only label."""
    _: KW_ONLY
    normalizes: bool = True
    """Whether case, punctuation, articles and white space do not matter."""

    def __call__(
        self,
        gold: dspy.Example,
        pred: object,
        trace: object = None,  # noqa: ARG002 - other optimizers pass one
        *_: object,  # dspy.GEPA passes two more
    ) -> Feedback:
        """The score, and both answers where they differ.

        Raises:
            MetricError: it is not clear what to compare with.
        """
        field = field_of(self, self.field, gold, pred)
        expected, given = label_in(self, field, gold), answer_in(field, pred)
        if given is MISSING:
            return scored_nothing(field, pred, expected)
        wanted = [self._key(each) for each in _alternatives(expected, given)]
        if self._key(given) in wanted:
            return Feedback(1.0, f"Right: {quoted(given)}")
        which = "one of " if len(wanted) > 1 else ""
        said = f"Expected {field}: {which}{quoted(expected)}\nGiven {field}: {quoted(given)}"
        if not self.normalizes and _normalized(given) in map(_normalized, wanted):
            said += "\nThey differ in case, punctuation, articles or white space only."
        return Feedback(0.0, said)

    def _key(self, value: object) -> str:
        return _normalized(value) if self.normalizes else text_of(value)


@dataclass(frozen=True, slots=True)
class F1:
    """How many words the answer shares with the expected one: the mean of precision and recall.

    The harmonic mean, over words with their counts. An expected list holds alternatives, of which
    the best counts, unless the answer is a list too.
    """

    field: str | None = None
    """Which field to compare; by default the example's only label."""

    def __call__(
        self,
        gold: dspy.Example,
        pred: object,
        trace: object = None,  # noqa: ARG002 - other optimizers pass one
        *_: object,  # dspy.GEPA passes two more
    ) -> Feedback:
        """The score, with the words that are missing and those that are too many.

        Raises:
            MetricError: it is not clear what to compare with.
        """
        field = field_of(self, self.field, gold, pred)
        expected, given = label_in(self, field, gold), answer_in(field, pred)
        if given is MISSING:
            return scored_nothing(field, pred, expected)
        words = Counter(_normalized(given).split())
        alternatives = _alternatives(expected, given)
        score, best = max(
            ((_f1(words, Counter(_normalized(each).split())), each) for each in alternatives),
            key=lambda found: found[0],
        )
        if score == 1.0:
            return Feedback(1.0, f"Right: {quoted(given)}")
        wanted = Counter(_normalized(best).split())
        missing, superfluous = wanted - words, words - wanted
        lines = [f"F1 {score:.2f}. Expected {field}: {quoted(best)}", f"Given: {quoted(given)}"]
        # Where no word is right, those would be all, in lower case and so worse than what is said.
        if missing and score:
            lines.append(f"Missing words: {quoted(' '.join(missing.elements()))}")
        if superfluous and score:
            lines.append(f"Superfluous words: {quoted(' '.join(superfluous.elements()))}")
        return Feedback(score, "\n".join(lines))


def _alternatives(expected: object, given: object) -> list[object]:
    is_choice = isinstance(expected, (list, tuple, set, frozenset))
    if not is_choice or isinstance(given, (list, tuple, set, frozenset)) or not expected:
        return [expected]
    return sorted(expected, key=text_of)  # type: ignore[call-overload,no-any-return]  # it is one


def _normalized(value: object) -> str:
    text = unicodedata.normalize("NFD", text_of(value)).lower()
    return " ".join(_ARTICLES.sub(" ", text.translate(_PUNCTUATION)).split())


def _f1(given: Counter[str], wanted: Counter[str]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    shared = (given & wanted).total()
    # Two shared of the words of both: the harmonic mean of precision and recall, without dividing
    # by nothing where none is shared.
    return 2 * shared / (given.total() + wanted.total())

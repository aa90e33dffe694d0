"""Short answers against expected ones, as question answering is scored since SQuAD.

Both compare texts after SQuAD's normalisation: lower case, without punctuation, without the
articles a, an and the (Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1). Our choice: what is
part of a number stays, so that "-5" is not "5" and "1.5" not "15"; but "1,000" is "1000".
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from numbers import Number

import dspy

from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.metrics.fields import (
    MISSING,
    answer_in,
    field_of,
    field_text,
    label_in,
    opened,
    quoted,
    scored_nothing,
)

__all__ = ["F1", "ExactMatch"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_OF_A_NUMBER = (
    r"(?<!\w)-(?=[$€£¥]?\.?\d)"  # a sign, as in -5, -.5 and -$5
    r"|(?<=\de)-(?=\d)"  # the sign of an exponent, as in 1e-5
    r"|(?<![\w.])\.(?=\d)"  # a decimal point that comes first, as in .5
    r"|(?<=\d)[./](?=\d)"  # a decimal point or a fraction bar
    r"|(?<=\d),(?=\d)(?!\d{3}(?!\d))"  # a comma that does not set thousands apart, as in 1,5
)
_PUNCTUATION = re.compile(rf"(?!{_OF_A_NUMBER})[{re.escape(string.punctuation)}]")
_SETS = (set, frozenset)
_COLLECTIONS = (list, tuple, *_SETS)


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """1 if the answer is the expected one, else 0.

    Texts are compared as texts, and numbers, lists, dicts, sets and models as values: 5 is 5.0,
    and the order within a dict or a set does not matter. A text is compared with another value as
    that would be written down: "7" is 7. An expected list holds alternatives, any of which is
    right, unless the answer is a list too.
    """

    field: str | None = None
    """Which field to compare; by default the example's only label."""
    _: KW_ONLY
    normalizes: bool = True
    """Whether case, punctuation, articles and white space do not matter in texts.

    Signs, decimal points and fraction bars of numbers do.
    """

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
        expected, answer = label_in(self, field, gold), answer_in(field, pred)
        if answer is MISSING:
            return scored_nothing(field, pred, expected)
        wanted = _alternatives(expected, answer)
        written = _normalized if self.normalizes else field_text
        if _is_among(wanted, answer, written):
            return Feedback(1.0, f"Right: {quoted(answer)}")
        if answer is None:
            return scored_nothing(field, pred, expected)
        which = "one of " if len(wanted) > 1 else ""
        feedback = f"Expected {field}: {which}{quoted(expected)}\nGiven {field}: {quoted(answer)}"
        if not self.normalizes and _is_among(wanted, answer, _normalized):
            feedback += "\nThey differ in case, punctuation, articles or white space only."
        return Feedback(0.0, feedback)


@dataclass(frozen=True, slots=True)
class F1:
    """How many words the answer shares with the expected one: the mean of precision and recall.

    The harmonic mean, over words with their counts; 1 as well for what ExactMatch takes for the
    same. An expected list holds alternatives, of which the best counts, unless the answer is a list
    too.
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
        alternatives = _alternatives(expected, given)
        if _is_among(alternatives, given, _normalized):
            return Feedback(1.0, f"Right: {quoted(given)}")
        if given is None:
            return scored_nothing(field, pred, expected)
        words = Counter(_normalized(given).split())
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


def _alternatives(expected: object, answer: object) -> list[object]:
    if not isinstance(expected, _COLLECTIONS) or not expected:
        return [expected]
    if isinstance(opened(answer), _COLLECTIONS):
        return [expected]
    return sorted(expected, key=field_text)


def _is_among(wanted: list[object], answer: object, written: Callable[[object], str]) -> bool:
    return any(_are_same(each, answer, written) for each in wanted)


def _are_same(one: object, other: object, written: Callable[[object], str]) -> bool:
    """Whether two values are equal; what is no number or container is compared as `written`."""
    one, other = opened(one), opened(other)
    if _is_number(one) and _is_number(other):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        one, other = (
            [(key, each[key]) for key in _in_order(each, written)] for each in (one, other)
        )
    if not isinstance(one, _COLLECTIONS) or not isinstance(other, _COLLECTIONS):
        return written(one) == written(other)
    if isinstance(one, _SETS) or isinstance(other, _SETS):
        one, other = _in_order(one, written), _in_order(other, written)
    return len(one) == len(other) and all(
        _are_same(*pair, written) for pair in zip(one, other, strict=True)
    )


def _in_order(values: Iterable[object], written: Callable[[object], str]) -> list[object]:
    # Several may be written the same: their texts still tell them apart.
    return sorted(values, key=lambda value: (written(value), field_text(value)))


def _is_number(value: object) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _normalized(value: object) -> str:
    text = unicodedata.normalize("NFD", field_text(value)).lower()
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub("", text)).split())


def _f1(answer: Counter[str], wanted: Counter[str]) -> float:
    if not answer or not wanted:
        return float(answer == wanted)
    shared = (answer & wanted).total()
    # Two shared of the words of both: the harmonic mean of precision and recall, without dividing
    # by nothing if none is shared.
    return 2 * shared / (answer.total() + wanted.total())

"""`Specialists`: a DSPy module that asks, for each input, the member that does best on its like.

It imports nothing of this package, so that a whole program that was saved with it is loaded where
this package is not installed.
"""

from __future__ import annotations

import copy
import math
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

__all__ = ["CHOOSERS", "Likeness", "Specialists", "inputs_as_text"]

CHOOSERS = ("nearest", "lm", "vote", "judge")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")


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


class Specialists(dspy.Module):  # type: ignore[misc]
    """Members of one search, and which of them is asked about an input.

    `save` and `load` keep the texts of all members and the routing table: the inputs of validation
    examples, in words, with each member's score. They are in every file that is written.

    Args:
        student: The program whose copies the members are. `Specialists(student)` can `load` a file.
        members: The members, the one that is best over all first; a copy of the student where there
            are none.
        table: For each known input its words and each member's score.
        shrinkage: How much likeness moves an estimate half the way from a member's mean.
        chooser: "nearest" asks the member with the best scores on inputs like it, without a model
            call; "lm" asks a model, with the table as demonstrations; "vote" runs all members and
            takes the answer that most give; "judge" runs all and asks a model for the best answer;
            or a function from the inputs to a member's number.
    """

    _has_warned = False

    def __init__(
        self,
        student: dspy.Module,
        members: Sequence[dspy.Module] = (),
        table: Iterable[tuple[str, Sequence[float]]] = (),
        *,
        shrinkage: float = 2.0,
        chooser: str | Callable[[Mapping[str, Any]], int] = "nearest",
    ) -> None:
        super().__init__()
        if not callable(chooser) and chooser not in CHOOSERS:
            raise ValueError(
                f"chooser={chooser!r} was given; allowed: {', '.join(map(repr, CHOOSERS))}, or a "
                "function from inputs to a member's number."
            )
        self.chooser = chooser
        self.members = list(members) or [student.deepcopy()]
        self.router = dspy.Predict(_WhichMember)
        if chooser == "judge":
            self.judge = dspy.Predict(_WhichAnswer)
        # As demonstrations, because those DSPy saves and loads.
        self.router.demos = [
            dspy.Example(
                inputs=words,
                member=str(max(range(len(scores)), key=lambda place: scores[place])),
                scores=[None if math.isnan(score) else float(score) for score in scores],
                shrinkage=float(shrinkage),
            ).with_inputs("inputs")
            for words, scores in table
        ]
        self._index: tuple[Any, Likeness] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of the member that is chosen for these inputs."""
        if self.chooser in ("vote", "judge"):
            answers = [member(*args, **kwargs) for member in self.members]
            if self.chooser == "vote":
                return answers[_majority(answers)]
            words = inputs_as_text(args, kwargs)
            try:
                best = self.judge(inputs=words, answers=_listed(answers)).best
            except AdapterParseError as error:
                best = self._best_for_want_of(error)
            return answers[self._named(best)]
        if self.chooser == "lm":
            try:
                member = self.router(inputs=inputs_as_text(args, kwargs)).member
            except AdapterParseError as error:
                member = self._best_for_want_of(error)
            return self.members[self._named(member)](*args, **kwargs)
        return self.members[self.chosen(*args, **kwargs)](*args, **kwargs)

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        """The same, awaited."""
        if self.chooser in ("vote", "judge"):
            answers = [await member.acall(*args, **kwargs) for member in self.members]
            if self.chooser == "vote":
                return answers[_majority(answers)]
            words = inputs_as_text(args, kwargs)
            try:
                best = (await self.judge.acall(inputs=words, answers=_listed(answers))).best
            except AdapterParseError as error:
                best = self._best_for_want_of(error)
            return answers[self._named(best)]
        if self.chooser == "lm":
            try:
                member = (await self.router.acall(inputs=inputs_as_text(args, kwargs))).member
            except AdapterParseError as error:
                member = self._best_for_want_of(error)
            return await self.members[self._named(member)].acall(*args, **kwargs)
        return await self.members[self.chosen(*args, **kwargs)].acall(*args, **kwargs)

    def chosen(self, *args: Any, **kwargs: Any) -> int:
        """The number of the member that is asked about these inputs, by scores or a function."""
        if callable(self.chooser):
            inputs: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
            return self._named(self.chooser(inputs))
        expected = self.expected(*args, **kwargs)
        return max(range(len(expected)), key=lambda place: expected[place])

    def expected(self, *args: Any, **kwargs: Any) -> list[float]:
        """What each member is expected to score on these inputs."""
        rows = self.router.demos
        if not rows:
            return [0.0] * len(self.members)
        if self._index is None or self._index[0] is not rows:
            self._index = (rows, Likeness([str(row["inputs"]) for row in rows]))
        weights = self._index[1].to(inputs_as_text(args, kwargs))
        return [
            _estimate([row["scores"][place] for row in rows], weights, rows[0]["shrinkage"])
            for place in range(len(self.members))
        ]

    def _best_for_want_of(self, error: AdapterParseError) -> int:
        """The member that is best over all, the first, where a model's reply could not be read.

        That is said once for each program. Errors of a server are others, and reach the caller.
        """
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"A reply of the model that chooses (chooser={self.chooser!r}) could not be read, "
                "and the member that is best over all answers such inputs. This is said once. The "
                f"reply: {error.lm_response!r:.200}",
                RuntimeWarning,
                stacklevel=3,
            )
        return 0

    def _named(self, answer: Any) -> int:
        """The member that a chooser named.

        Raises:
            ChooserError: it named none.
        """
        number = answer
        if isinstance(answer, str) and (match := _NUMBER.search(answer)):
            number = int(match[0])
        is_whole = isinstance(number, int) and not isinstance(number, bool)
        if is_whole and 0 <= number < len(self.members):
            return int(number)
        name = getattr(self.chooser, "__qualname__", None) or repr(self.chooser)
        raise ChooserError(
            f"The chooser {name} returned {answer!r:.200}, which is no member: they are numbered "
            f"from 0 to {len(self.members) - 1}."
        )

    def load_state(self, state: Mapping[str, Any], **settings: Any) -> Any:
        """Take texts and routing table from a saved state, with as many members as it has."""
        before = self.members
        named = {re.match(r"members\[(\d+)\]", name) for name in state}
        count = 1 + max((int(each[1]) for each in named if each), default=len(before) - 1)
        more = [copy.deepcopy(before[0]) for _ in range(count - len(before))]
        self.members = [*before, *more][:count]
        try:
            return super().load_state(state, **settings)
        except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError):
            self.members = before
            raise

    def save(
        self,
        path: Any,
        save_program: bool = False,  # noqa: FBT001, FBT002 - as DSPy has it
        modules_to_serialize: Sequence[Any] | None = None,
    ) -> None:
        """Save as DSPy does; a whole program can be loaded where this package is not installed."""
        modules = list(modules_to_serialize or ())
        own = sys.modules.get(type(self).__module__)
        if save_program and own is not None and own not in modules:
            modules.append(own)
        super().save(path, save_program=save_program, modules_to_serialize=modules or None)


class Likeness:
    """How much alike texts are to known ones: the cosine of their words, rare ones counting more.

    Args:
        texts: The known texts.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counted = [Counter(_words(text)) for text in texts]
        texts_with = Counter(word for each in counted for word in each)
        self._rarity = {
            word: math.log((1 + len(texts)) / (1 + count)) for word, count in texts_with.items()
        }
        self._known = [self._vector(each) for each in counted]

    def to(self, text: str) -> list[float]:
        """From 0 to 1 for each known text, in order."""
        vector = self._vector(Counter(_words(text)))
        return [
            min(1.0, sum(weight * known.get(word, 0.0) for word, weight in vector.items()))
            for known in self._known
        ]

    def _vector(self, counted: Mapping[str, int]) -> dict[str, float]:
        weights = {
            word: (1 + math.log(count)) * self._rarity[word]
            for word, count in counted.items()
            if self._rarity.get(word, 0.0) > 0
        }
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()}


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


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _estimate(scores: Sequence[float | None], weights: Sequence[float], shrinkage: float) -> float:
    """A member's mean, moved towards its scores where there is likeness."""
    known = [(s, w) for s, w in zip(scores, weights, strict=True) if s is not None]
    if not known:
        return -math.inf
    mean = sum(score for score, _ in known) / len(known)
    moved = sum(weight * (score - mean) for score, weight in known)
    return mean + moved / (sum(weight for _, weight in known) + shrinkage)


def _fields(answer: Any) -> str:
    fields = dict(answer.items()) if hasattr(answer, "items") else {"answer": answer}
    shown = {name: value for name, value in fields.items() if name != "reasoning"} or fields
    return "; ".join(f"{name}: {' '.join(_text(value).split())}" for name, value in shown.items())


def _majority(answers: Sequence[Any]) -> int:
    """The first answer of those that most members give, of equals the better member's."""
    votes = [_fields(answer).lower() for answer in answers]
    counts = Counter(votes)
    return max(range(len(votes)), key=lambda place: (counts[votes[place]], -place))


def _listed(answers: Sequence[Any]) -> str:
    return "\n".join(f"{place}: {_fields(answer)}" for place, answer in enumerate(answers))

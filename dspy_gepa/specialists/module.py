"""`Specialists`: a DSPy module that asks, for each input, the member that does best on its like.

It imports choosers.py and no more of this package, so that a whole program that was saved with both
is loaded where this package is not installed.
"""

from __future__ import annotations

import copy
import math
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspy_gepa.specialists.choosers import (
    CHOOSERS,
    Chooser,
    ChooserError,
    chooser_of,
    inputs_as_text,
)

__all__ = ["Likeness", "Specialists"]

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")


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
        entry = chooser_of(chooser)
        self.chooser = chooser
        self.members = list(members) or [student.deepcopy()]
        # Whoever chooses, it holds the table: as demonstrations, because DSPy saves and loads them.
        self.router = dspy.Predict(CHOOSERS["lm"].signature)
        if entry.predictor and not hasattr(self, entry.predictor):
            setattr(self, entry.predictor, dspy.Predict(entry.signature))
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
        entry, number = chooser_of(self.chooser), 0
        answers = [member(*args, **kwargs) for member in self.members] if entry.runs_all else []
        if entry.choose:
            number = self._named(entry.choose(self, answers, *args, **kwargs))
        else:
            question = entry.question(answers, *args, **kwargs)
            with self._best_if_unnamed():
                reply = getattr(self, entry.predictor)(**question)
                number = self._named(reply[entry.output])
        return answers[number] if answers else self.members[number](*args, **kwargs)

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        """The same, awaited."""
        entry, number = chooser_of(self.chooser), 0
        answers = [await each.acall(*args, **kwargs) for each in self.members if entry.runs_all]
        if entry.choose:
            number = self._named(entry.choose(self, answers, *args, **kwargs))
        else:
            question = entry.question(answers, *args, **kwargs)
            with self._best_if_unnamed():
                reply = await getattr(self, entry.predictor).acall(**question)
                number = self._named(reply[entry.output])
        return answers[number] if answers else await self.members[number].acall(*args, **kwargs)

    def chosen(self, *args: Any, **kwargs: Any) -> int:
        """The number of the member that is asked about these inputs, by scores or a function."""
        entry = chooser_of(self.chooser if callable(self.chooser) else "nearest")
        assert entry.choose is not None
        return self._named(entry.choose(self, [], *args, **kwargs))

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

    def _named(self, answer: Any) -> int:
        """The member that a chooser named.

        Raises:
            ChooserError: it named none.
        """
        match = _NUMBER.search(answer) if isinstance(answer, str) else None
        number = int(match[0]) if match else answer
        is_whole = isinstance(number, int) and not isinstance(number, bool)
        if is_whole and 0 <= number < len(self.members):
            return int(number)
        name = getattr(self.chooser, "__qualname__", None) or repr(self.chooser)
        raise ChooserError(
            f"The chooser {name} returned {answer!r:.200}, which is no member: they are numbered "
            f"from 0 to {len(self.members) - 1}."
        )

    @contextmanager
    def _best_if_unnamed(self) -> Iterator[None]:
        """Goes on with the member that is best over all if a model's reply names none.

        That is said once for each program. Errors of a server are others, and reach the caller.
        """
        try:
            yield
        except (AdapterParseError, ChooserError) as error:
            if not self._has_warned:
                self._has_warned = True
                warnings.warn(
                    f"A reply of the model that chooses (chooser={self.chooser!r}) names no member "
                    "or could not be read, and the member that is best over all answers such "
                    f"inputs. This is said once. {getattr(error, 'lm_response', error)!s:.200}",
                    RuntimeWarning,
                    stacklevel=4,
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
        if save_program:
            own = (sys.modules.get(each.__module__) for each in (type(self), Chooser))
            modules += [each for each in own if each is not None and each not in modules]
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

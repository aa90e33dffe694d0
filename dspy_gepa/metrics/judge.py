"""A language model that judges by criteria in words, once or several times for each output."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from statistics import fmean
from typing import Any, NamedTuple

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.judging.feedback import Feedback

__all__ = ["Judge"]


class _Judging(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Judge the output by the criteria alone.

    First give the reason: what is right, what is wrong, and what a better output would have.
    Then give the score.
    """

    criteria: str = dspy.InputField()
    inputs: dict[str, Any] = dspy.InputField(desc="what was asked")
    expected: dict[str, Any] = dspy.InputField(desc="what a right output holds; may be empty")
    output: dict[str, Any] = dspy.InputField(desc="what is to be judged")
    highest_score: int = dspy.InputField(desc="the score of an output that meets all criteria")
    reason: str = dspy.OutputField()
    score: float = dspy.OutputField(desc="a number from 0 to the highest score")


class _Verdict(NamedTuple):
    score: float
    """From 0 to 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class Judge:
    """The mean of a language model's scores, from 0 to 1, with all its reasons.

    Raises:
        SettingsError: there are no criteria, or `repeats` or `highest_score` is less than 1.
        WrongType: the model is no dspy.BaseLM.
    """

    criteria: str
    """What a good output is, in words."""
    _: KW_ONLY
    repeats: int = 1
    """How often the model is asked about the same output, each time anew."""
    lm: dspy.BaseLM | None = None
    """The model that judges; by default the one that DSPy has configured."""
    highest_score: int = 10
    """The top of the scale that the model is told; scores are divided by it."""

    def __post_init__(self) -> None:
        if not isinstance(self.criteria, str) or not self.criteria.strip():
            raise SettingsError(
                f"The criteria are {self.criteria!r:.80}. Say in words what a good output is: "
                'Judge("The answer is polite and names a price.").'
            )
        for name, number in (("repeats", self.repeats), ("highest_score", self.highest_score)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise SettingsError(f"{name} is {number!r:.80}; it must be a whole number from 1.")
        if self.lm is not None and not isinstance(self.lm, dspy.BaseLM):
            raise WrongType(f'The lm is {self.lm!r:.80}. Pass a dspy.LM: dspy.LM("openai/gpt-5").')

    def __call__(
        self,
        gold: dspy.Example,
        pred: object,
        trace: object = None,  # noqa: ARG002 - other optimizers pass one
        *_: object,  # dspy.GEPA passes two more
    ) -> Feedback:
        """The mean score, every reason, and how far the judgements lie apart.

        A judgement that cannot be read is left out. What the model raises is passed on.

        Raises:
            SettingsError: DSPy has no model configured, and none was given.
            AdapterParseError: no judgement could be read.
        """
        asked = _asked(gold, pred)
        tries = [self._verdict(asked) for _ in range(self.repeats)]
        verdicts = [each for each in tries if isinstance(each, _Verdict)]
        if not verdicts:
            raise next(each for each in tries if isinstance(each, AdapterParseError))
        scores = [verdict.score for verdict in verdicts]
        lines = [f"Judged {verdict.score:.2f}: {verdict.reason}" for verdict in verdicts]
        if max(scores) > min(scores):
            lines.append(f"The judgements differ, from {min(scores):.2f} to {max(scores):.2f}.")
        if left_out := self.repeats - len(verdicts):
            lines.append(f"{left_out} of {self.repeats} judgements could not be read.")
        return Feedback(fmean(scores), "\n".join(lines))

    def _verdict(self, asked: dict[str, Any]) -> _Verdict | AdapterParseError:
        """What the model says when it is asked once, or why that cannot be read."""
        lm = self.lm if self.lm is not None else dspy.settings.lm
        if lm is None:
            raise SettingsError(
                "There is no model to judge with. Pass Judge(..., lm=dspy.LM(...)), or configure "
                "one for DSPy: dspy.configure(lm=dspy.LM(...))."
            )
        # A cached reply would be the same judgement again; and the judge's calls are none of the
        # program's, whose trace may be open around it.
        fields = {"criteria": self.criteria, "highest_score": self.highest_score, **asked}
        with dspy.context(lm=lm, trace=[]):
            try:
                answer = dspy.Predict(_Judging)(**fields, config={"cache": False})
            except AdapterParseError as error:
                return error
        score = float(answer.score)
        if not math.isfinite(score):
            # DSPy takes "NaN" for a float, and it would be the end of the scale below.
            return AdapterParseError(
                adapter_name=type(self).__name__,
                signature=_Judging,
                lm_response=f"reason: {answer.reason}\nscore: {score}",
                message=f"The score is {score}; a finite number is needed.",
            )
        # Models overshoot a scale now and then, in which case they mean its end.
        share = min(1.0, max(0.0, score / self.highest_score))
        return _Verdict(share, str(answer.reason).strip())


def _asked(gold: dspy.Example, pred: object) -> dict[str, Any]:
    try:
        inputs, expected = dict(gold.inputs().items()), dict(gold.labels().items())
    except ValueError:
        inputs, expected = dict(gold.items()), {}  # nobody said which of its fields are inputs
    output = dict(pred.items()) if isinstance(pred, dspy.Example) else {"output": pred}
    return {"inputs": inputs, "expected": expected, "output": output}

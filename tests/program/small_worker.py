"""A small program, its examples and metric, and a worker that carries out requests with them."""

from __future__ import annotations

import dspy
from scripted_engine import AuthError, answer, scripted_lm

from dspy_gepa.core.work import RolloutRequest
from dspy_gepa.program.program import components_of
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.program.worker import ProgramWorker, WorkerSettings

__all__ = [
    "EXAMPLES",
    "SEED",
    "Counted",
    "Program",
    "Tolerant",
    "echo",
    "exact",
    "locked",
    "rolled",
    "unasked",
    "worker",
]

EXAMPLES = [
    dspy.Example(question=question, answer=given).with_inputs("question")
    for question, given in (("a", "a!"), ("b", "b!"), ("c", "z!"))
]


def echo(prompt):
    asked = prompt.rpartition("[[ ## question ## ]]\n")[2].splitlines()[0]
    return answer(answer=f"{asked}!")


class Program(dspy.Module):
    """Asks twice."""

    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("question -> answer")
        self.final = dspy.Predict("question, draft -> answer")

    def forward(self, question):
        draft = self.draft(question=question).answer
        return self.final(question=question, draft=draft)


def exact(gold, pred, trace=None):
    return float(gold.answer == pred.answer)


def unasked(request, descriptions, feedback):
    raise AssertionError("nothing is to be reflected on")


class Counted:
    """A metric that counts its calls, as an outsider would."""

    def __init__(self, metric):
        self.calls = 0
        self._metric = metric

    def __call__(self, gold, pred, trace=None):
        self.calls += 1
        return self._metric(gold, pred)


def worker(student=None, metric=exact, reflect=unasked, **settings):
    return ProgramWorker(
        student or Program(), Metric(metric), EXAMPLES, reflect, WorkerSettings(**settings)
    )


def rolled(made, example=0, *, lm=None, candidate=None, traced=False):
    """The worker's answer to a rollout request."""
    candidate = candidate or components_of(made._student)
    with dspy.context(lm=lm or scripted_lm(echo)):
        return made(RolloutRequest(candidate, example, traced))


SEED = components_of(Program())


def locked(prompt):
    raise AuthError("wrong key")


class Tolerant(Program):
    """Answers something whatever happens."""

    def forward(self, question):
        try:
            return super().forward(question)
        except Exception:  # noqa: BLE001 - that is its vice
            return dspy.Prediction(answer="sorry")

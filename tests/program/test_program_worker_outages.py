"""Outages are never a score, but setbacks: those that may pass are told from those that last."""

from __future__ import annotations

import dspy
import pytest
from model_server import ModelServer, dead_port, model_server
from scripted_engine import scripted_lm
from small_worker import SEED, Counted, Program, Tolerant, echo, exact, locked, rolled, worker

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.work import RequestFailure, RolloutRequest


@pytest.mark.parametrize(
    ("status", "is_lasting", "name"),
    [
        (401, True, "LMAuthError"),
        (404, True, "LMUnsupportedModelError"),
        (429, False, "LMRateLimitError"),
        (503, False, "LMServerError"),
    ],
)
def test_an_outage_is_a_setback_and_never_a_score(status, is_lasting, name):
    """A wrong key and an unknown model last; a server that is busy or away may come back."""
    counted = Counted(exact)
    with model_server(status, text="") as server:
        answered = rolled(worker(metric=counted), lm=server.lm())
    assert isinstance(answered, RequestFailure)
    assert answered.is_lasting == is_lasting
    assert answered.metric_calls == 0
    assert type(answered.error).__name__ == name
    assert answered.cause.startswith(f"{name}: ")
    assert counted.calls == 0


def test_a_server_that_does_not_exist_is_a_setback():
    """Nothing listens there, at any attempt."""
    with dead_port() as port:
        answered = rolled(worker(), lm=ModelServer([], "", port=port).lm())
    assert isinstance(answered, RequestFailure)
    assert type(answered.error).__name__ == "LMTransportError"


def test_no_model_is_a_setback():
    """DSPy raises a ValueError, which is not the candidate's."""
    with dspy.context(lm=None):
        answered = worker()(RolloutRequest(SEED, 0, traced=False))
    assert isinstance(answered, RequestFailure)
    assert "No LM is loaded" in answered.cause


def test_a_swallowed_outage_is_a_setback():
    """A program that answers "sorry" to a wrong key would score, and teach nothing but harm."""
    answered = rolled(worker(Tolerant()), lm=scripted_lm(locked))
    assert isinstance(answered, RequestFailure)
    assert "wrong key" in answered.cause


def test_an_outage_swallowed_by_best_of_n_is_a_setback():
    """It prints what failed and gives None, for which a metric would have to give some score."""

    class Best(dspy.Module):
        def __init__(self):
            super().__init__()
            self.best = dspy.BestOfN(Program(), N=2, reward_fn=lambda *_: 1.0, threshold=1.0)

        def forward(self, question):
            return self.best(question=question)

    metric = Counted(lambda gold, pred: 0.0)
    assert isinstance(rolled(worker(Best(), metric), lm=scripted_lm(locked)), RequestFailure)
    assert metric.calls == 0


def test_an_outage_swallowed_in_dspys_threads_is_a_setback():
    """dspy.Parallel gives None for what failed, on which the program then crashes."""

    class InParallel(Program):
        def forward(self, question):
            parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
            pairs = [(self.draft, {"question": each}) for each in (question, "fine")]
            return dspy.Prediction(answer="".join(each.answer for each in parallel(pairs)))

    lm = scripted_lm(lambda prompt: echo(prompt) if "fine" in prompt else locked(prompt))
    assert isinstance(rolled(worker(InParallel()), lm=lm), RequestFailure)


def test_an_outage_that_was_worked_around_is_none():
    """A program that turns to another model has answered."""
    spare = scripted_lm(echo)

    class Careful(Program):
        def forward(self, question):
            try:
                return self.draft(question=question)
            except dspy.LMError:
                return self.final(question=question, draft="", lm=spare)

    rollout = rolled(worker(Careful()), lm=scripted_lm(locked), traced=True).rollout
    assert rollout.score == 1.0
    assert [each.component for each in rollout.trace.steps] == ["final"]


@pytest.mark.parametrize("swallows", [False, True])
def test_an_outage_of_the_metrics_own_model_is_a_setback(swallows):
    """A judge without a key says nothing about a candidate, whether or not the metric notices."""
    judge = scripted_lm(locked)

    def judged(gold, pred):
        try:
            return float(judge(pred.answer)[0])
        except dspy.LMError:
            if swallows:
                return 0.0
            raise

    counted = Counted(judged)
    answered = rolled(worker(metric=counted))
    assert isinstance(answered, RequestFailure)
    assert counted.calls == answered.metric_calls == 1


def test_what_a_setback_cost_is_what_was_done():
    """The program ran and its metric was called, whatever came of it; a run that is done again is
    a second run, as the program itself would say."""
    runs, judge = [], scripted_lm(locked)

    class Noting(Program):
        def forward(self, question):
            runs.append(question)
            return super().forward(question)

    answered = rolled(worker(Noting(), lambda gold, pred: judge(pred.answer)))
    assert isinstance(answered, RequestFailure)
    done = Tally(rollouts=len(runs), metric_calls=1, total_tokens=4)
    assert (len(runs), answered.lost) == (1, done)

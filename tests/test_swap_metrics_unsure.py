"""Metrics that take whatever they are given, each through a whole `GEPA(...).compile`.

Nothing says whether they can be asked about a predictor, so that is tried once.
"""

import dspy
import pytest
from swap_task import LEARNED, compiled, gepa, instructions

from dspy_gepa.errors import MetricError


def verdict(gold, pred, trace=None, pred_name=None, pred_trace=None):
    score = float(gold.answer == pred.answer)
    asked = "" if pred_name is None else f" That was {pred_name}, called {len(pred_trace)} times."
    return dspy.Prediction(score=score, feedback=f"The answer is {gold.answer}.{asked}")


def short(gold, pred):
    return float(gold.answer == pred.answer), f"The answer is {gold.answer}."


class Counted:
    """Forwards everything, and counts its calls, as an outsider would."""

    def __init__(self, metric, interrupt_at=None):
        self.calls = 0
        self._metric = metric
        self._interrupt_at = interrupt_at

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self._interrupt_at:
            raise KeyboardInterrupt
        return self._metric(*args, **kwargs)


def star(*args, **kwargs):
    return verdict(*args, **kwargs)


def rest(gold, pred, *more):
    return verdict(gold, pred, *more)


def named(gold, pred, **more):
    return verdict(gold, pred, **more)


@pytest.mark.parametrize("metric", [star, rest, named], ids=lambda metric: metric.__name__)
def test_one_that_can_be_asked_about_a_predictor_is_asked(metric):
    """The reflection is shown what it says about the component, as of dspy.GEPA's own shape."""
    optimizer = gepa(metric)
    assert instructions(compiled(optimizer)) == {"self": LEARNED}
    (prompt, *_) = optimizer.reflection_lm.engine.prompts
    assert "That was self, called 1 times." in prompt


@pytest.mark.parametrize("limit", [*range(2, 12), 24, 60])
@pytest.mark.parametrize("behind", [verdict, short], ids=lambda metric: metric.__name__)
def test_every_call_counts_and_the_limit_holds(behind, limit):
    """The vain first attempt, too, with one thread or with eight."""
    metric = Counted(behind)
    threads = (1, 8)[(limit + (behind is short)) % 2]
    optimizer = gepa(metric, max_metric_calls=limit, num_threads=threads)
    compiled(optimizer)
    assert metric.calls == optimizer.result.tally.metric_calls <= limit


@pytest.mark.parametrize("behind", [verdict, short], ids=lambda metric: metric.__name__)
def test_a_resumed_run_does_not_try_again(behind, tmp_path):
    """What the first rollout showed holds in the next process, so both runs are the same."""
    whole = Counted(behind)
    reference = gepa(whole, log_dir=str(tmp_path / "whole"), num_threads=1)
    compiled(reference)
    for moment in (1, *range(4, whole.calls, 9)):
        first, second = Counted(behind, moment), Counted(behind)
        folder = str(tmp_path / str(moment))
        compiled(gepa(first, log_dir=folder, num_threads=1))
        resumed = gepa(second, log_dir=folder, num_threads=1)
        compiled(resumed)
        assert resumed.result.proposals == reference.result.proposals
        assert first.calls + second.calls == whole.calls + 1


def test_one_that_scores_nothing_is_refused_after_a_call():
    """What it returns is no reason to try it in another way."""
    metric = Counted(lambda *args: None)
    with pytest.raises(MetricError):
        compiled(gepa(metric))
    assert metric.calls == 1

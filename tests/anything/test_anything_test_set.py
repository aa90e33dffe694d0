"""The test set of optimize_anything: what passes is waited for, and nothing that was paid is lost.

Also what a result knows of itself, and which objectives need a price.
"""

import logging
import signal

import pytest
from artifact_worlds import Counted, climber, value_of
from dspy.utils import exceptions as dspy_errors

from dspy_gepa import optimize_anything

DATA = {"dataset": [8], "valset": [8, 9], "testset": [7, 11, 12]}


def distance(artifact, target):
    """The nearer the better."""
    return -abs(value_of(artifact) - target)


class Faltering:
    """An evaluator that fails on an example of the test set so many times."""

    def __init__(self, error, times, example=11, text=""):
        self.error, self.times = error, times
        self.example, self.text = example, text

    def __call__(self, artifact, target):
        if target == self.example and self.times and self.text in artifact:
            self.times -= 1
            raise self.error
        return distance(artifact, target)


def run(evaluate, **given):
    """A search that finds something better, and its test set."""
    given = {"max_evals": 20, "reflection_lm": climber(), **DATA, **given}
    return optimize_anything("value: 0", evaluate, **given)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Between attempts."""
    monkeypatch.setattr("dspy_gepa.run.pace.PAUSES_SECONDS", (0.0,))


@pytest.mark.parametrize(
    "error",
    [
        dspy_errors.LMRateLimitError("busy"),
        dspy_errors.LMTimeoutError("slow"),
        dspy_errors.LMServerError("down"),
        dspy_errors.LMTransportError("cut off"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_an_outage_that_passes_is_waited_for(error, times, num_threads):
    """As in the search: the scores are those of a run without it."""
    expected = run(distance).test
    assert run(Faltering(error, times), num_threads=num_threads).test == expected


@pytest.mark.parametrize(
    "error",
    [dspy_errors.LMAuthError("no key"), dspy_errors.LMRateLimitError("busy for good")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("text", ["value: 0", ""])
def test_an_outage_that_lasts_leaves_the_result(error, text):
    """What was found is returned, with why it was not checked."""
    result = run(Faltering(error, 99, text=text))
    assert result.optimized_artifact != "value: 0"
    assert result.test.kind == "not checked"
    assert str(error) in result.test.reason


def test_the_keyboard_ends_the_test_set_and_leaves_the_result():
    """And so does one that was pressed in the search."""
    for example in (11, 9):
        pressed = []

        def evaluate(artifact, target, example=example, pressed=pressed):
            if target == example and not pressed:
                pressed.append(target)
                signal.raise_signal(signal.SIGINT)
            return distance(artifact, target)

        result = run(evaluate)
        assert result.test.kind == "not checked"
        assert "interrupted" in result.test.reason


def test_a_failing_artifact_is_a_result_of_the_test_set():
    """Code that raises on every example of it is compared as what it is."""
    result = run(Faltering(ValueError("no"), 99, example=11), failure_score=-50.0)
    assert result.test.seed_failures == result.test.best_failures == 1


def test_what_was_evaluated_before_an_outage_is_not_paid_again(tmp_path):
    """The second call makes what is missing."""
    error = dspy_errors.LMAuthError("no key")
    first = run(Faltering(error, 99), log_dir=str(tmp_path))
    assert first.test.kind == "not checked"
    evaluate = Counted(distance)
    evaluate.__name__ = "Faltering"
    again = run(evaluate, log_dir=str(tmp_path))
    assert again.test.kind != "not checked"
    assert len(evaluate.calls) == again.test.evaluations == 6 - first.test.evaluations


@pytest.mark.parametrize("given", [{}, {"testset": None}], ids=["tested", "not tested"])
def test_a_result_knows_that_it_is_final(given):
    """Its run prints as one that is over, with the verdict if there is one."""
    result = run(distance, **given)
    assert result.run.is_final
    assert result.run.outcome.is_final
    assert (result.test is None) == bool(given)
    assert result.test is None or result.run.verdict == result.test
    assert result.tally.metric_calls <= 20


@pytest.mark.parametrize("name", ["usd", "total_tokens", "seconds"])
def test_objectives_of_any_name_are_what_the_evaluator_scores(name, caplog):
    """Nothing is measured here, so that no model needs a price for them."""

    def evaluate(artifact, target):
        return {"score": distance(artifact, target), "objective_scores": {name: 2.5}}

    with caplog.at_level(logging.WARNING):
        result = run(evaluate, objectives={name: "min"}, frontier_type="hybrid")
    assert {rollout.objectives[name] for rollout in result.run.state.known.values()} == {2.5}

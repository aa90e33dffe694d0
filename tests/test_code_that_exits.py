"""Code of the user's own that exits or is cancelled: it has failed, and the run goes on."""

import asyncio
import sys

import dspy
import label_task
import pytest

from dspy_gepa import GEPA
from dspy_gepa.errors import ReflectionError, WorkerError


def cancelled(*_):
    """As code does that was called off."""
    raise asyncio.CancelledError


LEAVING = {"sys.exit": lambda *_: sys.exit(2), "cancelled": cancelled}


def compiled(metric=lambda gold, pred: float(gold.code == pred.code), **settings):
    """What a run comes to."""
    given = {"max_metric_calls": 60, "auto": None, "reflection_lm": label_task.reflection_lm()}
    optimizer = GEPA(metric, **(given | settings))
    with dspy.context(lm=label_task.task_lm()):
        program = dspy.Predict("message -> code")
        optimizer.compile(program, trainset=label_task.examples(8), valset=label_task.examples(6))
    return optimizer.result


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING)
@pytest.mark.parametrize("timeout", [{}, {"timeout_seconds": 600}])
@pytest.mark.parametrize("num_threads", [1, 4])
class TestItHasFailed:
    """In the caller's thread and in others."""

    def test_a_metric(self, leave, timeout, num_threads):
        """One that always does ends the run with an error that says so."""
        with pytest.raises(WorkerError, match="it ended by"):
            compiled(leave, num_threads=num_threads, **timeout)

    def test_a_metric_that_does_so_once(self, leave, timeout, num_threads):
        """It is one example's failure."""
        first = label_task.examples(6)[0].message

        def metric(gold, pred):
            return leave() if gold.message == first else float(gold.code == pred.code)

        result = compiled(metric, num_threads=num_threads, **timeout)
        assert result.tally.reflection_calls

    def test_a_proposer(self, leave, timeout, num_threads):
        """Its proposals fail."""
        with pytest.raises(ReflectionError, match="it ended by"):
            compiled(
                instruction_proposer=lambda candidate, reflective_dataset, components_to_update: (
                    leave()
                ),
                num_threads=num_threads,
                **timeout,
            )

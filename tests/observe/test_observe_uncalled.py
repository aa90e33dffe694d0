"""Components that are never called are named, through whole runs."""

import logging

import dspy
import pytest
from swap_task import examples, gepa, task_lm


class Branching(dspy.Module):
    """Calls one predictor for every question, one for some, and one for none."""

    def __init__(self, word):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.rarely = dspy.Predict("question -> answer")
        self.never = dspy.Predict("question -> answer")
        self.word = word

    def forward(self, question):
        if self.word in question:
            self.rarely(question=question)
        return self.answer(question=question)


def told(caplog, program, **settings):
    optimizer = gepa(lambda gold, pred: float(gold.answer == pred.answer), **settings)
    with caplog.at_level(logging.WARNING), dspy.context(lm=task_lm()):
        optimizer.compile(program, examples(8), examples(12)[8:])
    return [each.getMessage() for each in caplog.records if "led to a call" in each.getMessage()]


def test_what_was_never_called_is_named_once(caplog):
    """One that some examples led to is not."""
    (said,) = told(caplog, Branching("case"))
    assert "a call of never," in said


def test_where_no_example_leads_to_several(caplog):
    """All of them, in one line."""
    (said,) = told(caplog, Branching("nothing"))
    assert "a call of rarely, never," in said


@pytest.mark.parametrize("program", [dspy.Predict("question -> answer"),
                                     dspy.ChainOfThought("question -> answer")])  # fmt: skip
def test_nothing_is_said_where_all_are_called(caplog, program):
    """As in most programs."""
    assert told(caplog, program) == []


def test_what_is_frozen_is_not_missed(caplog):
    """Nobody waits for it."""
    assert told(caplog, Branching("case"), frozen=["never"]) == []


def test_a_run_without_traces_says_nothing(caplog):
    """Nothing was seen, so nothing is known."""
    assert told(caplog, Branching("case"), max_metric_calls=1) == []

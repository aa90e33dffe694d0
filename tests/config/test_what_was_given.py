"""An error or a warning about a set names what was given."""

import logging

import dspy
import label_task
import pytest
from label_task import TRAIN

from dspy_gepa import GEPA
from dspy_gepa.errors import SettingsError


def compiled(trainset=TRAIN, valset=None):
    optimizer = GEPA(
        label_task.metric,
        reflection_lm=label_task.reflection_lm(),
        max_metric_calls=8,
        num_threads=1,
    )
    with dspy.context(lm=label_task.task_lm()):
        return optimizer.compile(dspy.Predict("message -> code"), trainset=trainset, valset=valset)


@pytest.mark.parametrize(("trainset", "words"), [(None, "None was given"), ([], r"\[\] was given")])
def test_a_training_set_that_is_missing_is_told_as_it_was_given(trainset, words):
    """None is no empty list."""
    with pytest.raises(SettingsError, match=words):
        compiled(trainset)


@pytest.mark.parametrize(
    ("valset", "words"), [(None, "No valset provided; "), ([], "The valset is empty; ")]
)
def test_an_empty_validation_set_is_not_called_missing(valset, words, caplog):
    """Both times the training set serves for it."""
    with caplog.at_level(logging.WARNING):
        compiled(TRAIN[:2], valset)
    assert f"{words}Using trainset as valset" in caplog.text

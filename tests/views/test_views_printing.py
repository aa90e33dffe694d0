"""What is printed of results, plans and stories: short, and none of the user's data."""

import json

import dspy
import label_task
import pytest
from made_story import story_of_texts

from dspy_gepa import GEPA, optimize_anything

SECRETIVE = "what a customer wrote"


def shortest(text):
    return -float(len(text))


@pytest.fixture(scope="module")
def anything():
    return optimize_anything(
        f"Please. {SECRETIVE}",
        shortest,
        reflection_lm=lambda prompt: "<new_text>\nAdd.\n</new_text>",
        max_evals=3,
        num_threads=1,
    )


def test_a_story_and_its_parts_print_in_a_line():
    """Lists of them as well can be the last expression of a cell."""
    story = story_of_texts(SECRETIVE)
    for each in (story, *story.members, *story.proposals):
        assert len(repr(each)) < 100
    for each in (story, *story.members):
        assert SECRETIVE not in repr(each)


def test_a_plan_is_a_table_and_plain_values():
    """Nothing in it is markup, and JSON can have all of it."""
    optimizer = GEPA(label_task.metric, max_metric_calls=60, reflection_lm=label_task.saying("x"))
    with dspy.context(lm=label_task.task_lm()):
        examples = label_task.examples(8)
        plan = optimizer.plan(dspy.Predict("message -> code"), examples, heldout=0.25)
    told = json.loads(json.dumps(plan.to_dict()))
    assert told["at_most"] == 60
    assert told["limits"]["metric_calls"] + told["heldout"] == 60
    assert told["proposals"] == list(plan.forecast.proposals)
    assert len(repr(plan).splitlines()) <= 12
    assert plan._repr_html_() == f"<pre>{plan}</pre>"


def test_a_result_of_a_text_has_the_views_of_every_result(anything):
    """It prints in a line, and tells, compares and explains as a program's does."""
    assert SECRETIVE not in repr(anything)
    assert len(repr(anything).splitlines()) == 1
    assert json.loads(json.dumps(anything.to_dict()))["schema"] == "dspy_gepa.run/2"
    assert "+ Add." in anything.diff()
    assert "member 1" in anything.explain()
    assert "<script" not in anything._repr_html_()
    assert "Add." in anything._repr_html_()

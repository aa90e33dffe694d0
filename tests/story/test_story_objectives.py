"""What became of objectives from the seed to what is returned: told wherever both are compared."""

import dspy
import label_task
import pytest

from dspy_gepa import GEPA
from dspy_gepa.story.parts import AnswerStory
from dspy_gepa.story.story import MemberStory
from dspy_gepa.story.verdict import compared_members, objectives_in_words
from dspy_gepa.views.page.page import page_of
from dspy_gepa.views.terminal import run_lines
from dspy_gepa.views.text import summary_of


def member(number, *answers):
    """A member with these objectives on examples 0, 1, ...; None where it was not run."""
    return MemberStory(
        number=number,
        parents=(),
        proposal=number,
        texts={},
        seen=len(answers),
        right=None,
        mean=None,
        estimate=None,
        low=None,
        high=None,
        aggregate=None,
        tops=(),
        is_frontier=True,
        answers={
            example: AnswerStory(score=1.0, objectives=objectives)
            for example, objectives in enumerate(answers)
            if objectives is not None
        },
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([{"tokens": 10}, {"tokens": 30}], [{"tokens": 50}, {"tokens": 70}], "20 to 60, worse"),
        ([{"tokens": 50}], [{"tokens": 20}], "50 to 20, better"),
        ([{"tokens": 5}], [{"tokens": 5}], "5 to 5, the same"),
        # Only what both ran on counts.
        ([{"tokens": 10}, {"tokens": 90}], [{"tokens": 20}, None], "10 to 20, worse"),
        # Where one of the two has no value, that example says nothing.
        ([{"tokens": 10}, {}], [{"tokens": 4}, {"tokens": 900}], "10 to 4, better"),
    ],
)
def test_an_objective_is_compared_on_what_both_ran_on(before, after, said):
    """Its mean before and after, and which way that is, of what less is better of."""
    found = compared_members(member(0, *before), member(1, *after), ("tokens",))
    assert said in objectives_in_words(found)


def test_more_is_better_of_what_nobody_said_to_minimize():
    found = compared_members(member(0, {"brief": 0.5}), member(1, {"brief": 0.25}))
    assert "brief 0.5 to 0.25, worse" in objectives_in_words(found)


def test_nothing_is_said_where_no_example_has_an_objective_of_both():
    assert objectives_in_words(compared_members(member(0, {}), member(1, {"tokens": 3}))) == ""


def test_every_view_says_what_became_of_objectives():
    """The page, the block, the terminal and the comparison of two members."""
    optimizer = GEPA(
        label_task.metric,
        objectives=["total_tokens"],
        max_metric_calls=60,
        num_threads=1,
        reflection_lm=label_task.reflection_lm(),
    )
    with dspy.context(lm=label_task.task_lm()):
        optimizer.compile(
            dspy.Predict("message -> code"), label_task.examples(12), label_task.examples(8)
        )
    result, story = optimizer.result, optimizer.result.story
    assert story.returned
    said = objectives_in_words(story.comparison)
    assert "total_tokens 2 to 2, the same" in said
    for view in (page_of(story), result.explain(), result.diff()):
        assert said in view
    assert "total_tokens 2 to 2, the same" in summary_of(story)
    assert said in "\n".join(run_lines(story))

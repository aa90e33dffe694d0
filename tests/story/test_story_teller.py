"""The story: what a run tells of itself is what it did, whenever and however it is asked."""

import pytest

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.story.building import story_of
from dspy_gepa.story.facts import Facts, Outcome
from dspy_gepa.story.parts import Check
from dspy_gepa.story.teller import Teller
from dspy_gepa.testing.worlds import RuleWorld


def searched(calls=150, **asked):
    """The state at the end of a search in a world, and a teller that was told of it."""
    world = RuleWorld(pass_or_fail=True, rules=6)
    settings = Settings(
        train=tuple(range(10)),
        validation=tuple(range(10, 18)),
        limits=Limits(metric_calls=calls),
        **asked,
    )
    begun = start(settings, world.student)
    teller = Teller(begun)
    finish = run_loop(begun, SerialExecutor(world), [teller.told])
    return finish.state, teller


@pytest.fixture(scope="module")
def done():
    return searched()


def test_what_was_spent_adds_up_to_the_tally(done):
    """Every call belongs to one purpose, and all purposes together are what was counted."""
    state, teller = done
    total = story_of(teller).total
    assert (total.metric_calls, total.rollouts) == (state.tally.metric_calls, state.tally.rollouts)
    assert total.reflection_calls == state.tally.reflection_calls


def test_every_proposal_and_member_is_told(done):
    """Each proposal with its verdict; each member with what was really seen of it."""
    state, teller = done
    story = story_of(teller)
    assert [each.verdict for each in story.proposals] == [s.verdict.kind for s in state.history]
    texts = [dict(member.candidate) for member in state.members]
    assert [dict(each.texts) for each in story.members] == texts
    for member in story.members:
        scores = [answer.score for answer in member.answers.values()]
        assert (member.seen, member.right) == (len(scores), scores.count(1.0))


def test_estimates_stay_on_the_scale(done):
    """No range of an estimate leaves the scores that there can be."""
    for member in story_of(done[1]).members:
        assert 0.0 <= member.low <= member.estimate <= member.high <= 1.0


def test_a_rejected_child_stands_beside_its_parent(done):
    """For every proposal that was compared, the scores of both on each example of the minibatch."""
    story = story_of(done[1])
    gated = [each for each in story.proposals if each.kind == "rewrite" and each.gate]
    assert gated
    for each in gated:
        assert all(pair.before is not None for pair in each.gate)
        assert {pair.example for pair in each.gate} <= {*range(10)}


def test_the_outcome_decides_what_was_returned(done):
    """Where the verdict handed the seed back, the story says so, and compares nothing."""
    _, teller = done
    story = story_of(teller, Facts(outcome=Outcome(returned=0, best=1, is_final=True)))
    assert (story.returned, story.comparison) == (0, None)
    assert story.headline.startswith("No improvement")


@pytest.mark.parametrize(
    ("sentence", "ending"),
    [
        ("", "compile(..., heldout=0.2) does that."),
        ("not checked: the search was interrupted before.", "the search was interrupted before."),
    ],
    ids=["nobody gave any", "interrupted"],
)
def test_the_headline_says_why_nothing_was_checked(done, sentence, ending):
    """Who gave held-out examples is not told to give them."""
    _, teller = done
    check = Check(kind="not checked", sentence=sentence)
    story = story_of(teller, Facts(outcome=Outcome(returned=1, best=1, is_final=True, check=check)))
    assert story.headline.endswith(ending)

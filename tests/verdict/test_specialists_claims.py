"""What routing is said to bring, in the mean over draws, is what it brings."""

import numpy as np
import pytest

from dspy_gepa.specialists.member_sets import cross_fitted, estimates, grown
from dspy_gepa.specialists.routing import routed

FRESH = 300


def drawn(seed, edge, *, count=30, members=6, kinds=3, shows=True):
    """Scores of right and wrong, likeness of the examples, and the truth on fresh ones."""
    chance = np.random.default_rng(seed)
    of = chance.integers(0, kinds, count + FRESH)
    true = np.stack([0.4 + edge * (of == member % kinds) for member in range(members)])
    scores = (chance.random((members, count)) < true[:, :count]).astype(float)
    seen = of if shows else chance.integers(0, kinds, count + FRESH)
    likeness = 0.5 * (seen[:, None] == seen[None, :count])
    return scores, likeness, true


def gains(seed, edge, **how):
    """What is claimed whatever its sign, and what the same router brings on fresh inputs."""
    scores, likeness, true = drawn(seed, edge, **how)
    count = scores.shape[1]
    claimed = cross_fitted(scores, likeness[:count], lambda own, like: grown(own, like, 3)).mean
    choice = grown(scores, likeness[:count], 3)
    members = np.array(choice.members)
    found = estimates(scores[members], likeness[count:], choice.shrinkage)
    fresh = true[:, count:]
    sent = fresh[members[found.argmax(0)], np.arange(FRESH)]
    return claimed, float((sent - fresh[scores.mean(1).argmax()]).mean())


@pytest.mark.parametrize(
    ("edge", "how"),
    [(0.0, {}), (0.4, {}), (0.5, {"shows": False}), (0.5, {"members": 2, "kinds": 2})],
)
def test_claimed_and_true_gain_agree_in_the_mean(edge, how):
    """Also where nothing can be gained: neither luck of the single best nor what is left out
    moves the claim to one side."""
    found = np.array([gains(seed, edge, **how) for seed in range(24)])
    claimed, true = found.mean(0)
    assert abs(claimed - true) <= 0.04, found.mean(0)


@pytest.mark.parametrize("count", [20, 40, 41])
def test_two_halves_are_worth_the_half(count):
    """Two members, each right on every second example: the single best is right on one half, and
    whichever part is left out does not make the gain larger."""
    kinds = np.arange(count) % 2
    scores = np.stack([kinds == 0, kinds == 1]).astype(float)
    likeness = (kinds[:, None] == kinds).astype(float)
    routing, choice = routed(scores, likeness, (4, 7), 2)
    assert routing.evidence
    assert routing.gain == pytest.approx(0.5, abs=0.03)
    assert sorted(choice.members) == [0, 1]


@pytest.mark.parametrize("others", [0, 1, 3])
@pytest.mark.parametrize("count", [8, 10, 12, 16])
def test_of_few_examples_the_range_holds_the_half(count, others):
    """Members that are right on nothing beside the two are no reason to claim more."""
    kinds = np.arange(count) % 2
    scores = np.stack([kinds == 0, kinds == 1, *[kinds < 0] * others]).astype(float)
    likeness = (kinds[:, None] == kinds).astype(float)
    routing, _ = routed(scores, likeness, tuple(range(2 + others)), 2)
    assert routing.low < 0.5 < routing.high


@pytest.mark.parametrize("scores", [np.ones((3, 12)), np.zeros((2, 9)), np.eye(2)])
def test_where_there_is_nothing_to_gain_nothing_is_claimed(scores):
    """Equal members, and examples that are too few to leave any out."""
    count = scores.shape[1]
    routing, _ = routed(scores, np.eye(count), tuple(range(len(scores))), 2)
    assert not routing.evidence
    assert len(routing.members) == 1


def test_the_same_scores_give_the_same_claim():
    """What is left out is drawn, by nothing but the number of examples."""
    scores, likeness, _ = drawn(3, 0.4)
    first, second = (
        cross_fitted(scores, likeness[:30], lambda own, like: grown(own, like, 3)) for _ in range(2)
    )
    assert first == second

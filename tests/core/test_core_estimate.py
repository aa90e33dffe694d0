"""What is believed of a step from parent to child before a run has shown how large steps are."""

import numpy as np
import pytest

from dspy_gepa.core import estimate
from dspy_gepa.core.estimate import estimated

STEP, EASE, NOISE = 0.2, 0.2, 0.6
"""Variances of a step, of what is due to an example, and of the rest: about 1 together."""


def children(seed, count, examples):
    """How much better children are than their parent, and the scores of all."""
    random = np.random.default_rng(seed)
    leads = random.normal(0.0, STEP**0.5, count)
    scores = np.append(0.0, leads)[:, None] + random.normal(0.0, EASE**0.5, examples)
    return leads, scores + random.normal(0.0, NOISE**0.5, scores.shape)


def error(count, examples):
    """The mean squared error of estimated leads, over two hundred such runs."""
    errors = []
    for seed in range(200):
        leads, scores = children(seed, count, examples)
        means = estimated(scores, [(), *[(0,)] * count], span=4.0).means
        errors.append(((means[1:] - means[0] - leads) ** 2).mean())
    return float(np.mean(errors))


@pytest.mark.parametrize(("count", "examples"), [(1, 5), (1, 10), (3, 5)])
def test_a_lead_is_shrunk_as_much_as_steps_that_are_a_fifth_of_the_variance_ask_for(
    monkeypatch, count, examples
):
    """What is believed of them has the least error: a tenth of it believes too little of what a
    child shows, and ten times as much too much. So no changed variance passes."""
    shipped, believed, others = error(count, examples), estimate._STEP, []
    for factor in (0.1, 10.0):
        monkeypatch.setattr(estimate, "_STEP", believed * factor)
        others.append(error(count, examples))
    assert shipped < 0.9 * min(others)


@pytest.mark.parametrize(("noise", "most"), [(0.06, 0.9), (1.0, 0.97)])
def test_before_much_was_seen_as_much_of_a_score_is_taken_for_luck_as_is(monkeypatch, noise, most):
    """With a tenth of it a child's lead on three examples is believed too soon; where all of a
    score is taken for luck, too late."""
    shipped = error(1, 3)
    monkeypatch.setattr(estimate, "_NOISE", noise)
    assert shipped < most * error(1, 3)


def test_a_child_of_which_little_is_known_is_taken_to_be_somewhat_like_its_siblings():
    """Where eight have lost half a point on forty examples, one that has lost nothing on three is
    taken to be worse than its parent, and by less than half of what they are."""
    leads = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        scores = np.full((10, 40), np.nan)
        scores[0] = random.normal(0.0, 1.0, 40)
        scores[1:9] = scores[0] - 0.5 + random.normal(0.0, 0.7, (8, 40))
        scores[9, :3] = scores[0, :3]
        means = estimated(scores, [(), *[(0,)] * 9], span=6.0).means
        leads.append(means[9] - means[0])
    assert -0.2 < np.mean(leads) < -0.03


def test_of_the_seed_nothing_is_believed_beforehand():
    """What it did on twenty examples counts for more than that four children did far better."""
    own, believed, everybody = [], [], []
    for seed in range(6):
        random = np.random.default_rng(seed)
        scores = (random.random((5, 20)) < np.array([[0.2], *[[0.8]] * 4])).astype(float)
        own.append(scores[0].mean())
        believed.append(estimated(scores, [(), *[(0,)] * 4]).means[0])
        everybody.append(scores.mean())
    assert np.mean(own) < np.mean(believed) < (np.mean(own) + np.mean(everybody)) / 2


def test_steps_that_a_run_has_shown_to_be_large_are_believed_sooner():
    """The same lead on five examples counts for more where other children were far from their
    parents on many."""
    leads = []
    for size in (0.05, 3.0):
        random = np.random.default_rng(0)
        steps = np.array([0.0, size, -size, size, -size, size, -size])
        scores = steps[:, None] + random.normal(0.0, 1.0, (7, 40))
        child = np.full(40, np.nan)
        child[:5] = scores[0, :5] + 1.0
        rows = np.vstack([scores, child])
        means = estimated(rows, [(), *[(0,)] * 7], span=8.0).means
        leads.append(means[-1] - means[0])
    assert leads[0] < 0.8 * leads[1]

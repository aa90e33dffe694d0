"""On which examples a child is compared with its parents, and with what."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.admission import expected_scores, first_validated
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.gate import strict_improvement
from dspy_gepa.core.sampling import FailureFirstSampler
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import PoolView, by_estimate
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.worlds import RuleWorld

SETTINGS = Settings(
    train=tuple(range(40)),
    validation=tuple(range(40, 80)),
    limits=Limits(metric_calls=600),
    sampler=FailureFirstSampler(),
    minibatch_sizes=(4,),
    stops_early=True,
    validation_schedule=ValidationSchedule(),
    ranking=by_estimate,
    gate=strict_improvement,
)
FIRST = SETTINGS.validation_order[: SETTINGS.validation_schedule.first]


def pool(*rows, ticket=1):
    """Members that come from each other in a row, with these scores on the validation examples."""
    scores = np.array(rows, dtype=float)
    candidates = tuple(Candidate.of({"only": str(member)}) for member in range(len(rows)))
    parents = ((), *((member,) for member in range(len(rows) - 1)))
    training = np.empty((len(rows), 0))
    return PoolView(candidates, scores, scores, ticket, 0, training, parents)


def row(known):
    """Scores on the validation examples, as far as they are known."""
    return [known.get(example, np.nan) for example in SETTINGS.validation]


@dataclass(frozen=True)
class LuckyWorld(RuleWorld):
    """Verdicts are luck, one in four for the seed and one in two for whatever states a rule; but on
    the first validation examples the seed was lucky throughout."""

    def rollout(self, candidate, example):
        found = super().rollout(candidate, example)
        is_seed = candidate == self.student
        chance = self.uniform(candidate.digest, example)
        right = (is_seed and example in FIRST) or chance < (0.25 if is_seed else 0.5)
        return replace(found, score=float(right))

    @staticmethod
    def uniform(digest, example):
        return np.random.default_rng([int(digest[:8], 16), example]).random()


@pytest.mark.parametrize("seed", range(3))
def test_what_a_parent_was_lucky_with_once_does_not_keep_every_child_out(seed):
    """Children that are truly twice as good join, though next to none is right on all of the five
    examples on which the seed was."""
    world = LuckyWorld(rules=20, seed=seed)
    state = run_loop(start(SETTINGS, world.student), SerialExecutor(world)).state
    assert len(state.members) > 5
    assert state.best != 0


@given(st.lists(st.booleans(), min_size=40, max_size=40), st.integers(5, 40))
def test_of_one_member_what_is_expected_lies_between_its_mean_and_what_it_scored(verdicts, count):
    """Where nothing else was run, half of how examples differ may be luck."""
    order = SETTINGS.validation_order[:count]
    known = {example: float(verdicts[place]) for place, example in enumerate(order)}
    scored = [known[example] for example in FIRST]
    expected = expected_scores(SETTINGS, pool(row(known)), {0: scored}, FIRST).mean()
    mean = float(np.mean(list(known.values())))
    low, high = sorted((mean, float(np.mean(scored))))
    assert low - 1e-9 <= expected <= high + 1e-9


def test_what_others_scored_tells_luck_from_ease():
    """If two more members were right on the same examples, these are easy, and more is expected of
    the parent there than where these members were wrong on them."""
    lucky = {example: float(example in FIRST) for example in SETTINGS.validation}
    unlucky = {example: float(example not in FIRST) for example in SETTINGS.validation}
    easy, hard = (
        expected_scores(SETTINGS, pool(row(lucky), row(other), row(other)), {0: [1.0] * 5}, FIRST)
        for other in (lucky, unlucky)
    )
    assert easy.mean() > 0.9
    assert hard.mean() < easy.mean() - 0.3


def test_of_two_parents_the_better_one_is_the_measure():
    """By all that is known of them, not by the few examples alone."""
    good = {example: float(example % 5 > 0) for example in SETTINGS.validation}
    poor = {example: float(example % 5 == 0 or example in FIRST) for example in SETTINGS.validation}
    view = replace(pool(row({}), row(good), row(poor)), parents=((), (0,), (0,)))
    rows = {1: [good[example] for example in FIRST], 2: [1.0] * 5}
    alone = expected_scores(SETTINGS, view, {1: rows[1]}, FIRST)
    assert expected_scores(SETTINGS, view, rows, FIRST) == pytest.approx(alone, abs=0.2)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 200))
def test_a_child_is_compared_where_its_parents_were_run(one, other, ticket):
    """On distinct examples, as many as are wanted, where both were run if there are enough; and at
    first on everybody's first ones."""
    order = SETTINGS.validation_order
    runs = [set(order[:one]), set(order[-other:] if other else ())]
    view = pool(*(row(dict.fromkeys(each, 1.0)) for each in runs), ticket=ticket)
    drawn = first_validated(SETTINGS, view, (0, 1))
    assert len(set(drawn)) == len(drawn) == len(FIRST)
    assert drawn == first_validated(SETTINGS, view, (0, 1))
    both = runs[0] & runs[1]
    assert len(both & set(drawn)) == min(len(both), len(FIRST))
    if one <= SETTINGS.validation_schedule.seed_examples:
        assert first_validated(SETTINGS, view, (0,)) == FIRST
    elif one > 20:
        others = {first_validated(SETTINGS, replace(view, ticket=each), (0,)) for each in range(20)}
        assert len(others) > 10
        assert all(set(each) <= runs[0] for each in others)

"""What is returned: the seed, unless another member is surely better."""

import numpy as np
import pytest
from hypothesis import given
from test_core_choices import STUDENT, Task

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.caution import Cautious
from dspy_gepa.core.sampling import EpochSampler
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import PoolView, by_estimate
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.strategies import score_matrices

VALIDATION = tuple(range(100, 140))
ALONE = ValidationSchedule(seed_examples=10, first=5, share=0.0, pace=0.0)
"""Members are validated when they join, and no further before the search is over."""


def pool(*rows):
    """A pool of a seed and children of it, with these scores."""
    scores = np.array(rows, dtype=float)
    names = tuple(Candidate.of({"only": str(number)}) for number in range(len(rows)))
    parents = ((), *[(0,)] * (len(rows) - 1))
    nothing = np.empty((len(rows), 0))
    return PoolView(names, scores, scores, 1, 0, nothing, parents)


def returned(*rows):
    """The member that would be returned."""
    return int(np.argmax(Cautious()(pool(*rows))))


def ended(score, *, limit=400, proposals=1, validation=VALIDATION):
    """A run that ends after so many proposals, by a score for each candidate and example."""
    settings = Settings(
        train=tuple(range(20)),
        validation=validation,
        limits=Limits(metric_calls=limit, proposals=proposals),
        sampler=EpochSampler(4),
        use_merge=False,
        validation_schedule=ALONE,
        ranking=by_estimate,
        caution=Cautious(),
    )
    return run_loop(start(settings, STUDENT), SerialExecutor(Task(score))).state


def test_the_member_that_leads_is_run_on_all_examples_and_then_the_choice_is_made():
    """Its lead is not sure on five examples, and on forty it is."""

    def score(candidate, example):
        is_child = candidate["a"] != "a0"
        return float(example % 2 == 1 or (is_child and (example < 100 or example % 4 == 2)))

    state = ended(score)
    assert state.best == 1
    assert not np.isnan(state.scores[1]).any()


def test_a_lead_that_does_not_hold_up_is_not_returned():
    """A child that was lucky on the first examples is found out, and the seed is returned."""
    first = set(ended(lambda *_: 0.0, proposals=0).settings.validation_order[:5])

    def score(candidate, example):
        is_child = candidate["a"] != "a0"
        return float(is_child if example < 100 or example in first else not is_child)

    state = ended(score)
    assert (~np.isnan(state.scores[1])).sum() > 5
    assert not np.isnan(state.scores[0]).any()
    assert (len(state.members), state.best) == (2, 0)


@pytest.mark.parametrize("limit", [60, 100, 150])
def test_the_choice_takes_no_more_than_the_budget(limit):
    """And of what is missing as much as fits, the leading member's first."""

    def score(candidate, example):
        return float(candidate["a"] != "a0" or example % 2)

    state = ended(score, limit=limit, proposals=9, validation=VALIDATION[:12])
    assert state.tally.rollouts <= limit
    leader = int(np.argmax(state.settings.ranking(state.pool(len(state.history)))))
    assert not np.isnan(state.scores[leader]).any()


def test_examples_on_which_both_score_the_same_say_nothing():
    """A lead that no example speaks against is sure, also where both are perfect on some."""
    seed = [0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 1.0]
    child = [0.12, 0.22, 0.32, 0.42, 0.52, 1.0, 1.0]
    assert returned(seed, child) == 1


def test_a_clear_lead_on_few_examples_is_luck_where_many_were_compared():
    """Better on each of five examples, by less than chance makes of a score: that is clear of one
    child, and one of thirty does that by luck."""
    random = np.random.default_rng(0)
    seed = random.normal(0.0, 1.0, 5)
    child = seed + random.uniform(0.01, 0.1, 5)
    others = [random.permutation(seed) - 0.5 for _ in range(29)]
    assert returned(seed, child) == 1
    assert returned(seed, child, *others) == 0


def test_on_one_noisy_example_that_many_were_compared_on_the_seed_is_returned():
    """One of thirty that toss coins is right on it by chance."""
    random = np.random.default_rng(1)
    runs = [(random.random((31, 1)) < 0.3).astype(float) for _ in range(50)]
    assert sum(returned(*scores) > 0 for scores in runs) <= 5
    assert sum(int(np.argmax(by_estimate(pool(*scores)))) > 0 for scores in runs) > 25


@pytest.mark.parametrize(
    ("failures", "examples", "children", "best"),
    [
        (1, 1, 1, 1),
        (1, 3, 1, 1),
        (1, 3, 2, 0),
        (1, 20, 1, 0),
        (1, 50, 1, 0),
        (2, 2, 1, 1),
        (2, 3, 1, 1),
        (2, 20, 1, 1),
        (2, 50, 1, 1),
        (2, 50, 8, 0),
        (3, 20, 8, 0),
        (3, 1_100, 8, 0),
        (15, 20, 8, 1),
        (550, 1_100, 8, 1),
    ],
)
def test_a_perfect_child_is_returned_if_one_like_the_seed_would_hardly_be_perfect(
    failures, examples, children, best
):
    """That follows from how often the seed fails, and from how many children there are."""
    seed, child = [0.0] * failures + [1.0] * (examples - failures), [1.0] * examples
    others = [np.roll(seed, failures * number) for number in range(1, children)]
    assert returned(seed, child, *others) == best


@pytest.mark.parametrize("level", [0.9, 0.97])
@pytest.mark.parametrize(("examples", "children"), [(10, 8), (20, 1), (20, 8), (50, 20)])
def test_a_lucky_child_of_a_seed_that_is_nearly_perfect_is_seldom_returned(
    level, examples, children
):
    """Of pass-or-fail scores one of many children that are all worse is often perfect."""
    random = np.random.default_rng((7, examples, children, round(100 * level)))
    levels = np.array([level, *[level - 0.04] * children])
    runs = [(random.random((len(levels), examples)) < levels[:, None]) for _ in range(100)]
    assert sum(returned(*scores) > 0 for scores in runs) <= 10


def test_a_small_gain_on_every_example_is_sure_of_many_members():
    """Where a score is no chance, what is left unexplained says so."""
    steps = [[0.37 + 0.02 * done + 0.1 * example for example in range(8)] for done in range(6)]
    assert returned(*steps) == 5


@pytest.mark.parametrize("children", [1, 4, 16])
def test_the_luck_of_many_members_is_no_lead(children):
    """Of graded scores that are chance alone one of many children has the best by far, and all
    are a little worse."""
    random = np.random.default_rng(children)
    pools = [random.random((children + 1, 20)) for _ in range(200)]
    worse = [[scores[0], *(scores[1:] - 0.02)] for scores in pools]
    assert sum(returned(*rows) > 0 for rows in worse) <= 24


@given(score_matrices(holes=True))
def test_no_member_ranks_above_its_estimate_and_the_seed_at_its_own(matrix):
    """So what is returned has an estimate at least the seed's; more caution returns no more."""
    view = pool(*matrix)
    ranks, estimates = Cautious()(view), by_estimate(view)
    assert ranks[0] == estimates[0]
    assert (ranks <= estimates + 1e-12).all()
    bolder = Cautious(0.5)(view)
    assert (ranks <= bolder + 1e-9).all()


ROUNDED = 0.7 + 0.2 + 0.1
"""Weights that make one, but for rounding."""


def test_what_is_perfect_but_for_rounding_is_perfect():
    """A metric that adds up weighted parts gives less than one by the last digit: a child's such
    score is as high as the others, and a seed with such scores has no fault."""
    assert ROUNDED < 1.0
    assert returned([0.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, ROUNDED]) == 1
    assert returned([ROUNDED] * 4 + [0.5], [1.0] * 4 + [0.5]) == 0
    assert returned([ROUNDED] * 5, [1.0] * 5, [0.5] * 5) == 0


def test_a_perfect_seed_is_returned_beside_other_perfect_members():
    """Nothing better than it is known, whatever other children did."""
    ones, most = [1.0] * 20, [1.0] * 18 + [0.0] * 2
    assert returned(ones, ones, most) == 0

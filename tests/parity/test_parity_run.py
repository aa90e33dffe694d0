"""Whole runs agree with `gepa` 0.1.4 at window 1, without merges.

gepa has one generator for all that it draws, ours a labelled one for each decision, so the two can
agree only where chance does not matter or is shared. Two such cases, on a task that is a function:
everything of gepa's own with the best member as parent and the train set as minibatch; and parents
and minibatches drawn by our functions on both sides. A text never comes twice here, because ours,
unlike gepa, admits no second member with the same texts. skip_perfect_score is off because a
skipped proposal takes its component's turn in ours, not in gepa. gepa's cache is on only where
train and validation examples have the same numbers, see the last test.
"""

import numpy as np
import pytest
from gepa import optimize
from gepa.core.adapter import EvaluationBatch

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.sampling import EpochSampler, epoch_minibatch
from dspy_gepa.core.search import decide, evolve, requests, start
from dspy_gepa.core.selection import PoolView, TopKPareto, current_best, pareto
from dspy_gepa.core.state import Settings
from dspy_gepa.core.streams import stream
from dspy_gepa.core.work import Evidence, ReflectionAnswer, ReflectionRequest
from dspy_gepa.testing.worlds import RuleWorld

PROPOSALS = 40


class NewTexts(RuleWorld):
    """A world of pass and fail whose texts name their ticket, so that none comes twice."""

    def reflection(self, request):
        answer = super().reflection(request)
        texts = {name: f"{text} t{request.ticket}" for name, text in answer.texts.items()}
        return ReflectionAnswer(request.ticket, texts, lm_calls=len(texts))


class Adapter:
    """A world as gepa wants to see it."""

    def __init__(self, world):
        self.world = world
        self.ticket = 0
        self.rolled_out = []

    def evaluate(self, batch, candidate, capture_traces=False):  # noqa: FBT002 - gepa's signature
        rollouts = [self.world.rollout(Candidate.of(candidate), example) for example in batch]
        self.rolled_out += [
            RolloutKey(Candidate.of(candidate).digest, example) for example in batch
        ]
        evidence = list(map(Evidence, batch, rollouts)) if capture_traces else None
        return EvaluationBatch(rollouts, [rollout.score for rollout in rollouts], evidence)

    def make_reflective_dataset(self, candidate, eval_batch, components_to_update):
        records = [{"evidence": evidence} for evidence in eval_batch.trajectories]
        return dict.fromkeys(components_to_update, records)

    def propose_new_texts(self, candidate, reflective_dataset, components_to_update):
        records = reflective_dataset[components_to_update[0]]
        evidence = tuple(record["evidence"] for record in records)
        components = tuple(components_to_update)
        request = ReflectionRequest(self.ticket, Candidate.of(candidate), components, evidence)
        return dict(self.world.reflection(request).texts)


class Shared:
    """Parents and minibatches for gepa, drawn as ours draws them."""

    def __init__(self, settings):
        self.settings = settings

    def select_candidate_idx(self, state):
        ticket = state.i + 1
        pool = tuple(map(Candidate.of, state.program_candidates))
        columns = range(len(self.settings.validation))
        rows = [[row[column] for column in columns] for row in state.prog_candidate_val_subscores]
        scores = np.array(rows, dtype=float)
        view = PoolView(pool, scores, scores, ticket, 0)
        return self.settings.selection(view, stream(self.settings.seed, "parent", ticket))

    def next_minibatch_ids(self, loader, state):
        size, seed = self.settings.sampler.size, self.settings.seed
        return list(epoch_minibatch(loader.all_ids(), size, state.i, seed=seed))


class Counter:
    """Stops gepa after so many proposals, and tells the adapter which one is next."""

    def __init__(self, adapter):
        self.adapter = adapter

    def __call__(self, gepa_state):
        self.adapter.ticket = gepa_state.i + 2
        return gepa_state.i + 1 >= PROPOSALS


class Silent:
    """gepa's logger."""

    def log(self, message):
        """Say nothing."""


def by_gepa(world, settings, **own):
    """gepa's result on a world, and its rollouts."""
    adapter = Adapter(world)
    result = optimize(
        seed_candidate=dict(world.student),
        trainset=list(settings.train),
        valset=list(settings.validation),
        adapter=adapter,
        skip_perfect_score=False,
        stop_callbacks=Counter(adapter),
        logger=Silent(),
        seed=settings.seed,
        **own,
    )
    return result, adapter.rolled_out


def by_ours(world, settings):
    """Our state after as many proposals."""
    state = start(settings, world.student)
    while len(state.history) <= PROPOSALS:
        for event in decide(state, world(requests(state)[0])):
            state = evolve(state, event)
    return state


def assert_same_run(result, state):
    """The same members from the same parents with the same scores, in the same order."""
    members = list(state.members)
    assert [dict(member.candidate) for member in members] == result.candidates
    assert [list(member.parents) or [None] for member in members] == result.parents
    rows = [[row[column] for column in sorted(row)] for row in result.val_subscores]
    assert state.scores.tolist() == rows
    assert state.best == result.best_idx


def settings_for(selection, *, train, validation, seed=0):
    """A window of one, minibatches of four, no merges, and budget enough for all proposals."""
    return Settings(
        train=train,
        validation=validation,
        limits=Limits(metric_calls=10_000),
        seed=seed,
        sampler=EpochSampler(4),
        selection=selection,
        skip_perfect_score=False,
        use_merge=False,
    )


@pytest.mark.parametrize(("names", "skill"), [(("only",), 0.3), (("a", "b"), 0.6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_run_is_gepas_where_chance_has_no_part(names, skill, seed):
    """With the best member as parent and the whole train set as minibatch, gepa with everything
    of its own has the same members, parents and scores."""
    world = NewTexts(names=names, pass_or_fail=True, skill=skill, seed=seed)
    settings = settings_for(current_best, train=(0, 1, 2, 3), validation=tuple(range(100, 108)))
    result, rolled_out = by_gepa(
        world,
        settings,
        candidate_selection_strategy="current_best",
        reflection_minibatch_size=4,
    )
    state = by_ours(world, settings)
    assert_same_run(result, state)
    assert len(state.members) > 3
    assert rolled_out[:8] == [
        RolloutKey(world.student.digest, example) for example in settings.validation
    ]


@pytest.mark.parametrize("selection", [pareto, current_best, TopKPareto(2)])
@pytest.mark.parametrize(("names", "skill"), [(("only",), 0.3), (("a", "b", "c"), 0.8)])
@pytest.mark.parametrize("first", [0, 100])
def test_the_run_is_gepas_where_chance_is_shared(selection, names, skill, first):
    """With parents and minibatches drawn alike, gepa has the same members, parents and scores, and
    carries out the same rollouts, some of them repeatedly."""
    world = NewTexts(names=names, pass_or_fail=True, skill=skill)
    validation = tuple(range(first, first + 8))
    settings = settings_for(selection, train=tuple(range(6)), validation=validation)
    shared = Shared(settings)
    result, rolled_out = by_gepa(
        world,
        settings,
        candidate_selection_strategy=shared,
        batch_sampler=shared,
        cache_evaluation=first == 0,
    )
    state = by_ours(world, settings)
    assert_same_run(result, state)
    assert len(state.members) > 3
    assert set(rolled_out) == set(state.charged)
    assert (
        state.spent.metric_calls
        == state.tally.metric_calls
        <= len(rolled_out)
        == result.total_metric_calls
    )


def test_difference_the_cache():
    """gepa's cache names an example by its position in its own set, so that validation is given
    the scores of train examples; ours names it by one number in the whole run."""
    world = NewTexts(pass_or_fail=True, skill=0.3)
    settings = settings_for(current_best, train=(0, 1, 2, 3), validation=tuple(range(100, 108)))
    right, wrong = (
        by_gepa(
            world,
            settings,
            candidate_selection_strategy="current_best",
            reflection_minibatch_size=4,
            cache_evaluation=cache_evaluation,
        )[0]
        for cache_evaluation in (False, True)
    )
    assert_same_run(right, by_ours(world, settings))
    truth = [
        world.rollout(Candidate.of(wrong.candidates[1]), e).score for e in (100, 101, 102, 103)
    ]
    shown = [wrong.val_subscores[1][position] for position in range(4)]
    assert shown != truth
    assert shown == [world.rollout(Candidate.of(wrong.candidates[1]), e).score for e in range(4)]

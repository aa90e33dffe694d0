"""Resuming after a breakdown: what failed because of it is no result."""

from dataclasses import replace
from functools import cache

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from journals import SETTINGS, WORLD, carried_on, recorded

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import ReflectionAnswer, RolloutAnswer
from dspy_gepa.store.run_dir import read_run
from dspy_gepa.testing.orders import VirtualTimeExecutor, durations
from dspy_gepa.testing.witness import Witness, outcome

EXAMPLES = hypothesis_settings().max_examples
LARGE = replace(
    SETTINGS,
    train=tuple(range(20)),
    validation=tuple(range(20, 50)),
    limits=Limits(metric_calls=600, proposals=12),
)


class Breaking:
    """The world, in which everything fails after so many rollouts: for one cause, or each for its
    own."""

    def __init__(self, quota, *, is_ever_new=False):
        self.quota = quota
        self.is_ever_new = is_ever_new

    def __call__(self, request):
        answer = WORLD(request)
        if isinstance(answer, ReflectionAnswer):
            return answer
        self.quota -= 1
        if self.quota >= 0:
            return answer
        cause = f"Q{self.quota}" if self.is_ever_new else "Q"
        broken = Rollout(0.0, failure="no quota", is_broken=True, cause=cause, metric_calls=0)
        return RolloutAnswer(answer.key, broken)


class Speechless:
    """The world, whose reflection gives a text from some ticket on, if ever."""

    def __init__(self, first=10**9):
        self.first = first

    def __call__(self, request):
        answer = WORLD(request)
        if isinstance(answer, RolloutAnswer) or request.ticket >= self.first:
            return answer
        return ReflectionAnswer(request.ticket, problem="no text", lm_calls=1)


def found(state):
    """What a run found, whatever it cost."""
    verdicts = [(each.origin.parents, each.candidate, each.verdict) for each in state.history]
    return [str(member.scores.tolist()) for member in state.members], verdicts


@cache
def undisturbed():
    """The end of the run that nothing happens to."""
    return recorded(settings=LARGE)[1]


@hypothesis_settings(max_examples=EXAMPLES // 2)
@given(st.integers(0, 160), st.integers(0, 999), st.sampled_from([1, 8]), st.booleans())
def test_what_failed_because_of_it_is_asked_again(tmp_path_factory, quota, seed, slots, is_new):
    """Unless it came too late to be noticed, the run that is carried on finds what one finds to
    which nothing happened; no result is asked for twice, and everything that was done is
    counted."""
    folder = tmp_path_factory.mktemp("run")
    broken, healthy = Witness(Breaking(quota, is_ever_new=is_new)), Witness(WORLD)
    stopped = carried_on(
        folder / "run",
        settings=LARGE,
        executor=VirtualTimeExecutor(broken, slots, durations(seed)),
    )
    carried = carried_on(
        folder / "run",
        settings=LARGE,
        executor=VirtualTimeExecutor(healthy, slots, durations(seed)),
    )
    rollouts = [a for a in (*broken.answers, *healthy.answers) if isinstance(a, RolloutAnswer)]
    results = [each.key for each in rollouts if not each.rollout.failure]
    if stopped.is_broken or len(results) == len(rollouts):
        assert found(carried) == found(undisturbed())
    assert all(cause.startswith("Q") for cause in stopped.causes)
    assert len(results) == len(set(results))
    assert carried.tally.rollouts == broken.tally.rollouts + healthy.tally.rollouts
    assert carried.tally.metric_calls == broken.tally.metric_calls + healthy.tally.metric_calls
    assert outcome(read_run(folder / "run").state) == outcome(carried)


def test_it_may_break_down_again_and_again(tmp_path):
    """Each time a little further on; it is carried on from where nothing had failed yet."""
    expected = undisturbed()
    for _ in range(6):
        assert carried_on(tmp_path / "run", settings=LARGE, executor=serial(9)).is_broken
    state = carried_on(tmp_path / "run", settings=LARGE)
    assert found(state) == found(expected)
    assert state.tally.metric_calls == expected.tally.metric_calls


def serial(quota):
    return VirtualTimeExecutor(Breaking(quota), 1, durations(0))


def test_a_breakdown_from_the_start_can_be_carried_on(tmp_path):
    """Also where nothing was ever run to its end."""
    expected = undisturbed()
    broken = carried_on(tmp_path / "run", settings=LARGE, executor=serial(0))
    assert "it failed on each of the first 10 examples" in broken.ending
    assert found(carried_on(tmp_path / "run", settings=LARGE)) == found(expected)


def test_reflections_that_never_gave_a_text_are_asked_again(tmp_path):
    """What was done for them stays on record, and rollouts are not paid again."""
    settings = replace(LARGE, window=1, limits=Limits(metric_calls=600, proposals=30))
    expected = carried_on(tmp_path / "whole", settings=settings)
    vain, healthy = Witness(Speechless()), Witness(WORLD)
    stopped = carried_on(
        tmp_path / "run", settings=settings, executor=VirtualTimeExecutor(vain, 1, durations(0))
    )
    assert (stopped.is_broken, stopped.tally.reflection_calls) == (True, 10)
    carried = carried_on(
        tmp_path / "run", settings=settings, executor=VirtualTimeExecutor(healthy, 1, durations(0))
    )
    assert found(carried)[1][: len(expected.history)] == found(expected)[1]
    assert carried.lost.reflection_calls == 10
    rolled_out = [*vain.rolled_out, *healthy.rolled_out]
    assert len(rolled_out) == len(set(rolled_out)) == carried.tally.rollouts
    assert outcome(read_run(tmp_path / "run").state) == outcome(carried)


def test_reflections_that_gave_a_text_before_are_a_result(tmp_path):
    """The run is over then, and asks for nothing when it is called again."""

    class Falling(Speechless):
        def __call__(self, request):
            if isinstance(WORLD(request), RolloutAnswer) or request.ticket < 3:
                return WORLD(request)
            return ReflectionAnswer(request.ticket, problem="no text", lm_calls=1)

    settings = replace(LARGE, limits=Limits(metric_calls=2000))
    ended = carried_on(
        tmp_path, settings=settings, executor=VirtualTimeExecutor(Falling(), 1, durations(0))
    )
    assert (ended.is_broken, "reflections in a row failed" in ended.ending) == (False, True)
    witness = Witness(WORLD)
    again = carried_on(
        tmp_path, settings=settings, executor=VirtualTimeExecutor(witness, 1, durations(0))
    )
    assert (outcome(again), witness.answers) == (outcome(ended), [])

"""Callback objects of the `gepa` package's kind, told of our runs."""

import logging
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dspy_gepa.compat.callbacks import CallbackObserver
from dspy_gepa.compat.hooks import HOOKS
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest, RequestFailure
from dspy_gepa.errors import ReflectionError, WorkerError, WrongType
from dspy_gepa.observe.observer import FanOut
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.orders import OrderedExecutor, shuffled
from dspy_gepa.testing.strategies import settings as any_settings
from dspy_gepa.testing.strategies import worlds
from dspy_gepa.testing.worlds import ChanceWorld, RuleWorld

WORLD = RuleWorld(rules=14, names=("a", "b"), skill=0.5, seed=3)
SETTINGS = Settings(
    train=tuple(range(6)), validation=tuple(range(6, 12)), limits=Limits(metric_calls=400), seed=1
)


class Heard:
    """A callback that keeps what every hook is told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda told: self.calls.append((name, told))

    def told(self, hook):
        return [told for name, told in self.calls if name == hook]

    def of(self, iteration):
        """The names of the calls of one iteration, without the budget's."""
        return [
            name
            for name, told in self.calls
            if told.get("iteration") == iteration and name != "on_budget_updated"
        ]


def heard(world=WORLD, settings=SETTINGS, *, worker=None, executor=None, examples=()):
    """What a callback hears of a run, and the run's last state."""
    callback = Heard()
    observer = CallbackObserver(callback, examples)
    executor = executor or SerialExecutor(worker or world)
    finish = run_loop(start(settings, world.student), executor, [observer])
    observer.close()
    return callback, finish.state


def test_a_run_is_told_from_beginning_to_end():
    """The first call says what is tried, then comes the seed, and the last says what was found."""
    callback, state = heard()
    (first, told), *_ = callback.calls
    assert first == "on_optimization_start"
    assert told["seed_candidate"] == {"a": "answer", "b": "answer"}
    assert (told["trainset_size"], told["valset_size"]) == (6, 6)
    assert (told["config"]["seed"], told["config"]["perfect_score"]) == (1, 1.0)
    assert callback.of(0) == ["on_valset_evaluated"]
    last, told = callback.calls[-1]
    assert last == "on_optimization_end"
    assert told == {
        "best_candidate_idx": state.best,
        "total_iterations": len(state.history) - 1,
        "total_metric_calls": state.tally.metric_calls,
        "final_state": state,
    }


def test_an_accepted_rewrite_is_told_step_by_step():
    """In the order in which things happen, and with the numbers that the search has."""
    callback, state = heard()
    ticket = next(member.ticket for member in state.members if member.ticket > 0)
    assert callback.of(ticket) == [
        "on_iteration_start",
        "on_candidate_selected",
        "on_minibatch_sampled",
        "on_evaluation_start",
        "on_evaluation_end",
        "on_reflective_dataset_built",
        "on_proposal_start",
        "on_proposal_end",
        "on_evaluation_start",
        "on_evaluation_end",
        "on_pareto_front_updated",
        "on_valset_evaluated",
        "on_candidate_accepted",
        "on_iteration_end",
    ]
    said = {name: told for name, told in callback.calls if told.get("iteration") == ticket}
    member, origin = state.members[1], state.history[ticket].origin
    scores = [WORLD.rollout(member.candidate, i).score for i in origin.drawn_examples]
    assert said["on_candidate_accepted"] == {
        "iteration": ticket,
        "new_candidate_idx": 1,
        "new_score": sum(scores),
        "parent_ids": [0],
    }
    assert said["on_valset_evaluated"] == {
        "iteration": ticket,
        "candidate_idx": 1,
        "candidate": dict(member.candidate),
        "scores_by_val_id": dict(enumerate(member.scores.tolist())),
        "average_score": pytest.approx(member.scores.mean()),
        "num_examples_evaluated": 6,
        "total_valset_size": 6,
        "parent_ids": [0],
        "is_best_program": True,
        "outputs_by_val_id": None,
    }
    told = said["on_evaluation_end"]
    assert (told["candidate_idx"], told["scores"]) == (None, scores)
    assert said["on_iteration_end"]["proposal_accepted"]
    records = said["on_proposal_start"]["reflective_dataset"]
    assert list(records) == said["on_proposal_start"]["components"]
    (one, *_), *_ = records.values()
    assert list(one) == ["Inputs", "Generated Outputs", "Feedback"]


def test_merges_are_told_as_merges():
    """Attempted with both parents, and then accepted or rejected."""
    callback, state = heard()
    attempted = callback.told("on_merge_attempted")
    accepted, rejected = callback.told("on_merge_accepted"), callback.told("on_merge_rejected")
    assert accepted
    assert rejected
    assert len(attempted) == len(accepted) + len(rejected)
    for told in attempted:
        record = state.history[told["iteration"]]
        assert told["parent_ids"] == list(record.origin.parents)
        assert told["merged_candidate"] == dict(record.candidate)


def test_examples_stand_for_their_ids():
    """Where examples are given, hooks see them and not numbers."""
    names = [f"example {i}" for i in range(12)]
    callback, _ = heard(examples=names)
    for told in callback.told("on_evaluation_start"):
        assert set(told["inputs"]) <= set(names)
    assert callback.told("on_iteration_start")[0]["trainset_loader"] == names[:6]


def test_a_minibatch_without_a_mistake_is_told_as_skipped():
    """With the reason and the scores."""
    callback, _ = heard(ChanceWorld(scores=(1.0,), crashes=0.0), settings=SETTINGS)
    # Of a perfect seed only one, that was begun before it was known to be perfect.
    assert len(callback.told("on_evaluation_skipped")) == 1
    world = ChanceWorld(scores=(0.0, 1.0), crashes=0.0, silence=0.0)
    callback, state = heard(world)
    skipped = callback.told("on_evaluation_skipped")
    verdicts = [record.verdict for record in state.history]
    assert [told["reason"] for told in skipped] == [
        verdict.reason for verdict in verdicts if verdict.kind == "skipped"
    ]
    assert {tuple(told["scores"]) for told in skipped} == {(1.0, 1.0, 1.0)}


def test_a_failed_reflection_is_an_error_after_which_the_run_goes_on():
    """Each with the reason that the verdict gives."""

    def mute(request):
        if isinstance(request, ReflectionRequest):
            return ReflectionAnswer(request.ticket, problem="no idea")
        return WORLD(request)

    callback, state = heard(worker=mute)
    errors = callback.told("on_error")
    assert len(errors[:-1]) == len(state.history) - 1 > 0
    assert [told["will_continue"] for told in errors] == [True] * len(errors[:-1]) + [False]
    assert isinstance(errors[0]["exception"], ReflectionError)
    assert str(errors[0]["exception"]) == "no idea"


def test_what_breaks_a_run_is_its_last_error():
    """Proposals that were under way end unaccepted, and the end is told once."""

    def dying(request):
        if isinstance(request, ReflectionRequest):
            return RequestFailure(request.key, "the server is gone")
        return WORLD(request)

    callback, state = heard(worker=dying)
    assert state.is_broken
    (told,) = callback.told("on_error")
    assert (str(told["exception"]), told["will_continue"]) == ("the server is gone", False)
    assert isinstance(told["exception"], WorkerError)
    assert [name for name, _ in callback.calls[-3:]] == [
        "on_error",
        "on_iteration_end",
        "on_optimization_end",
    ]
    assert callback.calls[-2][1]["proposal_accepted"] is False


def test_one_observer_can_follow_several_runs():
    """Each run has its own beginning and end."""
    callback = Heard()
    observer = CallbackObserver(callback)
    for _ in range(2):
        run_loop(start(SETTINGS, WORLD.student), SerialExecutor(WORLD), [observer])
        observer.close()
    names = Counter(name for name, _ in callback.calls)
    assert names["on_optimization_start"] == names["on_optimization_end"] == 2


@hypothesis_settings(max_examples=hypothesis_settings().max_examples // 2)
@given(st.data(), worlds(), st.integers(0, 5))
def test_hooks_agree_with_the_search(data, world, seed):
    """In any run, in any order of answers: calls come in pairs and sums are those of the state."""
    settings = data.draw(any_settings(world))
    executor = OrderedExecutor(world, shuffled(seed), copies=2)
    callback, state = heard(world, settings, executor=executor)
    names = Counter(name for name, _ in callback.calls)
    assert set(names) <= set(HOOKS)
    assert names["on_optimization_start"] == names["on_optimization_end"] == 1
    assert names["on_iteration_start"] == names["on_iteration_end"] == len(state.history) - 1
    assert names["on_evaluation_start"] == names["on_evaluation_end"]
    assert names["on_valset_evaluated"] == len(state.members)
    assert names["on_candidate_accepted"] == len(state.members) - bool(state.members)
    assert names["on_merge_attempted"] == names["on_merge_accepted"] + names["on_merge_rejected"]
    deltas = [told["metric_calls_delta"] for told in callback.told("on_budget_updated")]
    assert sum(deltas) == state.used.metric_calls
    for told in callback.told("on_candidate_rejected"):
        assert not math.isnan(told["old_score"])


def test_a_callback_may_have_any_of_the_hooks():
    """The others are not asked for."""

    class Ends:
        seen = 0

        def on_iteration_end(self, event):
            self.seen += 1

    callback = Ends()
    state = run_loop(
        start(SETTINGS, WORLD.student), SerialExecutor(WORLD), [CallbackObserver(callback)]
    )
    assert callback.seen == len(state.state.history) - 1


def test_an_object_without_a_hook_is_refused():
    """It was probably meant to be something else."""
    with pytest.raises(WrongType, match=r"has no hook.*on_iteration_end"):
        CallbackObserver(print)


def test_a_hook_that_is_never_called_is_named(caplog):
    """Nobody should wait for it."""

    class Saved:
        def on_state_saved(self, event):
            raise AssertionError

    with caplog.at_level(logging.INFO, logger="dspy.teleprompt.dspy_gepa"):
        CallbackObserver(Saved())
    assert caplog.messages == ["on_state_saved of Saved is never called."]


def test_a_callback_that_raises_does_not_disturb_the_run(caplog):
    """It is reported by name, and the run is the same."""

    class Broken:
        def on_candidate_selected(self, event):
            raise ZeroDivisionError

        def __repr__(self):
            return "Broken()"

    begin = start(SETTINGS, WORLD.student)
    observed = run_loop(begin, SerialExecutor(WORLD), [FanOut([CallbackObserver(Broken())])])
    assert observed.state == run_loop(begin, SerialExecutor(WORLD)).state
    assert "CallbackObserver(Broken())" in caplog.text

"""Failures in a row, and when they are a breakdown."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_core_choices import STUDENT, Task, by_length, play

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.membership import without_failures
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.streaks import Done, Streaks
from dspy_gepa.core.work import RolloutAnswer
from dspy_gepa.testing.orders import OrderedExecutor, newest_first, shuffled
from dspy_gepa.testing.witness import outcome

TEXTS = Candidate.of({"a": "text"})
OUTCOMES = {
    "S": Rollout(1.0),
    "A": Rollout(0.0, failure="a", is_broken=True, cause="a"),
    "B": Rollout(0.0, failure="b", is_broken=True, cause="b"),
    "P": Rollout(0.0, failure="unreadable"),
}


def after(rollouts):
    """What follows from rollouts that are written as letters."""
    done = [Done(TEXTS, number, OUTCOMES[letter]) for number, letter in enumerate(rollouts)]
    return Streaks().after(done, 10)


@pytest.mark.parametrize(
    ("rollouts", "suspicions"),
    [
        ("S" * 5 + "A" * 9, []),
        ("S" * 5 + "A" * 10, [("a", 15, 4)]),
        ("S" * 5 + "A" * 39, [("a", 15, 4), ("a", 25, 4)]),
        ("S" * 5 + "A" * 40, [("a", 15, 4), ("a", 25, 4), ("a", 45, 4)]),
        ("A" * 10, [("a", 10, None)]),
        ("S" + "A" * 9 + "S" + "A" * 9, []),
        # Two causes, each for itself; what could not be read is neither here nor there.
        ("SS" + "AB" * 9, []),
        ("SS" + "AB" * 10, [("a", 21, 1), ("b", 22, 1)]),
        ("SS" + "AP" * 10, [("a", 12, 1)]),
        ("S" + "P" * 50, []),
        # A program that mostly fails has long streaks by chance.
        ("SAAAAAAAAA" * 3 + "S" + "A" * 20, []),
        ("SAAAAAAAAA" * 3 + "S" + "A" * 60, [("a", 31 + 43, 30)]),
    ],
)
def test_a_streak_is_long_and_improbable(rollouts, suspicions):
    """By what was seen before it; and it is looked at again when it has doubled."""
    _, found = after(rollouts)
    assert [(s.cause, s.position, s.succeeded and s.succeeded.example) for s in found] == suspicions


@given(st.text("SABP", max_size=80), st.integers(0, 80))
def test_rollouts_may_come_in_any_portions(rollouts, cut):
    """The same suspicions follow, and each has a position of its own."""
    whole, expected = after(rollouts)
    first, one = after(rollouts[:cut])
    done = [
        Done(TEXTS, number, OUTCOMES[letter]) for number, letter in [*enumerate(rollouts)][cut:]
    ]
    found, other = first.after(done, 10)
    assert (found, one + other) == (whole, expected)
    assert len({each.position for each in expected}) == len(expected)


def failing(fails, task=Task(by_length)):  # noqa: B008 - it holds no state
    """A worker whose program fails where the function of request and number of it says so."""
    count = 0

    def worker(request):
        nonlocal count
        answer = task(request)
        if isinstance(answer, RolloutAnswer):
            count += 1
            if fails(request, count):
                broken = Rollout(
                    0.0, failure=f"Quota: {request.example}", is_broken=True, cause="Quota"
                )
                return replace(answer, rollout=broken)
        return answer

    return worker


LARGE = {"train": tuple(range(10)), "validation": tuple(range(100, 120))}


@pytest.mark.parametrize("quota", [1, 2, 5, 19, 20, 21, 23, 40])
@pytest.mark.parametrize("window", [1, 3])
def test_what_succeeded_and_fails_when_it_is_tried_again_is_a_breakdown(quota, window):
    """The run ends, names the cause, and counts what was tried."""
    state = play(failing(lambda _, count: count > quota), limit=300, window=window, **LARGE)
    assert state.is_broken
    assert state.causes == ("Quota",)
    assert "on which it had not failed before: Quota: " in state.ending
    assert state.tally.rollouts < quota + 40
    (tried,) = (key for key in state.known if key.trial)
    assert state.known[tried._replace(trial=0)].failure == ""
    assert state.lost.rollouts == 1


def test_what_still_succeeds_is_no_breakdown():
    """Then it is the texts that are at fault, and their failures are scores."""
    state = play(failing(lambda request, _: request.example > 103), limit=300, **LARGE)
    assert not state.is_broken
    assert state.members[0].scores.tolist() == [0.04] * 4 + [0.0] * 16
    assert [key.example for key in state.known if key.trial]


def test_a_trial_is_part_of_the_budget():
    """None is made where it would exceed the limit."""
    for limit in range(10, 60):
        worker = failing(lambda request, _: request.example > 103)
        state = play(worker, limit=limit, **LARGE)
        assert state.tally.metric_calls <= limit
        assert state.spent.metric_calls + state.lost.metric_calls <= limit


@given(st.integers(0, 99), st.integers(1, 4), st.integers(20, 200))
def test_trials_do_not_depend_on_the_order_of_answers(seed, window, limit):
    """They are part of the run, also near its limit."""

    def fails(request, _):
        return (request.example * 7 + len(request.candidate["a"])) % 10 > 0

    found = []
    for order in (None, newest_first, shuffled(seed)):
        executor = None if order is None else lambda task, order=order: OrderedExecutor(task, order)
        found.append(
            outcome(play(failing(fails), limit=limit, window=window, executor=executor, **LARGE))
        )
    assert found[0] == found[1] == found[2]


def test_members_can_be_seen_without_what_is_no_result():
    """The failures of a breakdown are taken out of their scores."""
    state = play(failing(lambda _, count: count > 40), limit=300, **LARGE)
    seed, *_ = without_failures(state)
    assert set(state.members[0].scores.tolist()) == {0.04, 0.0}
    assert set(map(str, seed.scores.tolist())) == {"0.04", "nan"}
    assert (seed.candidate, state.members[0].candidate) == (STUDENT, STUDENT)

"""Failures in a row, and when they are a breakdown."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
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
        ("S" * 5 + "A" * 10, [(15, 4)]),
        ("S" * 5 + "A" * 39, [(15, 4), (25, 4)]),
        ("S" * 5 + "A" * 40, [(15, 4), (25, 4), (45, 4)]),
        ("A" * 10, [(10, None)]),
        ("S" + "A" * 9 + "S" + "A" * 9, []),
        # Of whatever causes; what could not be read is neither here nor there.
        ("SS" + "AB" * 4, []),
        ("SS" + "AB" * 10, [(12, 1), (22, 1)]),
        ("SS" + "AP" * 10, [(12, 1)]),
        ("S" + "P" * 50, []),
        # A program that mostly fails has long streaks by chance.
        ("SAAAAAAAAA" * 3 + "S" + "A" * 20, []),
        ("SAAAAAAAAA" * 3 + "S" + "A" * 60, [(31 + 43, 30)]),
    ],
)
def test_a_streak_is_long_and_improbable(rollouts, suspicions):
    """By what was seen before it; and it is looked at again when it has doubled."""
    _, found = after(rollouts)
    tried = [(s.position, s.witness and s.witness.successes[-1]) for s in found]
    assert tried == suspicions


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
    """A worker whose program fails where the function of request and number of it says so, and for
    the cause that it names."""
    count = 0

    def worker(request):
        nonlocal count
        answer = task(request)
        if isinstance(answer, RolloutAnswer):
            count += 1
            if cause := fails(request, count):
                cause = "Quota" if cause is True else cause
                broken = Rollout(
                    0.0,
                    failure=f"{cause}: {request.example}",
                    is_broken=cause != "unreadable",
                    cause=cause,
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
    tried = [key for key in state.known if key.trial]
    assert all(not state.known[key._replace(trial=0)].failure for key in tried)
    assert state.lost.rollouts == len(tried) == (3 if quota == 40 else 7)


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


@hypothesis_settings(max_examples=hypothesis_settings().max_examples // 2)
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


def drawn(*labels):
    """A number between 0 and 1 that depends on these alone."""
    return random.Random(" ".join(map(str, labels))).random()


def is_rewritten(request):
    """Whether a text of a reflection is run, and not the seed."""
    return request.candidate != STUDENT


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("window", [1, 3])
def test_a_tool_that_fails_now_and_then_is_no_breakdown(rate, window):
    """Although all rewritten texts fail, each streak of them is long, and trials fail by chance."""
    tried = 0
    for seed in range(8):

        def fails(request, count, seed=seed):
            return "Tool" * (drawn(seed, count) < rate) or "Text" * is_rewritten(request)

        state = play(failing(fails), limit=300, window=window, **LARGE)
        assert not state.is_broken
        tried += sum(key.trial > 0 for key in state.known)
    assert tried


@pytest.mark.parametrize("quota", [1, 5, 30, 60])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_failures_of_ever_new_causes_are_a_breakdown(quota, rate):
    """A server that dies fails in many ways. What failed in ways known before stays a result."""

    def fails(request, count):
        if count > quota:
            return f"Error{count}"
        return "Tool" * (drawn(count) < rate and count > 1)

    state = play(failing(fails), limit=300, **LARGE)
    assert state.is_broken
    assert state.tally.rollouts < quota + 60
    new = {rollout.cause for rollout in state.known.values() if "Error" in rollout.cause}
    assert new <= set(state.causes) <= new | {"Tool"}


def test_what_can_only_be_run_once_is_no_breakdown():
    """It fails when it is tried again, but not for what the texts fail for."""

    def fails(request, _):
        return "Booked" if request.trial else "Text" * is_rewritten(request)

    state = play(failing(fails), limit=300, **LARGE)
    assert any(key.trial for key in state.known)
    assert not state.is_broken


def test_a_reply_that_cannot_be_read_neither_confirms_nor_acquits():
    """A trial that gives one is followed by another one."""

    def fails(request, count):
        if drawn(count) < 0.4 and count > 30:
            return "unreadable"
        return count > 40

    state = play(failing(fails), limit=300, **LARGE)
    assert (state.is_broken, state.causes) == (True, ("Quota",))


def test_an_outage_that_passes_is_no_breakdown():
    """Where the trial succeeds, the failures before it stay results."""
    state = play(failing(lambda _, count: 40 < count <= 50), limit=300, **LARGE)
    assert not state.is_broken


def test_a_program_that_mostly_fails_is_told_from_one_that_always_does():
    """By more trials."""

    def fails(request, count, quota=10**9):
        return "Dead" if count > quota else "Often" * (drawn(count) < 0.8 and count > 1)

    assert not play(failing(fails), limit=400, **LARGE).is_broken
    dying = play(failing(lambda *given: fails(*given, quota=150)), limit=400, **LARGE)
    assert (dying.is_broken, dying.causes) == (True, ("Dead",))


def test_causes_known_before_are_results_unless_trials_fail_for_them():
    """Only what is no result is taken back when the run is carried on."""

    def fails(request, count):
        return "Text" if request.example % 3 == 0 else "Dead" * (count > 60)

    state = play(failing(fails), limit=300, **LARGE)
    assert (state.is_broken, state.causes) == (True, ("Dead",))

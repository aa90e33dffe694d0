"""Gates, budgets, rollouts and the keys of work."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.budget import NOTHING, Tally, Usage, proposal_cost
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.gate import at_least_as_good, strict_improvement
from dspy_gepa.core.proposal import Evaluation, Merge, Mutation, Seed
from dspy_gepa.core.rollout import Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.work import Fault, ReflectionKey, ReflectionRequest, Repair, RolloutRequest
from dspy_gepa.testing.strategies import scores

ROW = st.lists(scores(), min_size=3, max_size=3)


@given(ROW, st.lists(ROW, min_size=1, max_size=2))
def test_gates_compare_with_the_better_parent(child, parents):
    """One gate wants more than every parent's sum, the other at least as much."""
    assert strict_improvement(child, parents) == all(sum(child) > sum(p) for p in parents)
    assert at_least_as_good(child, parents) == all(sum(child) >= sum(p) for p in parents)


@given(ROW)
def test_an_equal_child_passes_one_gate_only(row):
    """A tie is no improvement."""
    assert (strict_improvement(row, [row]), at_least_as_good(row, [row])) == (False, True)


def test_a_tally_grows_by_what_was_done():
    """Adding to a tally gives another one, unit by unit; what is not named stays."""
    tally = Tally(1, 2, 3, 4, 5, 0.5)
    assert tally + Tally(rollouts=10, metric_calls=20) == Tally(11, 22, 3, 4, 5, 0.5)
    assert tally + Tally.of(Usage(50, 0.25), proposals=40) == Tally(1, 2, 3, 44, 55, 0.75)
    assert tally + NOTHING == tally == Tally(1, 2, 3, 4, 5, 0.5)
    assert tally.usage == Usage(5, 0.5)


def test_costs_add_up():
    """A proposal costs its parts."""
    cost = proposal_cost(parent=3, child=13, feedback=6, reflection_calls=2)
    assert cost == Tally(rollouts=16, metric_calls=22, reflection_calls=2, proposals=1)


@pytest.mark.parametrize(("metric_calls", "charge"), [(0, 1), (1, 1)])
def test_a_rollout_is_paid_for_even_if_it_was_never_scored(metric_calls, charge):
    """A crash before the metric costs as much as a scored rollout."""
    rollout = Rollout(0.0, metric_calls=metric_calls, usage=Usage(7, 0.5))
    assert rollout.charge == Tally(1, charge, total_tokens=7, usd=0.5)


def test_a_trace_gives_the_calls_of_one_component():
    """Every call of a component is found, in order, and nobody else's."""
    steps = [Step(name, {"turn": turn}, {}) for turn, name in enumerate("abca")]
    trace = Trace(steps=tuple(steps))
    assert trace.calls_of("a") == (steps[0], steps[3])
    assert trace.calls_of("d") == ()


def test_what_was_recorded_beside_a_rollout_does_not_change_it():
    """Rollouts with the same score and feedback are equal, with or without trace and output."""
    traced = Rollout(0.5, "good", trace=Trace(steps=(Step("a", {}, {}),)), output=object())
    assert traced == Rollout(0.5, "good")


def test_work_is_named_by_what_it_is():
    """A rollout is named by texts and example, traced or not; a question by its ticket, and by
    whether it is the second one."""
    candidate = Candidate.of({"a": "text"})
    for traced in (True, False):
        request = RolloutRequest(candidate, 7, traced=traced)
        assert request.key == RolloutKey(candidate.digest, 7)
    first = ReflectionRequest(3, candidate, ("a",), ())
    second = replace(first, repairs=(Repair(("a",), "reply", (Fault(("a",), "reason"),)),))
    assert first.key == ReflectionKey(3)
    assert second.key == ReflectionKey(3, is_repair=True)
    assert first.key != second.key


def test_an_evaluation_is_its_rollouts():
    """An evaluation's keys come in its examples' order."""
    candidate = Candidate.of({"a": "text"})
    keys = (RolloutKey(candidate.digest, 2), RolloutKey(candidate.digest, 1))
    assert Evaluation(candidate, (2, 1)).keys == keys


def test_origins_name_their_parents():
    """The seed has no parent, a mutation one, a merge two."""
    origins = (Seed(NOTHING), Mutation(NOTHING, 4, (1, 2), 0, 0, 5), Merge(NOTHING, (1, 3), 0, 5))
    assert [origin.parents for origin in origins] == [(), (4,), (1, 3)]

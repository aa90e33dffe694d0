"""Which components are rewritten."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from test_core_choices import Task, by_length, play

from dspy_gepa.core.budget import Limits, Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.components import (
    COMPONENT_SELECTORS,
    ComponentView,
    every,
    in_one_call,
    round_robin,
)
from dspy_gepa.core.ledger import PersistentList
from dspy_gepa.core.proposal import Mutation, Verdict
from dspy_gepa.core.selection import PoolView
from dspy_gepa.core.state import ProposalRecord, RunState, Settings
from dspy_gepa.core.work import Fault, ReflectionAnswer, ReflectionRequest, Repair
from dspy_gepa.testing.conformance import check_component_selector
from dspy_gepa.testing.strategies import component_views

ABC = Candidate.of(dict.fromkeys("abc", "text"))
EMPTY = RunState(Settings(train=(0,), validation=(0,), limits=Limits()), ())
POOL = PoolView((ABC,), np.zeros((1, 1)), np.zeros((1, 1)), ticket=1, spent=1)


@pytest.mark.parametrize("name", COMPONENT_SELECTORS)
@given(view=component_views())
def test_every_selector_keeps_its_promises(name, view):
    """A selector names at least one component that was called, none twice."""
    check_component_selector(COMPONENT_SELECTORS[name], view)


@pytest.mark.parametrize(
    ("called", "chosen"),
    [("abc", "abcabc"), ("ac", "accacc"), ("b", "bbbbbb")],
)
def test_round_robin_takes_the_next_that_was_called(called, chosen):
    """Turns go through the program's order; a component that was not called passes its turn on."""
    views = [ComponentView(POOL, 0, ABC, turn, tuple(called), ()) for turn in range(6)]
    assert [round_robin(view) for view in views] == [(name,) for name in chosen]


def test_all_takes_what_was_called():
    """`all` means all that were called, not all that there are."""
    assert every(ComponentView(POOL, 0, ABC, 0, ("a", "c"), ())) == ("a", "c")


def test_all_are_taken_as_long_as_one_call_is_about_all():
    """Where each would be a call of its own, they take turns."""
    view = ComponentView(POOL, 0, ABC, 0, ("a", "c"), ())
    assert in_one_call(view) == ("a", "c")
    apart = [replace(view, rewrites_before=turn, is_asked_apart=True) for turn in range(3)]
    assert [in_one_call(each) for each in apart] == [("a",), ("c",), ("c",)]


@pytest.mark.parametrize("window", [1, 3])
def test_a_model_of_one_text_is_asked_about_one_component_a_proposal(window):
    """From the first proposal on that was begun after that was seen; a user's own selector is
    heeded all the same."""

    class OneText(Task):
        def __call__(self, request):
            if not isinstance(request, ReflectionRequest):
                return super().__call__(request)
            asked.append((request.asks_apart, request.components))
            if request.asks_apart or request.repairs:
                naming = -1 if request.repairs else 0
                answer = super().__call__(request)
                return replace(answer, is_repair=bool(request.repairs), naming=naming)
            fault = Fault("a text for no component", request.components)
            repairs = tuple(Repair((name,), "a text", (fault,)) for name in request.components)
            return ReflectionAnswer(request.ticket, repairs=repairs, lm_calls=1, naming=-1)

    chosen = {in_one_call: {("a",), ("b",)}, every: {("a", "b")}}
    for components, expected in chosen.items():
        asked = []
        play(OneText(by_length), limit=80, window=window, components=components)
        assert {names for is_apart, names in asked if is_apart} == expected
        assert {names for is_apart, names in asked if not is_apart} == {("a", "b")}


def record(naming, visible_proposals, *, reflection_calls=1):
    """A proposal that is over, by what its answer was and how many were over when it began."""
    charge = Tally(reflection_calls=reflection_calls)
    origin = Mutation(charge, 0, (), 0, 0, visible_proposals, 0, 0)
    verdict = Verdict("rejected", "no better")
    return ProposalRecord(origin, ABC, verdict, charge, naming=naming)


@pytest.mark.parametrize(
    ("answers", "apart"),
    [
        ([], 0),
        ([(1, 0)], 0),
        ([(-1, 0)], 2),
        ([(-1, 0), (-1, 1)], 4),
        ([(-1, 0), (-1, 1), (-1, 2)], 8),
        ([(-1, 0), (-1, 0)], 2),
        ([(-1, 0)] * 8, 2),
        ([(-1, 0)] * 8 + [(-1, 8)], 4),
        ([(-1, 0)] * 8 + [(-1, 7)] * 8, 4),
        ([(-1, 0)] * 8 + [(-1, 8)] * 8, 4),
        ([(1, 0), (-1, 0), (-1, 0)], 2),
        ([(-1, 0), (1, 0), (-1, 0)], 2),
        ([(-1, 0), (-1, 0), (1, 0)], 0),
        ([(-1, 0), (0, 0), (-1, 0)], 2),
    ],
)
def test_answers_to_questions_that_were_asked_side_by_side_count_as_one(answers, apart):
    """After n answers in a row that named nothing, the next 2**n reflections are asked apart."""
    history = [record(*answer) for answer in answers]
    later = [record(0, len(history)) for _ in range(20)]
    state = replace(EMPTY, history=PersistentList([*history, *later]))
    asked = [state.asks_apart(seen) for seen in range(len(history), len(history) + 20)]
    assert asked == [True] * apart + [False] * (20 - apart)

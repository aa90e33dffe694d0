"""Which components are rewritten."""

import numpy as np
import pytest
from hypothesis import given

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.components import COMPONENT_SELECTORS, ComponentView, every, round_robin
from dspy_gepa.core.selection import PoolView
from dspy_gepa.testing.conformance import check_component_selector
from dspy_gepa.testing.strategies import component_views

ABC = Candidate.of(dict.fromkeys("abc", "text"))
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

"""Where in a program its predictors and tools are."""

from __future__ import annotations

import dspy
from flex_programs import flex
from tool_programs import agent, forget, look_up

from dspy_gepa.program.components.places import places_of


class Inner(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("a -> b")
        self.tool = dspy.Tool(forget)


class Outer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.inner = {"x": Inner(), "frozen": Inner()}
        self.inner["frozen"]._compiled = True
        self.again = self.inner["x"]
        self.agents = [agent(), flex()]
        self.tools = (dspy.Tool(look_up), look_up, dspy.Tool(look_up, desc="Another."))
        self.history = [dspy.Tool(forget)]
        self.up = self


def test_each_module_is_one_place():
    """However often it is reached; what is frozen or code is none."""
    program = Outer()
    places = places_of(program)
    names = [type(place.module).__name__ for place in places]
    assert names == ["Outer", "Inner", "ReAct", "ChainOfThought"]
    assert [place.parent and type(place.parent.module).__name__ for place in places] == [
        None,
        "Outer",
        "Outer",
        "ReAct",
    ]
    assert [len(place.predictors) for place in places] == [0, 1, 1, 1]


def test_tools_are_named_by_where_they_are():
    """One in a list by its own name; of two with one name the first."""
    places = places_of(Outer())
    assert [list(place.tools) for place in places] == [
        ["tools['look_up']"],
        ["inner['x'].tool"],
        [f"agents[0].tools['{name}']" for name in ("look_up", "forget", "finish")],
        [],
    ]
    assert places[0].tools["tools['look_up']"].desc != "Another."


def test_a_place_knows_what_it_is_within():
    """And which modules are DSPy's."""
    *_, last = places_of(Outer())
    assert [type(place.module).__name__ for place in last.outwards] == [
        "ChainOfThought",
        "ReAct",
        "Outer",
    ]
    assert [place.is_dspys for place in last.outwards] == [True, True, False]


def test_a_predictor_alone_is_a_place():
    """It holds itself; code alone holds no predictor."""
    predictor = dspy.Predict("a -> b")
    (place,) = places_of(predictor)
    assert place.predictors == (predictor,)
    (place,) = places_of(flex())
    assert place.predictors == ()

"""JSON and its form."""

import datetime as dt
import json

import dspy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.metrics import ValidAgainst, ValidJSON


class Item(pydantic.BaseModel):
    name: str
    price: float


class Order(pydantic.BaseModel):
    day: dt.date
    items: list[Item]


SCHEMA = {
    "type": "object",
    "required": ["items"],
    "properties": {
        "items": {
            "type": "array",
            "items": {"type": "object", "properties": {"price": {"type": "number"}}},
        }
    },
    "additionalProperties": False,
}
EXAMPLE = dspy.Example(text="?", order="").with_inputs("text")
GOOD = '{"day": "2026-01-02", "items": [{"name": "tea", "price": 2}]}'


def said(metric, order):
    """Score and feedback."""
    found = metric(EXAMPLE, dspy.Prediction(order=order))
    return found.score, found.feedback


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(), items, max_size=3),
    max_leaves=8,
).filter(lambda value: value not in (float("inf"), float("-inf")))


@given(value=JSON)
def test_what_python_writes_as_json_is_valid(value):
    """As a text, and as the value itself where that is no text."""
    assert said(ValidJSON(), json.dumps(value))[0] == 1.0
    if not isinstance(value, str):
        assert said(ValidJSON(), value)[0] == 1.0


@pytest.mark.parametrize(
    ("order", "part"),
    [
        ('{"a": 1,}', "at line 1, column"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ("", "it is empty"),
        ('```json\n{"a": 1}\n```', "within a code fence"),
        ("```\n{a}\n```", "Expecting value at line 1"),
        ("[" * 100_000, "no JSON"),
        ({"a": float("nan")}, "no JSON"),
        ([Item(name="tea", price=float("inf"))], "no JSON"),
        (Item(name="tea", price=float("nan")), "no JSON"),
        ({"a": object()}, "no JSON"),
    ],
)
def test_what_is_no_json_is_told_where(order, part):
    """The feedback names the place and the remedy."""
    score, feedback = said(ValidJSON(), order)
    assert score == 0.0
    assert part in feedback


def test_null_is_json():
    """It fits where the schema admits it; an output that lacks the field is none."""
    assert said(ValidAgainst({"type": ["object", "null"]}), None) == (1.0, "order is valid.")
    assert said(ValidAgainst(Order), None)[1].endswith("(given: None)")
    for metric in (ValidJSON(), ValidAgainst(Order)):
        found = metric(EXAMPLE, dspy.Prediction(city="Paris"))
        assert (found.score, found.feedback) == (
            0.0,
            "The output has no 'order'; it has ['city'].",
        )


@pytest.mark.parametrize(
    "order",
    [
        [Item(name="tea", price=2)],
        {"first": Item(name="tea", price=2)},
        dt.date(2026, 1, 2),
        {"day": dt.date(2026, 1, 2), "tags": {"green", "black"}},
    ],
)
def test_what_pydantic_writes_as_json_is_valid(order):
    """DSPy's typed outputs are that."""
    assert said(ValidJSON(), order) == (1.0, "order is valid JSON.")
    assert said(ValidAgainst({"type": ["array", "object", "string"]}), order)[0] == 1.0


class Renamed(pydantic.BaseModel):
    user_name: str = pydantic.Field(alias="userName")


class Lenient(pydantic.BaseModel):
    user_name: str = pydantic.Field(validation_alias=pydantic.AliasChoices("userName", "name"))


class RenamedItems(pydantic.RootModel[list[Renamed]]):
    pass


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize("order", [Renamed(userName="x"), Lenient(name="x")])
def test_an_instance_of_the_schema_is_valid(order, is_strict):
    """Whatever its fields are called in JSON."""
    assert said(ValidAgainst(type(order), is_strict=is_strict), order)[0] == 1.0


def test_a_model_is_the_json_of_its_aliases():
    """Those are the names that its schema has."""
    order = Renamed(userName="x")
    assert said(ValidAgainst(Renamed.model_json_schema()), order)[0] == 1.0
    assert said(ValidAgainst(RenamedItems), [order])[0] == 1.0


def test_an_instance_that_holds_what_is_no_json_is_not_valid():
    """JSON has no NaN."""
    assert said(ValidAgainst(Item), Item(name="tea", price=float("nan")))[0] == 0.0


@pytest.mark.parametrize("order", [GOOD, json.loads(GOOD), Order.model_validate_json(GOOD)])
@pytest.mark.parametrize("schema", [Order, {"type": "object"}])
def test_what_fits_is_valid(schema, order):
    """A text, a dictionary and a model alike."""
    assert said(ValidAgainst(schema), order) == (1.0, "order is valid.")


def test_every_violation_of_a_model_is_told_with_its_path():
    """In pydantic's words."""
    bad = '{"day": "soon", "items": [{"name": "tea", "price": 2}, {"price": "much"}]}'
    score, feedback = said(ValidAgainst(Order), bad)
    assert score == 0.0
    paths = [line.split(":")[0] for line in feedback.splitlines()[1:]]
    assert paths == ["$.day", "$.items[1].name", "$.items[1].price"]
    assert feedback.endswith("(given: much)")


def test_every_violation_of_a_schema_is_told_with_its_path():
    """In jsonschema's words."""
    bad = '{"items": [{"price": "much"}], "x": 1}'
    _, feedback = said(ValidAgainst(SCHEMA), bad)
    assert feedback.splitlines()[1:] == [
        f"$: Additional properties are not allowed ('x' was unexpected) (given: {bad})",
        "$.items[0].price: 'much' is not of type 'number' (given: much)",
    ]


def test_strict_types_are_those_of_json():
    """A number in a text is none; a date is a text in JSON anyhow."""
    order = GOOD.replace("2}", '"2"}')
    assert said(ValidAgainst(Order), order)[0] == 1.0
    assert said(ValidAgainst(Order, is_strict=True), order)[0] == 0.0
    assert said(ValidAgainst(Order, is_strict=True), GOOD)[0] == 1.0


def test_a_long_list_of_violations_is_cut():
    """A mark says how many are left out."""
    _, feedback = said(ValidAgainst({"items": {"type": "string"}}), list(range(30)))
    assert feedback.endswith("[... 10 violations left out ...]")


def test_what_is_no_schema_is_refused():
    """When the metric is made."""
    with pytest.raises(WrongType, match=r"class made from pydantic.BaseModel"):
        ValidAgainst(Order(day="2026-01-01", items=[]))
    with pytest.raises(SettingsError, match="is no JSON schema"):
        ValidAgainst({"type": "objekt"})

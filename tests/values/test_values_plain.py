"""Plain values: any value as JSON and back."""

import enum
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.rollout import Opaque, Rollout, Step, Trace
from dspy_gepa.core.work import Evidence
from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.values.media import Media, data_uri
from dspy_gepa.values.plain import dumps, loads, packed, unpacked
from dspy_gepa.values.words import text_of

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False),
    st.text(st.characters(), max_size=8),
)
PLAIN = st.recursive(
    SCALARS,
    lambda items: (
        st.lists(items, max_size=4)
        | st.dictionaries(
            st.text(st.characters(), max_size=4) | st.just("$blob"), items, max_size=3
        )
    ),
    max_leaves=20,
)
KEYS = st.one_of(SCALARS, st.tuples(SCALARS, SCALARS), st.frozensets(SCALARS, max_size=3))
ODD = st.recursive(
    st.one_of(SCALARS, st.text(max_size=5).map(Opaque)),
    lambda items: st.one_of(
        st.lists(items, max_size=3),
        st.lists(items, max_size=3).map(tuple),
        st.dictionaries(KEYS, items, max_size=3),
        st.sets(KEYS, max_size=3),
    ),
    max_leaves=10,
)


def again(value):
    """The value after a way through a file."""
    return unpacked(loads(dumps(packed(value)).encode()))


def bits(value):
    """The value with types and signs, which equality does not tell apart."""
    if isinstance(value, dict):
        return [(bits(key), bits(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [bits(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted((bits(item) for item in value), key=repr)
    return type(value), value.hex() if isinstance(value, float) else value


@given(PLAIN)
def test_plain_values_come_back_exactly(value):
    """Numbers to the last bit and with their type, texts to the last surrogate, order of names."""
    assert bits(again(value)) == bits(value)


@given(ODD)
def test_tuples_sets_and_odd_keys_come_back_exactly(value):
    """What JSON cannot say is marked, and no user's dictionary is taken for a mark."""
    assert bits(again(value)) == bits(value)


MEDIA = st.builds(
    Media,
    st.sampled_from(["image", "audio", "file"]),
    st.text(max_size=8)
    | st.binary(max_size=30).map(lambda content: data_uri("image/png", content)),
    st.text(st.characters(), max_size=4),
    st.text(max_size=4),
)


@given(st.recursive(MEDIA | st.binary(max_size=8), st.lists))
def test_media_and_bytes_come_back_exactly(value):
    """Their content too."""
    assert bits(again(value)) == bits(value)


class Encoded:
    """An object that writes out its content, as some of DSPy's do."""

    def __init__(self, content):
        self.content = content

    def __str__(self):
        return f"<{data_uri('image/png', self.content)}>"


@given(st.binary(min_size=12, max_size=40), st.binary(min_size=12, max_size=40))
def test_the_text_of_an_object_is_stored_without_encoded_content(one, other):
    """Objects of different content are told apart all the same, as examples have to be."""
    texts = [again(Encoded(content)).text for content in (one, other)]
    assert data_uri("", one).partition(",")[2] not in texts[0]
    assert (texts[0] == texts[1]) == (one == other)


@given(st.floats())
def test_every_float_comes_back(value):
    """NaN and infinities too."""
    found = again([value])[0]
    assert math.isnan(found) if math.isnan(value) else found.hex() == value.hex()


@pytest.mark.parametrize("text", ["\ud83d\ude00", "\U0001f600", "\ud800", "\udc00a", "\x00\u2028"])
def test_two_surrogates_are_not_one_character(text):
    """A text of two surrogates does not come back as the one character that they could form."""
    assert again(text) == text
    assert again({text: text}) == {text: text}


def test_a_text_of_a_million_characters_comes_back():
    """Also one in which every character takes several bytes."""
    assert again("ж" * 1_000_000) == "ж" * 1_000_000


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: int


class Address:
    pass


class Speechless:
    def __str__(self):
        raise RuntimeError("no words")


class Treacherous(dict):
    """A dictionary of which nothing can be read."""

    def items(self):
        raise KeyError("no items")


class Lazy(Mapping):
    """A mapping that is no dictionary."""

    def __getitem__(self, key):
        return {"a": 1}[key]

    def __iter__(self):
        return iter(["a"])

    def __len__(self):
        return 1


VALUES = [
    Colour.RED,
    Level.LOW,
    np.float64(0.1),
    np.float32(0.1),
    np.int64(7),
    np.arange(4.0),
    Point(1, 2),
    Address(),
    OrderedDict(b=1, a=2),
    Lazy(),
    {"z", "b", "a", 3, (1, 2)},
    frozenset({Address}),
    b"bytes",
    {"deep": [{"er": (Colour.RED, Level.LOW, np.float64(0.5), b"x")}]},
    {1: "one", None: "none", (1, 2): "pair", Colour.RED: "red"},
    Rollout(0.5, trace=Trace(steps=(Step("a", {"q": "?"}, {}),))),
    Evidence(3, Rollout(0.5)),
    range(3),
    float("nan"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_prompt_shows_what_it_would_have_shown(value):
    """The text of any value in a prompt is the same before and after a way through a file."""
    assert text_of(again(value)) == text_of(value)
    assert text_of(again({"in": [value]})) == text_of({"in": [value]})


def test_what_was_stored_as_text_stays_text():
    """An object comes back as a text that says so, and is stored as the same text again."""
    stored = again(Address)
    assert stored == Opaque(str(Address))
    assert str(stored) == str(Address)
    assert packed(stored) == packed(Address)


def test_an_object_that_cannot_be_put_into_words_ends_nothing():
    """Whatever a user's `__str__` raises, the value is stored."""
    said = "<a Speechless that cannot be put into words>"
    assert str(again(Speechless())) == said
    assert list(map(str, again({Speechless(): 1}))) == [said]
    assert str(again(Treacherous(a=1))) == "{'a': 1}"


def test_an_integer_too_long_to_be_written_ends_nothing():
    """Python can refuse to write one; others come back exactly."""
    assert again([10**600, -(2**64)]) == [10**600, -(2**64)]
    assert str(again([10**5_000])[0]) == "<a int that cannot be put into words>"


def test_values_that_contain_themselves_are_cut():
    """Where they would begin again, which may be in many places; and what is merely deep."""
    tree = {"items": []}
    tree["items"] = [{"parent": tree} for _ in range(30)]
    assert again(tree) == {"items": [{"parent": Opaque("...")}] * 30}
    knot = []
    knot.append(knot)
    deep = ()
    for _ in range(300):
        deep = (frozenset([deep]),)
    loop = {}
    loop["again"] = loop
    for value in (knot, loop, deep):
        assert "..." in dumps(packed(value))
        again(value)


def test_a_set_is_stored_in_one_order():
    """Two equal sets give the same bytes."""
    words = [f"word{number}" for number in range(50)]
    assert dumps(packed(set(words))) == dumps(packed({*words[::-1]}))


@pytest.mark.parametrize(
    "stored",
    [
        {"$unknown": 1},
        {"$float": "nano"},
        {"$text": "zz"},
        {"$tuple": 3},
        {"$pairs": [[1]]},
        {"$pairs": [[[], 1]]},
        {"$set": [[1]]},
        {"$opaque": 3},
    ],
)
def test_what_was_not_packed_is_refused(stored):
    """A mark that does not fit is damage, never a guess."""
    with pytest.raises(JournalCorrupt):
        unpacked(stored)


def test_what_is_no_json_is_refused():
    """The error says that it is none."""
    with pytest.raises(JournalCorrupt, match="not JSON"):
        loads(b'{"a":')


def test_stored_text_is_legible():
    """Texts of any language stand in the file as they are."""
    assert dumps(packed({"ответ": "да/нет"})) == '{"ответ":"да/нет"}'
    assert ujson.loads(dumps(packed({"a": (1,)}))) == {"a": {"$tuple": [1]}}

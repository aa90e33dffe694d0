"""Sets of examples under numbers: what stands in several is paid once."""

import copy

import dspy
import numpy as np
import pytest

from dspy_gepa.program.examples import tabulate


def example(inputs=("q",), **fields):
    return dspy.Example(**fields).with_inputs(*inputs)


def pair(**fields):
    """An example, and an equal copy of it."""
    return example(**fields), example(**copy.deepcopy(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"q": "a"},
        {"q": "a", "n": 1, "x": 0.5, "none": None, "yes": True},
        {"q": ["a", {"b": ("c", 1)}]},
        {"q": "a", "history": dspy.History(messages=[{"role": "user", "content": "hi"}])},
        {"q": dspy.Image(url="https://example.com/a.png")},
        {"q": {"nested": [1.5, {"deep": []}]}},
        {"q": "a", "b": b"bytes", "s": {1, 2}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_equal_copies_are_one_example(fields):
    """Whatever its fields hold, as long as all of them are equal."""
    one, other = pair(**fields)
    assert tabulate([one], [other]).validation == (0,)
    assert tabulate([one], None, [other]).anchors == (0,)
    assert tabulate([example(q="b")], [one], [other]).anchors == (1,)


class Unequal:
    """An object that is equal to itself alone."""

    def __str__(self):
        return "the same words"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (example(q="a"), example(q="b")),
        (example(q="a"), example(q="a", more="b")),
        (example(q="a", p="b"), example(("p",), q="a", p="b")),
        (example(q=1), example(q=True)),
        (example(q=1), example(q=1.0)),
        (example(q=[1]), example(q=[True])),
        (example(q=[1]), example(q=(1,))),
        (example(q=float("nan")), example(q=float("nan"))),
        (example(q=Unequal()), example(q=Unequal())),
        (example(q=np.array([1, 2])), example(q=np.array([1, 2]))),
        (example(q="1"), example(q=1)),
        (example(q=[0, 0, 0, 0, 1]), example(q=[0, 0, 0, 0, 2])),
    ],
)
def test_what_may_differ_is_two_examples(one, other):
    """A type, an input, an object of which nobody knows."""
    assert tabulate([one], [other]).validation == (1,)
    assert tabulate([one], [one]).validation == (0,)


def test_copies_in_one_set_count_as_often_as_they_stand_there():
    """Each of them takes one of the other set."""
    train = [example(q="a"), example(q="a"), example(q="b")]
    table = tabulate(train, [example(q="a") for _ in range(3)])
    assert (table.train, table.validation) == ((0, 1, 2), (0, 1, 3))
    assert tabulate(train, [train[1], example(q="a")]).validation == (1, 0)


def test_examples_may_be_run_several_times():
    """Then only the first time is shared."""
    train = [example(q="a"), example(q="b")]
    table = tabulate(train, copy.deepcopy(train), times=2)
    assert table.validation == (0, 1, 2, 3)


def test_many_examples_are_compared_in_no_time():
    """Also those without a plain field."""
    train = [example(q=[n, {"x": n}]) for n in range(3000)]
    assert tabulate(train, copy.deepcopy(train)).validation == tuple(range(3000))

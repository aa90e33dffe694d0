"""Labelled chance."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.streams import stream

LABELS = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4)


def test_values_are_pinned():
    """The first draws of a stream are the same in every release: a journal replays for ever."""
    assert [
        stream(0).random(),
        stream(0, "parent", 1).random(),
        stream(7, "epoch", 3).random(),
    ] == [
        0.32988956283209847,
        0.9740632056519374,
        0.4548071432088633,
    ]
    assert stream(1, "a").sample(range(100), 5) == [61, 16, 17, 40, 33]


@given(st.integers(), LABELS, st.integers(), LABELS)
def test_a_stream_is_its_seed_and_labels(seed, labels, other_seed, other_labels):
    """Streams are the same exactly when seed and labels are; 1 and "1" are two labels."""
    first, second = stream(seed, *labels).random(), stream(other_seed, *other_labels).random()
    written = (seed, [(type(label), label) for label in labels])
    other = (other_seed, [(type(label), label) for label in other_labels])
    assert (first == second) == (written == other)


@given(st.integers(), LABELS)
def test_drawing_from_one_stream_leaves_others_alone(seed, labels):
    """A stream gives the same values however much was drawn from its twin before."""
    used = stream(seed, *labels)
    [used.random() for _ in range(10)]
    again = stream(seed, *labels)
    assert [again.random() for _ in range(3)] == [
        stream(seed, *labels).random(),
        *_rest(seed, labels),
    ]


def _rest(seed, labels):
    fresh = stream(seed, *labels)
    fresh.random()
    return [fresh.random(), fresh.random()]


def test_labels_are_not_run_together():
    """Where one label ends and the next begins matters."""
    drawn = [
        stream(1, "ab", "c").random(),
        stream(1, "a", "bc").random(),
        stream(1, "abc").random(),
        stream(1, "a", "b", "c").random(),
        stream(1, 12).random(),
        stream(1, 1, 2).random(),
    ]
    assert len(set(drawn)) == len(drawn)


def test_neighbouring_tickets_are_unrelated():
    """First draws over consecutive labels are spread like independent ones."""
    drawn = [stream(0, "parent", ticket).random() for ticket in range(2000)]
    tenths = [sum(tenth <= 10 * value < tenth + 1 for value in drawn) for tenth in range(10)]
    assert sum((count - 200) ** 2 / 200 for count in tenths) < 27.9  # chi-square, 9 df, p = 0.001
    rises = sum(first < second for first, second in pairwise(drawn))
    assert abs(rises - 1000) < 60

"""Values in words: the same everywhere, media as marks, no bytes in the text."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.values.words import LEFT_OUT, Marks, shortened, text_of


class Picture:
    """A medium, as the tests below say."""


@dataclass
class Page:
    title: str
    scan: Picture


class Model:
    """Of pydantic's kind, as far as we look."""

    model_fields = MappingProxyType({"scans": None, "title": None})

    def __init__(self, title, *scans):
        self.title = title
        self.scans = list(scans)

    def model_dump(self):
        raise AssertionError("would encode what is in it")

    def __str__(self):
        return f"title={self.title!r}"


def kind_of(value):
    return "image" if isinstance(value, Picture) else ""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('a "b"\n{c}', 'a "b"\n{c}'),
        ({"k": [1, True, None, "ü"]}, '{"k": [1, true, null, "ü"]}'),
        ((1, 2), "[1, 2]"),
        (frozenset({2, 1}), "[1, 2]"),
        ([Fraction(1, 2)], '["1/2"]'),
        ({(1, 2): 3}, '{"(1, 2)": 3}'),
        (1.5, "1.5"),
        (None, "None"),
        ("a\ud800b", "a\\ud800b"),
        (["\ud800"], '["\\ud800"]'),
    ],
)
def test_values_are_written_as_text_or_json(value, written):
    """Text stands as it is, containers are written as JSON, other values in their own words."""
    assert text_of(value) == written


def test_a_value_that_contains_itself_can_be_written():
    """It is cut where it would begin again, also where it would many times."""
    loop: list[object] = []
    loop.append(loop)
    assert text_of(loop) == '["..."]'
    tree = {"name": "list", "items": []}
    tree["items"] = [{"name": number, "parent": tree} for number in range(30)]
    assert text_of(tree).startswith(
        '{"name": "list", "items": [{"name": 0, "parent": "..."}, {"name": 1, "parent": "..."}, '
    )


def test_a_value_without_words_of_its_own_ends_nothing():
    """Whatever `str` raises, something is written: within a container, as a key, or alone."""

    class Row:
        def __str__(self):
            raise RuntimeError("the session is over")

    said = "<a Row that cannot be put into words>"
    assert text_of(Row()) == said
    assert text_of({Row(): [Row()]}) == f'{{"{said}": ["{said}"]}}'
    for endless in (10**5_000, [-(10**5_000)]):
        assert "an int that" in text_of(endless).replace("<a int", "an int")


@given(st.text(max_size=3_000), st.integers(0, 500))
def test_shortening_keeps_the_limit_and_says_what_is_missing(text, limit):
    """What is cut has its beginning, its end and the number of characters left out."""
    cut = shortened(text, limit)
    assert len(cut) <= limit
    if len(text) <= limit:
        assert cut == text
    elif cut and not LEFT_OUT.search(text):
        mark = LEFT_OUT.search(cut)
        head, tail = cut[: mark.start()], cut[mark.end() :]
        assert text.startswith(head)
        assert text.endswith(tail)
        missing = len(text) - len(head) - len(tail)
        assert mark[0] == f"[... {missing:,} characters left out ...]"


def test_media_become_marks_wherever_they_are():
    """In containers, dataclasses and models, numbered by first appearance, the same one once."""
    a, b, c = Picture(), Picture(), Picture()
    marks = Marks(kind_of)
    assert text_of(a, marks) == "[image 1]"
    assert text_of({"x": [b, (a,)]}, marks) == '{"x": ["[image 2]", ["[image 1]"]]}'
    assert text_of(Page("t", b), marks) == '{"title": "t", "scan": "[image 2]"}'
    assert text_of([Model("t", c)], marks) == '[{"scans": ["[image 3]"], "title": "t"}]'
    assert marks.media == (("[image 1]", a), ("[image 2]", b), ("[image 3]", c))


def test_objects_without_media_speak_for_themselves():
    """A structure is shown only where there are media in it, so that stored texts agree."""
    marks = Marks(kind_of)
    assert text_of(Model("t"), marks) == "title='t'"
    assert text_of(Page("t", None), marks) == "Page(title='t', scan=None)"


def test_kinds_are_numbered_on_their_own():
    """The second medium can be the first of its kind."""
    marks = Marks(lambda value: value.__class__.__name__.lower())
    assert text_of(Picture(), marks) == "[picture 1]"
    assert text_of(Fraction(1, 2), marks) == "[fraction 1]"
    assert text_of(Picture(), marks) == "[picture 2]"


def test_more_media_than_there_is_room_for_are_left_out_with_a_mark():
    """Beyond the cap a mark says so, and what has a number keeps it."""
    marks = Marks(kind_of, most=1)
    first = Picture()
    written = text_of([first, Picture(), first], marks)
    assert written == '["[image 1]", "[... 1 image left out ...]", "[image 1]"]'
    assert marks.media == (("[image 1]", first),)
    assert LEFT_OUT.search(written)


@given(st.binary(min_size=12, max_size=3_000), st.sampled_from(["", ";charset=utf-8"]))
def test_a_data_url_in_a_text_is_left_out_with_its_size(content, parameter):
    """Of base64 only the type and the number of bytes are shown, wherever it stands."""
    encoded = base64.b64encode(content).decode()
    url = f"data:image/png{parameter};base64,{encoded}"
    for written in (text_of(f"See {url} here"), text_of({"a": [url]}), text_of(Fraction)):
        assert encoded not in written
    mark = LEFT_OUT.search(text_of(f"See {url} here"))
    assert "bytes of image/png left out" in mark[0]
    size = int(mark[0].split()[1].replace(",", ""))
    assert abs(size - len(content)) <= 2


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"\x00\xff" * 600, "[... 1,200 bytes left out ...]"),
        ([bytearray(3)], '["[... 3 bytes left out ...]"]'),
        ("A1b" * 500, "[... 1,125 bytes of base64 left out ...]"),
        ("ACGT" * 500, "ACGT" * 500),
        ("x" * 5_000, "x" * 5_000),
        ("data:, and data:text/plain,hello", "data:, and data:text/plain,hello"),
        ("data:image/svg+xml," + "%3Csvg" * 90, "[... 540 bytes of image/svg+xml left out ...]"),
    ],
    ids=range(7),
)
def test_bytes_never_stand_in_a_text(value, written):
    """Bytes and long base64 are left out with their size; words and sequences are not."""
    assert text_of(value) == written


@pytest.mark.parametrize("text", ["data:" * 60_000, "aB3" * 99 + " ", "[image 1]" * 9])
def test_ordinary_long_texts_stay(text):
    """What only looks like the beginning of bytes is shown."""
    assert text_of(text * 3) == text * 3

"""Media: what counts as such, and its way into plain values and back."""

from __future__ import annotations

import base64
import json
import random

import dspy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.models.media import captured, content_parts, media_kind, revived, spoken
from dspy_gepa.values.media import Media, content_of, without_base64

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)
IMAGE = dspy.Image(url=PIXEL)
ELSEWHERE = dspy.Image(url="https://a.example/b.png")
SOUND = dspy.Audio(data="UklGRg==", audio_format="wav")
PAPER = dspy.File(file_data="data:application/pdf;base64,JVBERi0=", filename="a.pdf")
UPLOADED = dspy.File(file_id="file-1", filename="b.pdf")
MEDIA = [IMAGE, ELSEWHERE, SOUND, PAPER, UPLOADED]


class Video(dspy.Type):
    url: str

    def format(self):
        """The content part."""
        return [{"type": "video_url", "video_url": {"url": self.url}}]


class Mood(dspy.Type):
    word: str

    def format(self):
        """A text."""
        return self.word


class Page(pydantic.BaseModel):
    picture: dspy.Image


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (IMAGE, "image"),
        (SOUND, "audio"),
        (PAPER, "file"),
        (Media("audio", "data:audio/wav;base64,UklGRg=="), "audio"),
        (Video(url="https://a.example/b.mp4"), "attachment"),
        (Mood(word="good"), ""),
        (dspy.Code(code="x = 1"), ""),
        (dspy.History(messages=[]), ""),
        (Page(picture=IMAGE), ""),
        ([IMAGE], ""),
        (PIXEL, ""),
        (dspy.Image, ""),
        (None, ""),
    ],
    ids=repr,
)
def test_what_counts_as_media(value, kind):
    """DSPy's own types by name, a user's type where it sends more than text."""
    assert media_kind(value) == kind


VALUES = st.recursive(
    st.sampled_from(MEDIA) | st.text(max_size=3) | st.none() | st.integers(),
    lambda items: (
        st.lists(items, max_size=3)
        | st.dictionaries(st.text(max_size=3), items, max_size=3)
        | st.lists(items, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


class Scan(dspy.Image):
    """A user's own kind of image, which need not be hashable."""

    model_config = pydantic.ConfigDict(frozen=False)


def test_an_image_of_a_users_own_kind_stays_what_it_is():
    """It is an image to a model, and its text has no content."""
    scan = Scan(url=PIXEL)
    assert media_kind(scan) == "image"
    assert captured([scan])[0] is scan
    assert content_parts(scan) == content_parts(IMAGE)
    assert PIXEL[30:60] not in spoken([scan]) + spoken(scan)


@given(value=VALUES)
def test_what_is_captured_comes_back_equal(value):
    """In containers of any depth, which keep their types."""
    back = revived(captured(value))
    assert back == value
    assert type(back) is type(value)


@given(value=VALUES)
def test_nothing_of_dspys_is_left_when_captured(value):
    """A second capture changes nothing, and neither does reviving what is no media."""
    plain = captured(value)
    assert captured(plain) is plain
    assert "dspy" not in repr(plain)


def test_what_holds_no_media_is_the_very_same_object():
    """Traces share what the program passed around."""
    value = {"a": [1, ("b", {"c": object()})]}
    assert captured(value) is value
    assert revived(value) is value


def test_a_value_that_holds_itself_is_left_alone():
    """Whatever a program answers, capturing it ends."""
    loop = [IMAGE]
    loop.append(loop)
    assert captured(loop)[0] == Media("image", PIXEL)
    tree = {"items": []}
    tree["items"] = [{"parent": tree} for _ in range(30)]
    assert captured(tree) is tree


@pytest.mark.parametrize(
    ("media", "text"),
    [
        (IMAGE, "(image, image/png, 70 bytes, sha256 6b7fa434f92a8b80)"),
        (ELSEWHERE, "(image, https://a.example/b.png)"),
        (SOUND, "(audio, audio/wav, 4 bytes, sha256 a40ff3d5900fb769)"),
        (PAPER, "(file, a.pdf, application/pdf, 5 bytes, sha256 05cc50dab2cdab00)"),
        (UPLOADED, "(file, b.pdf, id file-1)"),
        ([IMAGE, 1], "[(image, image/png, 70 bytes, sha256 6b7fa434f92a8b80), 1]"),
        (Video(url=PIXEL), "(Video)"),
        ("plain", "plain"),
    ],
    ids=repr,
)
def test_a_text_describes_media_without_its_content(media, text):
    """Enough is said to tell one from another."""
    if media is PAPER:
        text = str(captured(PAPER))
    assert spoken(media) == text
    assert "JVBERi0=" not in text


@given(content=st.binary(max_size=40), mime=st.sampled_from(["image/png", "text/plain", ""]))
def test_a_data_uri_is_read_exactly(content, mime):
    """Type and content give back the very same text."""
    uri = f"data:{mime};base64,{base64.b64encode(content).decode()}"
    assert content_of(uri) == (mime, content)


@pytest.mark.parametrize(
    "text",
    ["", "data:", "data:image/png,abc", "data:a/b;base64,AA", "data:a/b;base64,A A=", "x" + PIXEL],
)
def test_what_is_no_data_uri_is_none(text):
    """Nor is one that our own writing would not give back."""
    assert content_of(text) is None


@given(before=st.text(max_size=9), seed=st.integers(0, 10**6))
def test_long_runs_of_encoded_content_are_replaced_in_texts(before, seed):
    """With or without the beginning of a data URI; different contents give different marks."""
    written = base64.b64encode(random.Random(seed).randbytes(600)).decode()
    for text in (written, json.dumps({"data": written}), f"data:image/png;base64,{written}"):
        assert written[:200] not in without_base64(before + " " + text)


@pytest.mark.parametrize(
    "write",
    [base64.urlsafe_b64encode, base64.encodebytes, lambda raw: base64.encodebytes(raw) + b"\nx"],
)
def test_encoded_content_of_any_form_is_replaced(write):
    """As in an address, or in lines as mail has it, also within JSON; what follows it stays."""
    written = write(random.Random(1).randbytes(1_200)).decode()
    for text in (written, json.dumps(written), f"data:image/png;base64,{written}"):
        shown = without_base64(f"see {text}\nand then")
        assert len(shown) < 90
        assert shown.startswith("see ")
        assert shown.endswith("\nand then")


@pytest.mark.parametrize("text", ["ACGT" * 100, "0123456789abcdef" * 20, "é" * 300, "word " * 80])
def test_other_long_texts_stay(text):
    """A genome, a digest and prose are no encoded content."""
    assert without_base64(text) == text

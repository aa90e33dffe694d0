"""Blobs: what is too large for a line."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.errors import JournalCorrupt, JournalError
from dspy_gepa.store.blobs import LARGE, Blobs
from dspy_gepa.values.media import data_uri
from dspy_gepa.values.plain import dumps

DOCUMENT = "ж" * LARGE


def blobs_in(folder):
    """The blobs of this folder."""
    return Blobs(folder)


def files_in(folder):
    """Names of all files in it."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_what_is_small_stays(tmp_path):
    """No folder is made where nothing is large."""
    fields = {"a": "x" * (LARGE - 1), "b": [1, {"c": None}]}
    assert blobs_in(tmp_path / "blobs").externalize(fields) == fields
    assert files_in(tmp_path / "blobs") == []


def test_large_texts_are_shared(tmp_path):
    """Equal texts are one file, named by its content, over lines and over restarts."""
    folder = tmp_path / "blobs"
    thin = [
        blobs_in(folder).externalize(
            {"line": number, "texts": [DOCUMENT, "short", {"d": DOCUMENT}]}
        )
        for number in range(3)
    ]
    address = hashlib.sha256(dumps(DOCUMENT).encode()).hexdigest()
    assert files_in(folder) == [f"{address}.json"]
    reference = {"$blob": address}
    assert thin[1] == {"line": 1, "texts": [reference, "short", {"d": reference}]}
    assert blobs_in(folder).inline(thin[1]) == {
        "line": 1,
        "texts": [DOCUMENT, "short", {"d": DOCUMENT}],
    }


@pytest.mark.parametrize(
    "value", [list(range(LARGE)), {f"key{n}": "v" * 40 for n in range(LARGE // 40)}]
)
def test_large_containers_become_files_too(tmp_path, value):
    """What is large by the number of its parts does not stay in a line either."""
    blobs = blobs_in(tmp_path)
    thin = blobs.externalize({"output": value})
    assert len(dumps(thin)) < 200
    assert blobs.inline(thin) == {"output": value}


@given(value=st.recursive(st.integers() | st.sampled_from(["x", DOCUMENT]), st.lists))
def test_whatever_is_thinned_comes_back(tmp_path_factory, value):
    """Large parts within large parts included."""
    blobs = blobs_in(tmp_path_factory.mktemp("blobs"))
    assert blobs.inline(blobs.externalize({"value": value})) == {"value": value}


def test_a_data_uri_becomes_a_file_of_its_content(tmp_path):
    """However small it is, and once however often it stands there; nothing encoded is left."""
    blobs, uri = blobs_in(tmp_path), data_uri("image/png", b"pixels")
    fields = {"a": [uri, {"b": uri}], "c": data_uri("audio/wav", b"pixels"), "d": f"see {uri}!"}
    thin = blobs.externalize(fields)
    address = hashlib.sha256(b"pixels").hexdigest()
    reference = {"$blob": address, "type": "image/png"}
    assert thin["a"] == [reference, {"b": reference}]
    assert thin["d"] == {"$joined": ["see ", reference, "!"]}
    assert files_in(tmp_path) == [f"{address}.bin"]
    assert (tmp_path / f"{address}.bin").read_bytes() == b"pixels"
    assert blobs.inline(thin) == fields


def joined(texts):
    """One text of several."""
    return "".join(text for text in texts if isinstance(text, str))


@given(
    value=st.recursive(
        st.binary(max_size=9).map(lambda content: data_uri("image/png", content))
        | st.sampled_from(["x", DOCUMENT, "data:image/png;base64,A", "data:,", "data:;base64,"]),
        lambda items: st.lists(items, max_size=4) | st.lists(items, max_size=4).map(joined),
    )
)
def test_whatever_is_encoded_comes_back(tmp_path_factory, value):
    """Within large parts too, and what only looks like a data URI."""
    blobs = blobs_in(tmp_path_factory.mktemp("blobs"))
    assert blobs.inline(blobs.externalize({"value": value})) == {"value": value}


def test_damaged_content_is_seen(tmp_path):
    """As it is of a JSON file."""
    blobs = blobs_in(tmp_path)
    thin = blobs.externalize({"image": data_uri("image/png", b"pixels")})
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"other")
    with pytest.raises(JournalCorrupt, match=r"\.bin was changed"):
        blobs.inline(thin)


def test_damage_is_seen(tmp_path):
    """A file that was changed or is gone is named; one that is damaged is written anew."""
    blobs = blobs_in(tmp_path)
    thin = blobs.externalize({"text": DOCUMENT})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(JournalCorrupt, match=r"\.json was changed"):
        blobs.inline(thin)
    blobs_in(tmp_path).externalize({"text": DOCUMENT})
    assert blobs.inline(thin) == {"text": DOCUMENT}
    file.unlink()
    with pytest.raises(JournalCorrupt, match=r"\.json is missing"):
        blobs.inline(thin)
    file.mkdir()
    with pytest.raises(JournalError, match="cannot be read"):
        blobs.inline(thin)
    with pytest.raises(JournalError, match="cannot be written"):
        blobs_in(tmp_path).externalize({"text": DOCUMENT})


@pytest.mark.parametrize("address", ["../" * 10 + "etc/passwd", "A" * 64, "", 3, None])
def test_an_address_leads_nowhere_else(tmp_path, address):
    """Only a digest is an address."""
    with pytest.raises(JournalCorrupt, match="is no address"):
        blobs_in(tmp_path).inline({"$blob": address})

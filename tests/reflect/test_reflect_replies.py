"""The corpus of replies: what families of models are in the habit of answering, and what is read.

`replies.json` holds, by name: the habit, the reply, whether the server says that it was cut off
(no, where nothing is said of it; null: it does not say), the current text where it matters, and the
text that is read or a word of the reason why none is.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dspy_gepa.reflect.exchange import Reply
from dspy_gepa.reflect.parse import Unreadable, read_text

CORPUS = json.loads((Path(__file__).parent / "replies.json").read_text("utf-8"))


@pytest.mark.parametrize("row", CORPUS, ids=lambda row: row["name"])
def test_the_corpus_is_read_as_expected(row):
    """Each reply gives exactly its text, or is refused for its reason."""
    reply = Reply(row["reply"], is_truncated=row.get("is_truncated", False))
    found = read_text(reply, current=row.get("current", ""))
    if "text" in row:
        assert found == row["text"]
    else:
        assert isinstance(found, Unreadable)
        assert row["reason"] in found.reason


def test_the_corpus_is_large_and_names_its_habits():
    """At least 150 shapes, each with a name of its own and the habit that it stands for."""
    assert len({row["name"] for row in CORPUS}) == len(CORPUS) >= 150
    assert all(row["habit"] and ("text" in row) != ("reason" in row) for row in CORPUS)

"""The benchmark of replies tells right, fine, asked again and wrong apart."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import replies

ENTRY = {
    "name": "one",
    "components": {"draft": "Answer the question."},
    "reply": "",
    "wanted": {"texts": {"draft": "Answer in one word."}},
    "also_fine": [{"no_change": True}],
}


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        ({"texts": {"draft": "Answer in one word."}}, "right"),
        ({"no_change": True}, "also fine"),
        ({"ask": True}, "asked again"),
        ({"texts": {"draft": "Sure! Answer in one word."}}, "wrong"),
        ({"texts": {}}, "wrong"),
    ],
)
def test_each_outcome_has_its_verdict(made, verdict):
    """What is not wanted, not allowed and not asked about is wrong."""
    assert replies.judged(ENTRY, made).verdict == verdict


@pytest.mark.parametrize("path", replies.CORPORA, ids=lambda path: path.stem)
def test_the_corpora_are_well_formed(path):
    """Names are unique, and what is wanted is one of three things about known components."""
    entries = json.loads(path.read_text("utf-8"))
    assert len({entry["name"] for entry in entries}) == len(entries) >= 60
    for entry in entries:
        for outcome in (entry["wanted"], *entry.get("also_fine", ())):
            assert list(outcome) in (["texts"], ["no_change"], ["ask"])
            assert outcome.get("texts", {}).keys() <= entry["components"].keys()


def test_the_counts_are_printed(tmp_path, capsys):
    """A reply without any text is asked about; the entries of a verdict can be shown."""
    corpus = tmp_path / "small.json"
    corpus.write_text(json.dumps([ENTRY]), "utf-8")
    replies.main([str(corpus), "--show", "asked again", "--json", str(tmp_path / "out.json")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'asked again: one: {"ask": true}'
    assert lines[-1].split() == ["small.json", "1", "0", "0", "1", "0"]
    assert "small.json" in json.loads((tmp_path / "out.json").read_text("utf-8"))["corpora"]

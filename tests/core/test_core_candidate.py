"""A candidate is its texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.testing.strategies import candidates

TEXTS = {"first": "say hello", "second": "say goodbye"}


def test_it_reads_like_the_mapping_that_it_was_made_of():
    """A candidate has the items of its mapping, in the mapping's order."""
    candidate = Candidate.of(TEXTS)
    assert list(candidate.items()) == list(TEXTS.items())
    assert (candidate["second"], len(candidate), "third" in candidate) == ("say goodbye", 2, False)


def test_the_digest_is_pinned():
    """The digest of given texts is the same in every release: journals name rollouts by it."""
    assert Candidate.of(TEXTS).digest == "22648ebe6cf6374a2a34dc710ea394b0"
    assert Candidate.of({}).digest == "4f53cda18c2baa0c0354bb5f9a3ecbe5"


@given(candidates(), candidates())
def test_equality_hash_and_digest_agree(one, other):
    """Two candidates are equal exactly when their digests are, and equal ones hash alike."""
    assert (one == other) == (one.digest == other.digest)
    again = Candidate.of(dict(one))
    assert (again, hash(again), again.digest) == (one, hash(one), one.digest)


def test_a_text_that_moves_to_another_component_is_another_candidate():
    """What belongs to which component is part of a candidate, and so is their order."""
    swapped = Candidate.of({"first": "say goodbye", "second": "say hello"})
    reordered = Candidate.of(dict(reversed(TEXTS.items())))
    assert len({Candidate.of(TEXTS), swapped, reordered}) == 3
    assert len({c.digest for c in (Candidate.of(TEXTS), swapped, reordered)}) == 3


def test_it_is_no_plain_mapping():
    """A candidate equals candidates only."""
    assert Candidate.of(TEXTS) != TEXTS


@given(candidates(), st.data())
def test_rewritten_replaces_exactly_the_given_texts(candidate, data):
    """The given components get their new texts, all others keep theirs, and the order stays."""
    names = st.sampled_from(list(candidate)) if candidate else st.nothing()
    texts = data.draw(st.dictionaries(names, st.text()))
    before = dict(candidate)
    child = candidate.rewritten(texts)
    assert list(child.items()) == [(name, texts.get(name, before[name])) for name in before]
    assert dict(candidate) == before


def test_a_component_that_is_not_there_cannot_be_rewritten():
    """An unknown component is refused, with its name and those that there are."""
    with pytest.raises(KeyError, match=r"unknown components \['third'\].*'first', 'second'"):
        Candidate.of(TEXTS).rewritten({"first": "x", "third": "y"})


def test_a_candidate_may_be_known_by_another_digest():
    """One whose texts secrets were taken out of has the digest that it had with them."""
    known = Candidate.known_by("d1", tuple(TEXTS.items()))
    assert (dict(known), known.digest) == (TEXTS, "d1")

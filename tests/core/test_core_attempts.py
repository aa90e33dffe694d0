"""Rejected texts are told to a reflection LM until it copies one."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.core.attempts import is_copied
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.sampling import Epochs
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import Attempt, ReflectionAnswer, ReflectionRequest
from dspy_gepa.run.loop import run
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.orders import OrderedExecutor, shuffled
from dspy_gepa.testing.witness import outcome
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(names=("only",), luck=0.0)
WORDS = st.text("abcdefgh", min_size=1, max_size=3)
TEXTS = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)


def only(text):
    """A candidate of one text."""
    return Candidate.of({"only": text})


def invented(ticket):
    """A text of no use that shares no words with that of another ticket."""
    return " ".join(f"w{ticket}x{n}" for n in range(20))


@dataclass
class Useless:
    """Writes texts of no use; from one ticket on it copies what it is told was rejected."""

    copies_from: int
    told: dict[int, tuple[Attempt, ...]] = field(default_factory=dict)
    """What each reflection was told, by ticket."""

    def __call__(self, request):
        """As the world says, but for reflections."""
        if not isinstance(request, ReflectionRequest):
            return WORLD(request)
        self.told[request.ticket] = request.attempts
        text = invented(request.ticket)
        if request.attempts and request.ticket >= self.copies_from:
            text = f"{request.attempts[-1].candidate['only']} and w{request.ticket}"
        return ReflectionAnswer(request.ticket, {"only": text}, lm_calls=1)


def finished(executor, *, window, proposals):
    """The end of a run of so many proposals, with this executor."""
    limits = Limits(metric_calls=1_000, proposals=proposals)
    settings = Settings(
        train=(0, 1, 2), validation=(3, 4), limits=limits, sampler=Epochs(3), window=window
    )
    return run(start(settings, WORLD.student), executor).state


def told_in(copies_from, *, window=1, proposals=12):
    """What every reflection of a run was told, in the order of tickets."""
    worker = Useless(copies_from)
    finished(SerialExecutor(worker), window=window, proposals=proposals)
    return [worker.told[ticket] for ticket in sorted(worker.told)]


def test_the_newest_rejected_texts_are_told_with_their_reasons():
    """None to the first reflection, and three at most, to an LM that makes its own of them."""
    told = told_in(copies_from=99)
    assert list(map(len, told)) == [0, 1, 2, *[3] * 9]
    texts = [attempt.candidate["only"] for attempt in told[-1]]
    assert texts == [invented(ticket) for ticket in (9, 10, 11)]
    assert all("no better" in attempt.reason for attempt in told[-1])


def test_an_lm_that_copies_a_rejected_text_is_told_of_none_any_more():
    """The fifth reflection copies; it was told, and none after it is."""
    assert list(map(len, told_in(copies_from=5))) == [0, 1, 2, 3, 3, *[0] * 7]


@pytest.mark.parametrize("window", [2, 4])
def test_proposals_under_way_when_it_copies_are_told_what_they_were_issued_with(window):
    """What a reflection is told follows from what was over when its proposal was issued."""
    counts = list(map(len, told_in(copies_from=5, window=window)))
    assert 3 in counts[4:]
    assert counts[5 + window :] == [0] * len(counts[5 + window :])


@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 99))
def test_when_copying_is_seen_does_not_depend_on_the_order_of_answers(copies_from, window, seed):
    """The same run, and the same is told, in any order of answers."""
    expected, other = Useless(copies_from), Useless(copies_from)
    one = finished(SerialExecutor(expected), window=window, proposals=10)
    two = finished(OrderedExecutor(other, shuffled(seed)), window=window, proposals=10)
    assert outcome(one) == outcome(two)
    assert expected.told == other.told


@given(TEXTS, TEXTS)
def test_what_the_parent_says_is_no_copy(parent, added):
    """An attempt that kept the parent's words is not copied by a text that keeps them too."""
    child, attempt = only(f"{parent}\n{added}"), only(f"{parent}\n1 2 3 4 5")
    assert not is_copied(child, attempt, only(parent))


@given(TEXTS, TEXTS)
def test_a_text_taken_over_whole_is_a_copy(attempt, parent):
    """Whatever it was, as long as it is not the parent's: in other case and lines too."""
    tried = only(f"{attempt} 1 2 3 4 5")
    again = only(f"{attempt} 1 2 3 4 5".upper().replace(" ", "\n"))
    assert is_copied(again, tried, only(parent))


def test_a_copy_of_one_component_is_a_copy():
    """The others may be new."""
    parent = Candidate.of({"a": "one", "b": "two"})
    attempt = Candidate.of({"a": "say who it is for and why", "b": "two"})
    child = Candidate.of({"a": "say who it is for and why", "b": "quite another text than before"})
    assert is_copied(child, attempt, parent)
    assert not is_copied(Candidate.of({"a": "one", "b": "new"}), attempt, parent)

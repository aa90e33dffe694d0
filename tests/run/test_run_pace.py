"""The pace: how many requests run at once after setbacks, and when they begin again."""

import pytest

from dspy_gepa.core.work import RequestFailure
from dspy_gepa.run.pace import PAUSES_SECONDS, Pace


class Clock:
    """Time that passes when it is told to."""

    now_seconds = 100.0

    def __call__(self):
        return self.now_seconds


def setback(retry_after_seconds=0.0):
    return RequestFailure(7, "busy", is_lasting=False, retry_after_seconds=retry_after_seconds)


def begun(slots=8, pauses_seconds=(2.0, 8.0, 30.0)):
    clock = Clock()
    return clock, Pace(slots, pauses_seconds, clock)


def test_all_slots_may_run_at_first_and_at_once():
    """A run that nothing disturbs is not slowed down."""
    _, pace = begun()
    assert (pace.allowed, pace.pause_seconds) == (8, 0.0)
    for _ in range(20):
        pace.answered()
    assert (pace.allowed, pace.pause_seconds) == (8, 0.0)


def test_a_round_of_setbacks_halves_once():
    """Requests that ran side by side and all were set back count once, within the pause."""
    clock, pace = begun()
    for _ in range(8):
        pace.set_back(setback())
        clock.now_seconds += 0.1
    assert (pace.allowed, round(pace.pause_seconds, 6)) == (4, 1.2)


def test_setbacks_in_a_row_halve_down_to_one_with_longer_and_longer_pauses():
    """One request always may run, and the last pause is that of all further setbacks."""
    clock, pace = begun()
    seen = []
    for _ in range(5):
        pace.set_back(setback())
        seen.append((pace.allowed, pace.pause_seconds))
        clock.now_seconds += pace.pause_seconds
        assert pace.pause_seconds == 0.0
    assert seen == [(4, 2.0), (2, 8.0), (1, 30.0), (1, 30.0), (1, 30.0)]


def test_an_answer_begins_the_row_anew():
    """After it the next setback is a first one again."""
    clock, pace = begun()
    for _ in range(3):
        pace.set_back(setback())
        clock.now_seconds += pace.pause_seconds
    pace.answered()
    pace.set_back(setback())
    assert pace.pause_seconds == 2.0


def test_a_round_of_answers_allows_one_more():
    """As many answers as may run at once, and one more may; never more than there are slots."""
    clock, pace = begun(slots=4)
    for _ in range(2):
        pace.set_back(setback())
        clock.now_seconds += pace.pause_seconds
    seen = []
    for _ in range(12):
        pace.answered()
        seen.append(pace.allowed)
    assert seen == [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]


def test_a_setback_begins_the_round_of_answers_anew():
    """Answers from before it allow nothing more after it."""
    clock, pace = begun(slots=8)
    for _ in range(3):
        pace.answered()
    pace.set_back(setback())
    clock.now_seconds += pace.pause_seconds
    for _ in range(3):
        pace.answered()
    assert pace.allowed == 4
    pace.answered()
    assert pace.allowed == 5


@pytest.mark.parametrize(
    ("asked_seconds", "pause_seconds"), [(0.0, 2.0), (1.0, 2.0), (17.5, 17.5), (120.0, 120.0)]
)
def test_what_a_server_asks_for_is_honoured(asked_seconds, pause_seconds):
    """The longer of its pause and ours."""
    _, pace = begun()
    pace.set_back(setback(asked_seconds))
    assert pace.pause_seconds == pause_seconds


def test_a_server_cannot_ask_for_more_than_two_minutes():
    """A run is not hung by a header."""
    _, pace = begun()
    pace.set_back(setback(86_400.0))
    assert pace.pause_seconds == 120.0


def test_a_later_wish_lengthens_the_pause_and_an_earlier_one_does_not_shorten_it():
    """Also where it comes from a request of the same round, which halves nothing."""
    clock, pace = begun()
    pace.set_back(setback(60.0))
    clock.now_seconds += 10
    pace.set_back(setback(5.0))
    assert (pace.allowed, pace.pause_seconds) == (4, 50.0)
    pace.set_back(setback(90.0))
    assert (pace.allowed, pace.pause_seconds) == (4, 90.0)


def test_without_pauses_only_the_servers_wishes_count():
    """For tests and for workers that wait themselves."""
    _, pace = begun(pauses_seconds=())
    pace.set_back(setback())
    assert (pace.allowed, pace.pause_seconds) == (4, 0.0)
    pace.set_back(setback(3.0))
    assert (pace.allowed, pace.pause_seconds) == (2, 3.0)


def test_three_pauses_are_told_apart():
    """Four attempts at a request, which is where the search gives up, take about forty seconds."""
    assert PAUSES_SECONDS == (2.0, 8.0, 30.0)

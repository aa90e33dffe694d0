"""Who is told of a run, and what becomes of one that fails."""

from dspy_gepa.observe.observer import FanOut


class FailsAtOnce:
    """Raises when it is told that a run begins."""

    def __init__(self):
        self.events = []

    def begun(self, state):
        raise OSError("no display")

    def __call__(self, event, state):
        self.events.append(event)


def test_an_observer_that_fails_when_a_run_begins_is_told_no_more():
    """As is said of it; the others are told everything."""
    failing, events = FailsAtOnce(), []
    told = FanOut([failing, lambda event, _: events.append(event)])
    told.begun(None)
    told("an event", None)
    assert (failing.events, events) == ([], ["an event"])

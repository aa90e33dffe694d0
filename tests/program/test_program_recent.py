"""The last few values by key."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from dspy_gepa.program.rollouts.recent import Recent


def test_the_value_that_was_not_used_for_longest_goes():
    """Reading counts as use."""
    recent = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    recent.get("a")
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_a_value_is_made_once_however_many_ask():
    """Threads that come at the same time get the same object."""
    recent, made, together = Recent(2), [], threading.Barrier(8)

    def ask(_):
        together.wait()
        return recent.get_or_make("a", lambda: made.append(object()) or made[0])

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    assert [each is made[0] for each in answers] == [True] * 8
    assert len(made) == 1

"""SIGKILL in the middle of whole runs against a server, and the same call again.

The server kills the run at the arrival of chosen requests, or just after it answered them; so the
moments are the run's own, whatever the speed of the machine.
"""

import json
import os
import queue
import signal

import pytest
from faulty_server import faulty_server, undisturbed

from dspy_gepa import load_run
from dspy_gepa.testing.witness import outcome

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are told apart by signals")

LIFE = """
import json, sys
from faulty_server import FaultyServer, Job

port, given = json.loads(sys.argv[1])
Job(FaultyServer(port=port)).run(**given)
"""


@pytest.mark.parametrize(
    ("threads", "kills"),
    [(1, (1, 2, 12, 13, 40)), (8, (3, 14, 15, 40))],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_run_ends_as_the_undisturbed_one(tmp_path, warm_python, threads, kills, moment):
    """Killed again and again, before or just after a request was answered, the run ends with the
    program of the undisturbed one, and what was not in flight at a kill is never asked twice."""
    children = queue.SimpleQueue()

    def kill(seen):
        if seen.number in kills:
            os.kill(children.get(), signal.SIGKILL)

    with faulty_server() as server:
        if moment == "before":
            server.plan = kill
        else:
            server.on_answered = kill
        given = json.dumps((server.port, {"num_threads": threads, "log_dir": str(tmp_path)}))
        lives, status = 0, -1
        while status:
            assert lives <= len(kills)
            while not children.empty():
                children.get()
            running = warm_python.begin(LIFE, given)
            children.put(running.pid)
            status = running.wait().returncode
            assert status in (0, -signal.SIGKILL)
            lives += 1
    assert lives == len(kills) + 1
    expected = undisturbed()
    state = load_run(tmp_path).result.state
    # What had begun counts as spent, whether or not it was.
    *same, tally, ending = outcome(state)
    *expected_same, expected_tally, expected_ending = outcome(expected.result.state)
    assert (same, ending) == (expected_same, expected_ending)
    most = expected_tally.rollouts + len(kills) * threads
    assert expected_tally.rollouts <= tally.rollouts <= most
    stored = json.loads((tmp_path / "best_program.json").read_text())
    assert stored["signature"]["instructions"] == expected.best
    prompts = [seen.prompt for seen in server.seen]
    assert set(prompts) == {seen.prompt for seen in expected.server.seen}
    again = len(prompts) - len(expected.server.seen)
    # With threads: one in each, and as many that were answered and not taken up yet.
    assert again <= len(kills) * (1 if threads == 1 else 2 * threads)
    if moment == "before" and threads == 1:
        assert again == len(kills)

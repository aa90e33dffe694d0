"""SIGKILL in the middle of whole runs against a server, and the same call again.

The server kills the run at the arrival of chosen requests, or just after it answered them; so the
moments are the run's own, whatever the speed of the machine.
"""

import json
import os
import queue
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faulty_server import faulty_server, undisturbed

import dspy_gepa
from dspy_gepa import load_run
from dspy_gepa.testing.witness import outcome

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are told apart by signals")

ROOT = Path(dspy_gepa.__file__).parents[1]
TESTS = Path(__file__).parents[1]
PLACES = [ROOT, *(TESTS / part for part in ("", "program", "faults"))]

NURSERY = """
import json, os, sys
from faulty_server import FaultyServer, Job

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)
        job = Job(FaultyServer(port=asked["port"]))
        job.run(num_threads=asked["threads"], log_dir=asked["log_dir"])
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Forks runs, one at a time, from a process that has imported everything and does nothing else."""


@pytest.fixture(scope="module")
def nursery():
    """One for all tests, because a fresh start takes seconds."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PLACES))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
        yield process
        process.stdin.close()


@pytest.mark.parametrize(
    ("threads", "kills"),
    [(1, (1, 2, 12, 13, 40)), (8, (3, 14, 15, 40))],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_run_ends_as_the_undisturbed_one(tmp_path, nursery, threads, kills, moment):
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
        asked = {"port": server.port, "threads": threads, "log_dir": str(tmp_path)}
        lives, status = 0, -1
        while status:
            assert lives <= len(kills)
            print(json.dumps(asked), file=nursery.stdin, flush=True)
            while not children.empty():
                children.get()
            children.put(int(nursery.stdout.readline()))
            status = int(nursery.stdout.readline())
            assert status in (0, signal.SIGKILL)
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

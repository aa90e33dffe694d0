"""Code that does not end, in processes of their own: it is ended, with all that it began."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_anything_hostile import DAEMON
from test_anything_isolation import is_alive, isolated, rollout, timed_by

from dspy_gepa import log

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

SLEEPING = "import time; here(); time.sleep(600)"
IGNORING = """
import signal, time
for n in range(1, 32):
    try:
        signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
here()
while True:
    time.sleep(1)
"""
BOMB = """
import os, time
for _ in range(6):
    os.fork()
here("bomb")
while True:
    time.sleep(1)
"""
TALKING = """
import multiprocessing, subprocess, sys, threading, time
def say(word):
    log("log of", word)
    print("print of", word, flush=True)
say("itself")
thread = threading.Thread(target=say, args=("thread",)); thread.start(); thread.join()
child = multiprocessing.get_context("fork").Process(target=say, args=("fork",))
child.start(); child.join()
subprocess.run([sys.executable, "-S", "-c", "print('print of program')"])
print("to stderr", file=sys.stderr)
here()
time.sleep(600)
"""


class Endless:
    """What came of code that does not end, side by side with code that does.

    Its time is up when all of it is there: `here`, which it calls, leaves a mark of the process."""

    def __init__(self, folder):
        marks, daemon, over = (folder / name for name in ("marks", "daemon", "over"))
        marks.mkdir()

        def evaluate(artifact):
            def here(name="single"):
                (marks / f"{name} {os.getpid()}").touch()

            names = {"log": log, "here": here}
            exec(artifact, names)
            return names["score"]

        programs = {
            "busy": "here()\nwhile True: pass",
            "sleeping": SLEEPING,
            "ignoring": IGNORING,
            "stopped": "import os, signal; here(); os.kill(os.getpid(), signal.SIGSTOP)",
            "bomb": BOMB,
            "talking": TALKING,
            "daemon": DAEMON.format(path=str(daemon), then=SLEEPING),
            "quick": "score = 1",
            "quicker": "score = 2",
        }
        with (
            timed_by(over.exists),
            isolated(evaluate, timeout_seconds=0.1) as process,
            ThreadPoolExecutor(len(programs)) as threads,
        ):
            asked = {name: threads.submit(rollout, process, programs[name]) for name in programs}
            deadline = time.monotonic() + 600
            for name in ("quick", "quicker"):
                asked[name].result()
            while len(list(marks.iterdir())) < 6 + 64 and time.monotonic() < deadline:
                time.sleep(0.01)
            over.touch()
            self.found = {name: each.result() for name, each in asked.items()}
            self.next = rollout(process, "score = 5")
            self.bomb, self.daemon = (
                {int(pid): is_alive(int(pid)) for pid in pids}
                for pids in (
                    [mark.name.split()[1] for mark in marks.glob("bomb *")],
                    daemon.read_text().split(),
                )
            )


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """All of it at once, as it would be in a run."""
    return Endless(tmp_path_factory.mktemp("endless"))


def test_what_does_not_end_is_ended(endless):
    """It is its own failure: others at the same time have their own time, and so has the next."""
    failures = {name for name, found in endless.found.items() if found.failure}
    assert failures == endless.found.keys() - {"quick", "quicker"}
    assert all("longer than 0.1 seconds" in endless.found[name].failure for name in failures)
    assert [endless.found[name].score for name in ("quick", "quicker")] == [1, 2]
    assert endless.next.score == 5


def test_a_fork_bomb_ends_with_its_time(endless):
    """However many there are by then: a tree of processes that goes on forking, up to a limit."""
    assert len(endless.bomb) == 64
    assert not any(endless.bomb.values())


def test_a_daemon_ends_with_what_does_not_end(endless):
    """Forked twice, in a session of its own and given to nobody."""
    assert list(endless.daemon.values()) == [False]


def test_what_is_printed_and_logged_is_told_also_of_a_failure(endless):
    """By threads, forked processes and other programs too; with the failure, and in its text."""
    found = endless.found["talking"]
    logged, printed = found.feedback.split("Printed:")
    assert [word in logged for word in ("of itself", "of thread", "of fork")] == [True] * 3
    printed, errors = printed.split("Printed to stderr:")
    words = ("of itself", "of thread", "of fork", "of program")
    assert [word in printed for word in words] == [True] * 4
    assert "to stderr" in errors

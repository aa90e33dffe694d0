"""Code that means harm, in a process of its own: its own failure at most, and the run goes on."""

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_anything_isolation import ask, execute, is_alive, isolated, rollout

from dspy_gepa.core.work import RolloutAnswer

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

GARBAGE = """
import os
for number in map(int, os.listdir("/proc/self/fd")):
    try:
        if number > 2 and os.readlink(f"/proc/self/fd/{{number}}") not in known:
            os.write(number, {garbage!r})
    except OSError:
        pass
score = 1
"""
GROUP = "import os, time; os.killpg(os.getpgid(os.getppid()), {signal}); time.sleep(30)"
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({path!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
os.wait()
while not os.path.exists({path!r}) or not open({path!r}).read():
    time.sleep(0.01)
{then}
"""
NESTED = """
import sys
sys.setrecursionlimit(10**6)
x = []
for _ in range(10**5):
    x = [x]
repr(x)
"""
ENDLESS = (
    "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); score = 1"
)
UNREADABLE = "no answer that can be read"
WATCHER = "watched it was ended"


@pytest.mark.parametrize(
    ("artifact", "score", "failure"),
    [
        # Streams that are closed in several ways, and a score all the same.
        ("import sys; sys.stdout.close(); sys.stderr.close(); score = 1", 1, ""),
        ("import sys; sys.stdout = sys.stderr = None; score = 1", 1, ""),
        ("import sys; sys.stdout = open('/dev/full', 'w'); print('x'); score = 1", 1, ""),
        ("import os; os.closerange(3, 256); score = 1", None, "ended itself|without an answer"),
        # What is no answer, in the place of one or around it.
        (GARBAGE.format(garbage=b"no answer"), None, UNREADABLE),
        (GARBAGE.format(garbage=b"[1]"), None, UNREADABLE),
        (GARBAGE.format(garbage=b"\xff\x00"), None, UNREADABLE),
        (GARBAGE.format(garbage=b'{"setback": 1}') + "os._exit(0)", None, UNREADABLE),
        (GARBAGE.format(garbage=b"[" * 50_000) + "os._exit(0)", None, UNREADABLE),
        # What is patched: the way out, the way to write, and how errors are told.
        ("import json; json.dumps = lambda *a, **k: '{}'; score = 1", 1, ""),
        ("import os; os._exit = os.write = lambda *a: None; score = 1", 1, ""),
        (
            "import os, sys; os._exit = sys.excepthook = 0; raise BaseException",
            None,
            "status 1",
        ),
        ("import sys; sys.stderr = 0; raise KeyboardInterrupt", None, "status 1"),
        # Errors that `except Exception` does not see.
        ("class Own(BaseException): pass\nraise Own('x')", None, "status 1"),
        ("import asyncio; raise asyncio.CancelledError", None, "it raised CancelledError"),
        # Deep recursion, in Python and in C.
        (NESTED, None, "RecursionError|signal 11"),
        ("import sys; sys.setrecursionlimit(120); score = 1", ..., ""),
        # What never ends of itself.
        (ENDLESS, 1, ""),
        ("import atexit, time; atexit.register(time.sleep, 600); score = 1", 1, ""),
        # The group of the process that watches it.
        (GROUP.format(signal=9), None, WATCHER),
        (GROUP.format(signal=15), None, WATCHER),
    ],
)
def test_hostile_code_is_its_own_failure(artifact, score, failure):
    """The failure says what happened, or the score is there all the same; the next evaluation is
    carried out."""
    # Not what was open here before: that is the terminal and files of the tests themselves.
    known = [str(e.readlink()) for e in Path("/proc/self/fd").iterdir() if e.is_symlink()]
    with isolated(memory_mb=2000) as process:
        found = rollout(process, f"known = {known!r}\n{artifact}")
        if score is not ...:
            assert found.score == (float("-inf") if score is None else score)
            assert bool(found.failure) == (score is None)
        assert re.search(failure, found.failure), found.failure
        assert rollout(process, "score = 5").score == 5


@pytest.mark.parametrize("then", ["score = 1", "raise ValueError", "os._exit(0)", "os.abort()"])
def test_a_daemon_of_its_own_session_ends_with_it(tmp_path, then):
    """Forked twice, in a session of its own and given to nobody."""
    path = tmp_path / "pid"
    with isolated() as process:
        rollout(process, DAEMON.format(path=str(path), then=then))
        assert not is_alive(int(path.read_text()))
        assert rollout(process, "score = 5").score == 5


def test_other_evaluations_live_on_where_one_ends_its_parents_group():
    """Each is watched by a process in a group of its own."""
    with isolated() as process, ThreadPoolExecutor(2) as threads:
        slow = threads.submit(ask, process, "import time; time.sleep(1.5); score = 3")
        time.sleep(0.3)
        assert "watched it was ended" in rollout(process, GROUP.format(signal=9)).failure
        answer = slow.result()
    assert isinstance(answer, RolloutAnswer)
    assert answer.rollout.score == 3


def test_files_in_the_temporary_folder_are_no_answer(tmp_path):
    """Many files and large ones change nothing of what is said."""
    program = f"""
import tempfile
tempfile.tempdir = {str(tmp_path)!r}
for n in range(300):
    file = tempfile.NamedTemporaryFile(delete=False)
    file.write(b"x" * 10_000)
    file.close()
score = 2
"""
    with isolated() as process:
        assert rollout(process, program).score == 2
        assert len(list(Path(tmp_path).iterdir())) == 300


def test_a_changed_interpreter_is_that_evaluations_own():
    """What is patched in one process is as it was in the next, and here."""
    program = "import json, os; json.loads = os.getpid = None; score = 1"
    with isolated(execute) as process:
        assert rollout(process, program).score == 1
        assert rollout(process, "import os; score = os.getpid() > 0").score == 1
    assert os.getpid() > 0

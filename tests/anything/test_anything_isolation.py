"""Code that a model wrote, in a process of its own: whatever it does, the run goes on."""

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from dspy_gepa import log
from dspy_gepa.artifact.evaluation import EvaluationSettings, LocalEvaluation
from dspy_gepa.artifact.evaluator import Evaluator
from dspy_gepa.artifact.isolated import IsolatedEvaluation
from dspy_gepa.artifact.isolation.limits import ProcessLimits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.work import RequestFailure, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import MetricError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def execute(artifact):
    """What users do who optimize code: it is run as it stands."""
    names = {"log": log}
    exec(artifact, names)
    return names.get("score", 0.0), names.get("said")


@contextlib.contextmanager
def isolated(evaluate=execute, **limits):
    evaluator = Evaluator(evaluate, takes_example=False, is_lone=True)
    evaluation = LocalEvaluation(evaluator, [None], EvaluationSettings())
    given = {"timeout_seconds": 600.0, "captures": True, **limits}
    process = IsolatedEvaluation(evaluation, ProcessLimits(**given))
    try:
        yield process
    finally:
        process.close()


@contextlib.contextmanager
def timed_by(clock):
    """The time of evaluations in processes is told by this clock, and not by the machine's.

    It is looked at in other processes, so it has to look at something outside, such as a file."""
    with patch("dspy_gepa.artifact.isolation.supervisor.time", SimpleNamespace(monotonic=clock)):
        yield


def ask(process, artifact, *, must_score=False):
    request = RolloutRequest(Candidate.of({"artifact": artifact}), 0, traced=True)
    return process(request, must_score=must_score)


def rollout(process, artifact):
    answer = ask(process, artifact)
    assert isinstance(answer, RolloutAnswer), answer
    return answer.rollout


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize(
    ("artifact", "limits", "failure"),
    [
        ("import sys; sys.exit(3)", {}, r"sys.exit\(3\)"),
        ("import os; os._exit(3)", {}, "ended itself with status 3"),
        ("import os; os._exit(0)", {}, "without an answer"),
        ("raise KeyboardInterrupt", {}, "ended itself with status 1"),
        ("raise GeneratorExit", {}, "GeneratorExit"),
        ("import ctypes; ctypes.string_at(0)", {}, "signal 11"),
        ("import os; os.kill(os.getpid(), 9)", {}, "signal 9"),
        ("import os; os.kill(os.getppid(), 9)", {}, "watched it was ended"),
        ("x = [0] * (3 * 2**27)", {"memory_mb": 300}, "MemoryError"),
        ("x = []\nwhile True: x.append(bytearray(2**20))", {"memory_mb": 300}, "MemoryError"),
        ("1 / 0", {}, "ZeroDivisionError"),
        ("def f(:", {}, r"(?s)SyntaxError.*def f\(:"),
        ("f = lambda: f()\nf()", {}, "RecursionError"),
        ("score = float('nan')", {}, "MetricError"),
        ("import os\nos.close(0); os.close(1); os.close(2); score = 1", {}, ""),
    ],
)  # fmt: skip
def test_what_code_does_to_itself_is_its_own_failure(artifact, limits, failure):
    """The failure says what happened, and the next evaluation is carried out."""
    with isolated(**limits) as process:
        found = rollout(process, artifact)
        assert (found.score == float("-inf")) == bool(failure)
        assert re.search(failure, found.failure), found.failure
        assert rollout(process, "score = 5").score == 5


def test_what_a_process_began_ends_with_it(tmp_path):
    """Children and grandchildren, also those that left its group or were orphaned."""
    program = f"""
import os, subprocess, sys, time
sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
pids = [subprocess.Popen(sleeper).pid, subprocess.Popen(sleeper, start_new_session=True).pid]
for leaves in (False, True):
    reading, writing = os.pipe()
    if os.fork() == 0:
        if leaves:
            os.setsid()
        if (pid := os.fork()) == 0:
            time.sleep(600)
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.wait()
    pids.append(int(os.read(reading, 20)))
open({str(tmp_path / "pids")!r}, "w").write(" ".join(map(str, pids)))
score = 1
"""
    with isolated() as process:
        assert rollout(process, program).score == 1
        began = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert len(began) == 4
        assert [pid for pid in began if is_alive(pid)] == []


def test_a_fork_bomb_ends_with_its_number(tmp_path):
    """Long before its time, also where every process leaves the group of the one before it."""
    path = tmp_path / "pids"
    program = f"""
import os, time
for _ in range(9):
    os.fork()
    os.setsid() if os.getpid() != os.getsid(0) else None
    with open({str(path)!r}, "a") as file:
        file.write(f"{{os.getpid()}} ")
    time.sleep(0.1)
while True:
    time.sleep(1)
"""
    with isolated(max_processes=16) as process:
        assert rollout(process, program).failure == "it had more than 16 processes at once"
        began = {int(pid) for pid in path.read_text().split()}
        assert [pid for pid in began if is_alive(pid)] == []
        assert rollout(process, "score = 5").score == 5


def test_processes_that_have_ended_count_for_nothing():
    """Many that were begun one after the other, waited for or not, are no fork bomb."""
    program = """
import os, time
for n in range(40):
    if not (pid := os.fork()):
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # only until it has ended
time.sleep(0.5)
score = 1
"""
    with isolated(max_processes=8) as process:
        assert rollout(process, program).score == 1


def test_a_million_lines_are_cut_to_their_beginning_and_end():
    """What is printed is read all the time, so that nobody waits, and little of it is kept."""
    with isolated() as process:
        found = rollout(process, "for i in range(1_000_000): print('line', i)\nscore = 2")
    assert found.score == 2
    assert "line 0\n" in found.feedback
    assert "line 999999" in found.feedback
    assert "characters left out" in found.feedback
    assert len(found.feedback) < 30_000


def test_prints_are_left_alone_unless_they_are_asked_for(capfd):
    """Then they go where the run's own go, and what is logged is told all the same."""
    with isolated(captures=False) as process:
        found = rollout(process, "print('hello'); log('noted'); score = 1")
    assert found.feedback == "Log:\nnoted"
    assert "hello" in capfd.readouterr().out


def test_nothing_of_an_artifact_runs_where_its_answer_is_read(tmp_path):
    """An object with code of its own in its pickle, or in its text, comes back as text."""
    program = f"""
import os
class Trap:
    def __reduce__(self):
        return (open, ({str(tmp_path / "trap")!r}, "w"))
    def __str__(self):
        return f"trap of {{os.getpid()}}"
    __repr__ = __str__
score, said = 1, {{"trap": Trap()}}
"""
    with isolated() as process:
        found = rollout(process, program)
    assert "trap of" in found.feedback
    assert f"trap of {os.getpid()}" not in found.feedback
    assert not (tmp_path / "trap").exists()


def test_closures_and_what_they_hold_are_there():
    """Nothing has to be sent: a lock, a lambda, an open file are the evaluator's as they were."""
    held, lock = {"weight": 3}, threading.Lock()

    def evaluate(artifact):
        with lock:
            return len(artifact) * held["weight"]

    with isolated(evaluate) as process:
        held["weight"] = 100  # what it was when the run began counts
        assert rollout(process, "abc").score == 9


def test_many_evaluations_run_at_once():
    """They do not wait for each other, and each gets its own answer."""
    with isolated() as process, ThreadPoolExecutor(8) as threads:
        programs = [f"import time; time.sleep(0.3); log({n}); score = {n}" for n in range(24)]
        found = list(threads.map(lambda program: rollout(process, program), programs))
    assert [one.score for one in found] == list(range(24))
    assert [one.feedback for one in found] == [f"Log:\n{n}" for n in range(24)]


def test_no_score_is_an_error_where_it_has_to_be_one():
    """It comes out of the process as what it is."""
    with isolated() as process:
        answer = ask(process, "score = 'high'", must_score=True)
    assert isinstance(answer, RequestFailure)
    assert isinstance(answer.error, MetricError)
    assert "'high'" in answer.cause


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_without_a_server_the_work_cannot_be_done():
    """That is no failure of the artifact's, and leaves no socket open."""
    with isolated() as process:
        os.kill(process._server._pid, signal.SIGKILL)
        os.waitpid(process._server._pid, 0)
        answer = ask(process, "score = 1")
    assert isinstance(answer, RequestFailure)
    assert answer.is_lasting


def test_the_limit_of_memory_is_beside_what_is_there():
    """An evaluator with a lot in memory already has as much as one with little."""
    ballast = bytearray(400 * 2**20)
    with isolated(memory_mb=200) as process:
        assert rollout(process, "x = bytearray(120 * 2**20); score = 1").score == 1
        assert "MemoryError" in rollout(process, "x = bytearray(300 * 2**20)").failure
    assert ballast


def test_nothing_stays_open():
    """A run of many evaluations needs no more file descriptors than one of few."""
    with isolated() as process:
        rollout(process, "score = 1")
        before = descriptors("self")
        server = process._server._pid
        theirs = descriptors(server)
        for _ in range(10):
            rollout(process, "score = 1")
        assert descriptors("self") <= before
        assert descriptors(server) <= theirs  # it may have closed one of the first only now
    assert not is_alive(server)


def test_whoever_asks_and_is_killed_leaves_nothing_behind(tmp_path, warm_python):
    """The server, its supervisors and what they watch end by themselves."""
    path = tmp_path / "pid"
    program = f"""
from test_anything_isolation import isolated, rollout
with isolated() as process:
    rollout(process, '''
import os, time
open({str(path)!r} + ".new", "w").write(f"{{os.getpid()}} {{os.getppid()}}")
os.rename({str(path)!r} + ".new", {str(path)!r})
time.sleep(600)
''')
"""
    run = warm_python.begin(program)
    deadline = time.monotonic() + 600
    while not path.exists() and time.monotonic() < deadline:
        assert is_alive(run.pid)
        time.sleep(0.05)
    watched = [int(pid) for pid in path.read_text().split()]
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    while any(map(is_alive, watched)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in watched if is_alive(pid)] == []


def test_multiprocessing_works_within():
    """A pool of the artifact's own is its own business."""
    assert multiprocessing.current_process().name == "MainProcess"
    program = """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    score = sum(pool.map(len, ["a", "bb", "ccc"]))
"""
    with isolated() as process:
        assert rollout(process, program).score == 6

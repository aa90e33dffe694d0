"""What survives the process: real kills, two writers, a full disk.

How many are killed is set by the profile of the suite.
"""

import contextlib
import os
import random
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.store.run_dir import read_run
from dspy_gepa.testing.witness import outcome
from dspy_gepa.testing.worlds import RuleWorld

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are told apart by signals")

KILLS = 200 if os.environ.get("DSPY_GEPA_TESTS") == "thorough" else 20
SETTINGS = {
    "train": tuple(range(6)),
    "validation": tuple(range(4, 12)),
    "limits": Limits(metric_calls=160),
    "window": 3,
}

LIFE = """
import os, socket
import resource, shutil, sys
from dataclasses import dataclass
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.events import RolledOut
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import RolloutRequest
from dspy_gepa.errors import JournalError
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.store.manifest import Manifest
from dspy_gepa.store.run_dir import RunDir, read_run
from dspy_gepa.testing.worlds import RuleWorld

def manifest(world, settings):
    examples = tuple(f"digest{i}" for i in range(12))
    return Manifest(candidate=world.student, examples=examples, train=settings.train,
                    validation=settings.validation, seed=settings.seed,
                    first=settings.first_examples,
                    limits={"metric_calls": settings.limits.metric_calls})

parent = socket.socket(socket.AF_UNIX)
parent.connect(sys.argv[1])
"""
"""How each child begins: with what it needs, and a line to this process."""

RUN = """
settings = Settings(**{settings!r}, seed={seed})
world = RuleWorld(names=("a", "b"), seed={seed})
side_log = os.open({side_log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def worker(request):
    if isinstance(request, RolloutRequest):
        key = request.key
        os.write(side_log, f"{{key.candidate}} {{key.example}}\\n".encode())
        parent.recv(1)  # waits until it may be answered
    return world(request)

def listen(event, state):
    if isinstance(event, RolledOut):
        parent.sendall(b"j")

threads = {threads}
executor = SerialExecutor(worker) if threads == 1 else ThreadedExecutor(worker, threads)
with RunDir({path!r}, manifest(world, settings)) as directory:
    state = directory.resumed(settings)
    run_loop(state, executor, [directory.journal, listen])
parent.sendall(b"e")
"""


class Nursery:
    """Begins children, and hands out a line to each."""

    def __init__(self, warm_python, address):
        self._warm_python, self._address = warm_python, address
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(address)
        self._listening.listen()
        self._listening.settimeout(600)

    def child(self, code):
        """A new child that runs this, and the line to it."""
        running = self._warm_python.begin(LIFE + code, self._address)
        line, _ = self._listening.accept()
        line.settimeout(600)
        return running, line

    def close(self):
        """No more are begun."""
        self._listening.close()


@pytest.fixture(scope="module")
def nursery(warm_python):
    """One nursery for all tests."""
    # Not pytest's own directory, whose name is too long for an address.
    with tempfile.TemporaryDirectory() as folder:
        made = Nursery(warm_python, str(Path(folder) / "line"))
        yield made
        made.close()


def killed(running):
    """Kill a child, and wait until its end has come and what it locked is free."""
    os.kill(running.pid, signal.SIGKILL)
    running.wait()


def said(line):
    """Everything that a child says until it ends."""
    words = b""
    while word := line.recv(10_000):
        words += word
    line.close()
    return words.decode()


def life(nursery, code, threads, answers, spins):
    """One life of a run: killed after so many answers and a little later, unless it ends before.

    Returns whether it ended. At any time at most `threads` answers have not been written down.
    """
    child, line = nursery.child(code)

    def permit(count):
        with contextlib.suppress(ConnectionError):  # it has ended, and its last words are here
            line.sendall(b"." * count)

    with line:
        permit(threads)
        while word := line.recv(1):
            if word == b"e":
                return True
            answers -= 1
            permit(1)
            if answers <= 0:
                for _ in range(spins):
                    pass
                killed(child)
                # What it said before is still here.
                with contextlib.suppress(ConnectionError):
                    return "e" in said(line)
                return False
    raise AssertionError("the child ended before its run")


@pytest.mark.parametrize("threads", [1, 4])
def test_killed_runs_end_as_if_they_had_not_been(tmp_path, nursery, threads):
    """Killed at random moments and started again until it ends, a run is the one that was never
    killed, and of each life at most the rollouts in flight are paid for again."""
    chance = random.Random(threads)
    kills, seed = 0, 0
    while kills < KILLS // 2:
        seed += 1
        path, side_log = tmp_path / f"run{seed}", tmp_path / f"log{seed}"
        code = RUN.format(
            settings=SETTINGS, seed=seed, path=str(path), side_log=str(side_log), threads=threads
        )
        lives = 1
        while not life(nursery, code, threads, chance.randint(1, 40), chance.randrange(60_000)):
            lives += 1
            kills += 1
        world = RuleWorld(names=("a", "b"), seed=seed)
        settings = Settings(**SETTINGS, seed=seed)
        expected = run_loop(start(settings, world.student), SerialExecutor(world)).state
        found = read_run(path).state
        assert outcome(found) == outcome(expected)
        begun = [line.split() for line in side_log.read_text().splitlines()]
        paid = {RolloutKey(candidate, int(example)) for candidate, example in begun}
        assert paid == set(found.known)
        again = len(begun) - len(paid)
        # With threads: one in each, and as many that were answered and not taken up yet.
        assert again <= (lives - 1) * (1 if threads == 1 else 2 * threads)
    assert kills >= KILLS // 2


def holding(path, meanwhile="pass"):
    """A life that does nothing but write to this directory, and this first."""
    return f"""
path = {str(path)!r}
world = RuleWorld(names=("a", "b"))
settings = Settings(**{SETTINGS!r})
try:
    with RunDir(path, manifest(world, settings)):
        {meanwhile}
        parent.sendall(b"holds")
        parent.recv(1)
except JournalError as error:
    parent.sendall(str(error).encode())
"""


@pytest.mark.parametrize("meanwhile", ["pass", "shutil.copytree(path, path + ' copy')"])
def test_a_second_process_is_told_who_writes(tmp_path, nursery, meanwhile):
    """Two writers do not share a directory, also when the first one has read it; the first is
    named, and is not disturbed. When it is killed the directory is free at once."""
    path = tmp_path / "run"
    first, line = nursery.child(holding(path, meanwhile))
    assert line.recv(5) == b"holds"
    _, other_line = nursery.child(holding(path))
    assert f"in use by process {first.pid} on" in said(other_line)
    killed(first)
    assert said(line) == ""
    _, other_line = nursery.child(holding(path))
    assert other_line.recv(5) == b"holds"
    other_line.close()


FORKED = """
        if not os.fork():
            try:
                RunDir(path, manifest(world, settings))
            except JournalError as error:
                parent.sendall(str(error).encode())
            parent.recv(1)
            os._exit(0)
"""


def test_what_a_run_has_forked_holds_nothing(tmp_path, nursery):
    """Its child neither owns the directory nor gives it away; when the run is killed the directory
    is free, although the child lives on."""
    first, line = nursery.child(holding(tmp_path, FORKED.strip()))
    told = b""
    while b"holds" not in told or b"another log_dir" not in told:
        told += line.recv(10_000)
    assert f"in use by process {first.pid} on".encode() in told
    _, other_line = nursery.child(holding(tmp_path))
    assert f"in use by process {first.pid} on" in said(other_line)
    killed(first)
    second, second_line = nursery.child(holding(tmp_path))
    assert second_line.recv(5) == b"holds"
    _, other_line = nursery.child(holding(tmp_path))
    assert f"in use by process {second.pid} on" in said(other_line)
    line.shutdown(socket.SHUT_WR)
    assert said(line) == ""
    second_line.close()


@pytest.mark.parametrize("room", [40, 5_000, 30_000])
def test_a_full_disk_ends_a_run_that_can_be_carried_on(tmp_path, nursery, room):
    """Where a file cannot grow any more the run ends with an error that says so; what was written
    is whole, and with room again the run ends as if nothing had happened."""
    code = f"""
world = RuleWorld(names=("a", "b"))
settings = Settings(**{SETTINGS!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (%d, resource.RLIM_INFINITY))
try:
    with RunDir({str(tmp_path)!r}, manifest(world, settings)) as directory:
        state = directory.resumed(settings)
        run_loop(state, SerialExecutor(world), [directory.journal])
    parent.sendall(b"ended")
except JournalError as error:
    parent.sendall(str(error).encode())
"""
    _, line = nursery.child(code % room)
    assert "File too large. Check that the disk has room" in said(line)
    if room > 40:
        assert read_run(tmp_path).events
        assert (tmp_path / "events.jsonl").read_bytes().endswith(b"}\n")
    _, line = nursery.child(code % 10_000_000)
    assert said(line) == "ended"
    world = RuleWorld(names=("a", "b"))
    expected = run_loop(start(Settings(**SETTINGS), world.student), SerialExecutor(world)).state
    assert outcome(read_run(tmp_path).state) == outcome(expected)


def test_who_may_not_write_can_still_read(nursery):
    """For a user without the right to write, a run is an error that names the file and says what
    to do, and nothing is changed; the run that is stored there can be read."""
    # Not pytest's own directory, which no other user may enter.
    with tempfile.TemporaryDirectory() as made:
        code = f"""
world = RuleWorld(names=("a", "b"))
settings = Settings(**{SETTINGS!r})
with RunDir({made!r}, manifest(world, settings)) as directory:
    state = directory.resumed(settings)
    run_loop(state, SerialExecutor(world), [directory.journal])
for root, folders, files in os.walk({made!r}):
    os.chmod(root, 0o555)
    for file in files:
        os.chmod(os.path.join(root, file), 0o444)
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)  # root could write anywhere
try:
    RunDir({made!r}, manifest(world, settings))
except JournalError as error:
    parent.sendall(str(error).encode())
parent.sendall(f" {{len(read_run({made!r}).events)}} events".encode())
"""
        _, line = nursery.child(code)
        words = said(line)
        assert "run.lock cannot be opened for writing: Permission denied" in words
        assert words.endswith(f" {len(read_run(made).events)} events")
        Path(made).chmod(0o755)


def test_nothing_is_written_outside_of_the_directory(tmp_path, nursery):
    """A whole run opens for writing, renames and removes nothing elsewhere, and starts nothing."""
    code = f"""
path = {str(tmp_path / "run")!r}
seen = []

def watch(event, arguments):
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
    if event == "open" and arguments[2] & flags or event in (
        "os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    ):
        names = map(str, arguments[:2])
        seen.extend(name for name in names if name[:1] == "/" and not name.startswith(path))
    if event.startswith(("socket.connect", "socket.bind", "subprocess", "os.exec", "os.system")):
        seen.append(event)

sys.addaudithook(watch)
world = RuleWorld(names=("a", "b"))
settings = Settings(**{SETTINGS!r})
with RunDir(path, manifest(world, settings)) as directory:
    state = directory.resumed(settings)
    run_loop(state, SerialExecutor(world), [directory.journal])
    directory.write_text("best_program.json", "x" * 100_000)
parent.sendall(repr(seen).encode())
"""
    _, line = nursery.child(code)
    assert said(line) == "[]"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

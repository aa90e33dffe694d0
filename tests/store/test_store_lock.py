"""The lock: one writer at a time. Other processes' part is in tests/process."""

import os
import subprocess
import sys
import threading

import pytest
from warm_python import BARE

from dspy_gepa.errors import JournalError
from dspy_gepa.store import lock
from dspy_gepa.store.lock import Lock, is_held


def test_a_lock_is_held_until_it_is_closed(tmp_path):
    """Closing twice is no harm, also when another one holds it by then."""
    first = Lock(tmp_path / "run.lock")
    with pytest.raises(JournalError, match="in use by another run of this process"):
        Lock(tmp_path / "run.lock")
    first.close()
    second = Lock(tmp_path / "run.lock")
    first.close()
    with pytest.raises(JournalError, match="in use by another run of this process"):
        Lock(tmp_path / "run.lock")
    assert (tmp_path / "run.lock").read_text().startswith(f"process {os.getpid()} on ")
    second.close()
    second.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BlockingIOError(11, "busy"), "in use by another process. One run"),
        (OSError(37, "No locks available"), r"run\.lock cannot be locked: No locks available"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the system's lock has another name there")
def test_what_the_system_refuses_is_said(tmp_path, monkeypatch, error, said):
    """A lock that another process holds, and a file system that has none."""

    def refuse(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(lock.fcntl, "flock", refuse)
        with pytest.raises(JournalError, match=said):
            Lock(tmp_path / "run.lock")
    Lock(tmp_path / "run.lock").close()


def test_a_lock_is_seen_to_be_held_and_to_be_free(tmp_path):
    """By this process, also twice in a row, and where there is no file."""
    path = tmp_path / "run.lock"
    assert not is_held(path)
    assert not path.exists()
    held = Lock(path)
    assert is_held(path)
    assert is_held(path)
    held.close()
    assert not is_held(path)


_HOLDER = """
import sys
from pathlib import Path
from dspy_gepa.store.lock import Lock
held = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_lock_of_another_process_is_seen(tmp_path):
    """Until that process ends, also by a reader that may not write to the file."""
    path = tmp_path / "run.lock"
    command = [sys.executable, "-c", BARE + _HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"held"
        path.chmod(0o444)
        assert is_held(path)
        process.communicate(b"\n")
    assert not is_held(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_forked_process_has_none_of_the_locks(tmp_path):
    """They are its parent's; when that one is through, it may take them itself."""
    path = tmp_path / "run.lock"
    held = Lock(path)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.read(reading, 1)
            Lock(path).close()
            os._exit(0)
        finally:
            os._exit(1)
    held.close()
    os.write(writing, b"!")
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)
    os.close(writing)


@pytest.mark.skipif(os.name == "nt", reason="there no lock can be shared")
def test_those_who_look_do_not_see_each_other(tmp_path):
    """One that is looking at this moment is no run."""
    path = tmp_path / "run.lock"
    Lock(path).close()
    looking = os.open(path, os.O_RDONLY)
    lock.fcntl.flock(looking, lock.fcntl.LOCK_SH)
    assert not is_held(path)
    os.close(looking)


@pytest.mark.skipif(os.name == "nt", reason="there no lock can be shared")
def test_a_run_begins_while_others_look(tmp_path, monkeypatch):
    """It waits until they have looked, and is not told that another run is there."""
    path = tmp_path / "run.lock"
    Lock(path).close()
    looking = os.open(path, os.O_RDONLY)
    lock.fcntl.flock(looking, lock.fcntl.LOCK_SH)
    monkeypatch.setattr(lock.time, "sleep", lambda _: os.close(looking))
    held = Lock(path)
    assert is_held(path)
    held.close()


@pytest.mark.skipif(os.name == "nt", reason="there no lock can be shared")
def test_many_who_look_all_the_time_keep_no_run_from_beginning(tmp_path):
    """A page that is refreshed, say."""
    path, over = tmp_path / "run.lock", threading.Event()
    Lock(path).close()

    def look():
        while not over.is_set():
            is_held(path)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(50):
            Lock(path).close()
    finally:
        over.set()
        for reader in readers:
            reader.join()

"""The lock: one writer at a time. Other processes' part is in tests/process."""

import os

import pytest

from dspy_gepa.errors import JournalError
from dspy_gepa.store import lock
from dspy_gepa.store.lock import Lock


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

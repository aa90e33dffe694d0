"""The journal: lines, what is cut off, what is refused, what a failing disk leaves."""

import json
import os
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import recorded

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Advanced, Committed, Ended, Reflected, RolledOut
from dspy_gepa.core.proposal import Settled, Verdict
from dspy_gepa.core.rollout import Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.work import ReflectionAnswer
from dspy_gepa.errors import JournalCorrupt, JournalError, JournalMismatch
from dspy_gepa.store.blobs import LARGE, Blobs
from dspy_gepa.store.codec import FORMAT
from dspy_gepa.store.contents import Contents, StoredSession, read_journal
from dspy_gepa.store.journal import FLUSH_SECONDS, Journal
from dspy_gepa.store.redaction import Redactor
from dspy_gepa.values.media import Media, data_uri

EVENTS, _ = recorded()
ROLLED_OUT = RolledOut(RolloutKey("d1", 1), Rollout(0.5))
COMMITTED = Committed(1, Verdict("rejected", "no better"))


def opened(folder, **others):
    """The journal of a folder, ready to be written to."""
    redact = Redactor(others.pop("secrets", {}))
    blobs = Blobs(folder / "blobs")
    path = folder / "events.jsonl"
    return Journal(path, read_journal(path, blobs, redact), "print", blobs, redact, **others)


def read(folder, **secrets):
    """What stands in the journal of a folder, for who knows these secrets."""
    return read_journal(folder / "events.jsonl", Blobs(folder / "blobs"), Redactor(secrets))


def written(folder, events):
    """The lines of a journal with these events."""
    journal = opened(folder)
    for event in events:
        journal.append(event)
    journal.close()
    return (folder / "events.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The lines of a whole run's journal."""
    return written(tmp_path_factory.mktemp("run"), EVENTS)


def test_what_was_appended_is_read(tmp_path):
    """All events in order, over any number of openings."""
    for event in EVENTS:
        journal = opened(tmp_path)
        journal(event, None)
        journal.close()
    assert read(tmp_path).events == EVENTS
    assert read(tmp_path).fingerprint == "print"


def test_every_line_is_json(lines):
    """A header, then one line an event between those of the session, each with its time: any tool
    that knows JSON lines reads it."""
    header, opened, *events, closed = map(json.loads, lines)
    assert (header["journal"], header["format"], header["fingerprint"]) == (
        "dspy_gepa",
        FORMAT,
        "print",
    )
    assert len(events) == len(EVENTS)
    assert (opened["session"], closed["session"]) == ("opened", "closed")
    times = [line["at"] for line in (opened, *events, closed)]
    assert times == sorted(times)


def test_a_journal_that_is_not_there_is_empty(tmp_path):
    """So is a file without content."""
    assert read(tmp_path) == Contents()
    (tmp_path / "events.jsonl").touch()
    assert read(tmp_path) == Contents()


@given(st.data())
def test_a_torn_end_is_cut_off(tmp_path_factory, lines, data):
    """Whatever byte a file ends at, all whole lines are read, and writing goes on after them."""
    folder = tmp_path_factory.mktemp("torn")
    content = b"".join(lines)
    size = data.draw(st.integers(0, len(content)))
    zeros = data.draw(st.sampled_from((0, 1, 4096)))
    (folder / "events.jsonl").write_bytes(content[:size] + bytes(zeros))
    whole = max(0, content[:size].count(b"\n") - 2)
    assert read(folder).events == EVENTS[:whole]
    assert (folder / "events.jsonl").stat().st_size == size + zeros  # reading changes nothing
    journal = opened(folder)
    journal.append(COMMITTED)
    journal.close()
    assert read(folder).events == [*EVENTS[:whole], COMMITTED]


@given(st.data())
def test_a_changed_byte_is_named(tmp_path_factory, lines, data):
    """Any other byte anywhere before the last line is an error that names the line."""
    folder = tmp_path_factory.mktemp("changed")
    content = bytearray(b"".join(lines))
    place = data.draw(st.integers(0, len(content) - len(lines[-1]) - len(lines[-2]) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    number = bytes(content[:place]).count(b"\n") + 1
    (folder / "events.jsonl").write_bytes(bytes(content))
    with pytest.raises((JournalCorrupt, JournalMismatch)) as raised:
        read(folder)
    # Only the header's version is looked at before its seal.
    assert f"line {number} " in str(raised.value) or (number == 1 and "format" in str(raised.value))
    assert (folder / "events.jsonl").read_bytes() == bytes(content)


@pytest.mark.parametrize("change", ["removed", "doubled", "swapped"])
def test_lines_are_known_by_what_stands_before_them(tmp_path, lines, change):
    """Lines that are whole, but not in their place, are damage."""
    changed = {
        "removed": lines[:4] + lines[5:],
        "doubled": [*lines[:5], lines[4], *lines[5:]],
        "swapped": [*lines[:4], lines[5], lines[4], *lines[6:]],
    }[change]
    (tmp_path / "events.jsonl").write_bytes(b"".join(changed))
    with pytest.raises(JournalCorrupt, match=r"line \d+ is damaged"):
        read(tmp_path)


def test_a_file_of_somebody_else_is_not_touched(tmp_path):
    """What does not begin as a journal does is refused, not cut off."""
    (tmp_path / "events.jsonl").write_text("my notes")
    with pytest.raises(JournalCorrupt, match="line 1"):
        opened(tmp_path)
    assert (tmp_path / "events.jsonl").read_text() == "my notes"


def test_events_have_times_and_sessions(tmp_path):
    """What was appended when, by which version, and how often the run was carried on: a process
    that died has not closed its session, and one that only looked has none."""
    first = opened(tmp_path, version="1.0", now=lambda: 1000.0)
    first.append(COMMITTED)
    contents = read(tmp_path)
    assert contents.sessions == (StoredSession(1000.0, "1.0", 0),)
    first.close()
    opened(tmp_path, version="1.1", now=lambda: 1500.0).close()
    second = opened(tmp_path, version="1.2", now=iter([2000.0, 2000.5, 2001.0, 2001.0]).__next__)
    second.append(ROLLED_OUT)
    second.append(COMMITTED)
    second.close()
    contents = read(tmp_path)
    assert contents.times == [1000.0, 2000.5, 2001.0]
    assert contents.sessions == (
        StoredSession(1000.0, "1.0", 0, 1000.0),
        StoredSession(2000.0, "1.2", 1, 2001.0),
    )


def test_what_takes_the_place_of_other_events_came_when_it_came(tmp_path):
    """An answer that is only told anew keeps its time, and no time goes backwards."""
    journal = opened(tmp_path, now=iter([0.0, 1.0, 2.0, 3.0, 9.0, 9.0]).__next__)
    for event in (ROLLED_OUT, COMMITTED, Ended("stopped")):
        journal.append(event)
    journal.reopen(0, [ROLLED_OUT, COMMITTED])
    journal.close()
    assert read(tmp_path).times == [1.0, 1.0]


def test_a_journal_without_times_is_read(tmp_path):
    """Format 5 had neither times nor sessions; what it says holds, and may be carried on."""
    body = b'{"journal":"dspy_gepa","format":5,"fingerprint":"print"'
    line = body + b',"crc":"%08x"}\n' % zlib.crc32(body)
    (tmp_path / "events.jsonl").write_bytes(line)
    journal = opened(tmp_path)
    journal.append(COMMITTED)
    journal.close()
    contents = read(tmp_path)
    assert (contents.events, contents.fingerprint) == ([COMMITTED], "print")


@pytest.mark.parametrize("version", [0, 1, 99])
def test_another_version_is_refused_by_its_number(tmp_path, version):
    """Whatever its lines look like. Of an older one it is said what it lacks."""
    (tmp_path / "events.jsonl").write_text(f'{{"journal":"dspy_gepa","format":{version}}}\n?\n')
    with pytest.raises(JournalMismatch, match=f"format {version}, and .* reads") as refused:
        read(tmp_path)
    assert ("an older one lacks" in str(refused.value)) == (version < FORMAT)


def test_a_line_that_is_whole_but_no_event_is_named(tmp_path):
    """A missing blob is damage of the line that points to it."""
    folder = tmp_path
    written(folder, [COMMITTED, Ended("x" * LARGE), COMMITTED])
    (blob,) = (folder / "blobs").iterdir()
    blob.unlink()
    with pytest.raises(JournalCorrupt, match=r"events\.jsonl, line 4: .* is missing"):
        read(folder)


def test_media_lies_beside_the_journal(tmp_path):
    """A short event too is written without encoded content, and comes back whole."""
    image = Media("image", data_uri("image/png", b"pixels"))
    trace = Trace({"page": image}, {"seen": [image]}, (Step("a", {"page": image}, {}),))
    rollout = Rollout(0.5, attachments={"page": image}, trace=trace, output=image)
    (*_, line, _) = written(tmp_path, [RolledOut(RolloutKey("d1", 1), rollout)])
    assert b"base64" not in line
    (event,) = read(tmp_path).events
    found = event.rollout
    assert (found.attachments, found.trace, found.output) == ({"page": image}, trace, image)


def test_large_events_come_back(tmp_path):
    """A line stays short, whatever is in its event; a reopening too."""
    large = RolledOut(RolloutKey("d1", 1), Rollout(0.5, "f" * 1_000_000, output=["o" * LARGE] * 9))
    lines = written(tmp_path, [large, large])
    assert max(map(len, lines)) < 2000
    journal = opened(tmp_path)
    journal.reopen(1, [large, COMMITTED])
    journal.close()
    found = read(tmp_path).events
    assert found == [large, large, COMMITTED]
    assert found[1].rollout.output == large.rollout.output


def test_what_was_taken_back_is_not_read(tmp_path):
    """A reopening replaces the events from a number on; it can be followed and be reopened."""
    journal = opened(tmp_path)
    for event in (ROLLED_OUT, Ended("one"), COMMITTED):
        journal.append(event)
    journal.reopen(1, [COMMITTED])
    journal.append(Ended("two"))
    journal.reopen(2, [])
    journal.append(Ended("three"))
    journal.close()
    assert read(tmp_path).events == [ROLLED_OUT, COMMITTED, Ended("three")]


class Disk:
    """A clock that moves on as it is told, and a count of the flushes of a file."""

    def __init__(self, monkeypatch):
        self.seconds = 0.0
        self.flush_seconds = 0.0
        self.flushes = 0
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.flush)

    def clock(self):
        return self.seconds

    def flush(self, descriptor):
        self.flushes += 1
        self.seconds += self.flush_seconds
        self._fsync(descriptor)


def test_everything_but_rollouts_is_flushed_at_once(tmp_path, monkeypatch):
    """A commit, a reflection and an end are on the disk when `append` returns."""
    disk = Disk(monkeypatch)
    journal = opened(tmp_path, clock=disk.clock)
    for event in (COMMITTED, Reflected(ReflectionAnswer(1)), Ended("enough")):
        before = disk.flushes
        journal.append(event)
        assert disk.flushes == before + 1


@pytest.mark.parametrize("flush_seconds", [0.0, 0.004, 0.5])
def test_flushing_rollouts_takes_a_small_share_of_the_time(tmp_path, monkeypatch, flush_seconds):
    """Rollouts that come fast are flushed together; what is not on the disk yet was answered
    shortly after the last flush. On a slow disk it is flushed a twentieth of the time."""
    disk = Disk(monkeypatch)
    disk.flush_seconds = flush_seconds
    journal = opened(tmp_path, clock=disk.clock)
    flushed = [disk.seconds]
    for _ in range(3000):
        disk.seconds += 0.01
        before = disk.flushes
        journal.append(ROLLED_OUT)
        if disk.flushes > before:
            flushed.append(disk.seconds)
    pause_seconds = max(FLUSH_SECONDS, 20 * flush_seconds)
    gaps = [b - a - flush_seconds for a, b in pairwise(flushed)]
    assert gaps
    assert all(pause_seconds - 1e-6 <= gap <= pause_seconds + 0.02 for gap in gaps[1:])


def test_a_rollout_that_comes_late_is_flushed_at_once(tmp_path, monkeypatch):
    """Where rollouts take long, each is on the disk before the next one is waited for."""
    disk = Disk(monkeypatch)
    journal = opened(tmp_path, clock=disk.clock)
    for _ in range(5):
        disk.seconds += FLUSH_SECONDS
        before = disk.flushes
        journal.append(ROLLED_OUT)
        assert disk.flushes == before + 1


@pytest.mark.parametrize("accepted", [0, 1, 30])
def test_a_full_disk_leaves_a_readable_journal(tmp_path, monkeypatch, accepted):
    """An event that the disk takes only in part is taken back, the error says why, and nothing
    more is accepted, because it would follow an event that is missing."""
    journal = opened(tmp_path)
    journal.append(COMMITTED)
    write = os.write
    left = [accepted]

    def write_some(descriptor, content):
        taken = bytes(content)[: left[0]]
        if not taken:
            raise OSError(28, "No space left on device")
        left[0] -= len(taken)
        return write(descriptor, taken)

    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(JournalError, match=r"events\.jsonl takes no more: No space left"):
        journal.append(ROLLED_OUT)
    monkeypatch.undo()
    with pytest.raises(JournalError, match="something is missing: No space left"):
        journal.append(ROLLED_OUT)
    journal.close()
    assert read(tmp_path).events == [COMMITTED]
    again = opened(tmp_path)
    again.append(ROLLED_OUT)
    again.close()
    assert read(tmp_path).events == [COMMITTED, ROLLED_OUT]


def test_a_disk_that_refuses_to_flush_is_an_error(tmp_path, monkeypatch):
    """What could not be flushed is not reported as safe."""
    journal = opened(tmp_path)

    def refuse(_descriptor):
        raise OSError(5, "Input/output error")

    (tmp_path / "new").mkdir()
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(JournalError, match="cannot be flushed to the disk: Input/output error"):
        journal.append(COMMITTED)
    with pytest.raises(JournalError, match="takes no more"):
        journal.append(COMMITTED)
    journal.close()
    with pytest.raises(JournalError, match="cannot be flushed"):
        opened(tmp_path / "new")


@pytest.mark.parametrize("call", ["write", "ftruncate", "fsync"])
def test_a_disk_that_refuses_from_the_beginning_is_an_error(tmp_path, monkeypatch, call):
    """The error names the file, and a later run begins anew."""

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(JournalError, match=r"events\.jsonl .*: No space left"):
            opened(tmp_path)
    opened(tmp_path).close()
    assert read(tmp_path).fingerprint == "print"


def test_a_path_that_cannot_be_a_file_is_an_error(tmp_path):
    """Where the system refuses to open it, the error names it and says what to do."""
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(JournalError, match=r"events\.jsonl cannot be read"):
        read(tmp_path)
    blobs = Blobs(tmp_path / "blobs")
    with pytest.raises(JournalError, match="cannot be opened for writing"):
        Journal(tmp_path / "events.jsonl", Contents(), "print", blobs, Redactor())


def test_a_closed_journal_takes_nothing(tmp_path):
    """It can be closed twice."""
    journal = opened(tmp_path)
    journal.close()
    journal.close()
    for use in (journal.flush, lambda: journal.append(COMMITTED)):
        with pytest.raises(JournalError, match="is closed"):
            use()


def test_no_secret_reaches_a_line(tmp_path):
    """Not even one that a server repeated in what it said, nor in a file beside the journal; who
    knows it reads what was said."""
    secret = "sk-0123456789abcdef"
    journal = opened(tmp_path, secrets={"key": secret})
    said = Ended(f"wrong key: {secret}", is_breakdown=True)
    large = RolledOut(RolloutKey("d1", 1), Rollout(0.5, f"{secret} " * LARGE))
    for event in (said, large):
        journal.append(event)
    journal.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert not any(secret in path.read_text("utf-8") for path in files)
    assert read(tmp_path).events[0] == Ended("wrong key: [secret:key]", is_breakdown=True)
    assert read(tmp_path, key=secret).events == [said, large]
    assert read(tmp_path, other=secret).events == read(tmp_path).events


def test_a_candidate_keeps_its_name_where_its_text_lost_something(tmp_path):
    """Rollouts are stored under the digest of the text as it was."""
    secret = "sk-0123456789abcdef"
    candidate = Candidate.of({"answer": f"Use {secret}."})
    journal = opened(tmp_path, secrets={"key": secret})
    journal.append(Advanced(1, Settled(candidate, Verdict("rejected", "no"))))
    journal.close()
    (event,) = read(tmp_path).events
    assert event.phase.candidate.digest == candidate.digest
    assert dict(event.phase.candidate) == {"answer": "Use [secret:key]."}
    (event,) = read(tmp_path, key=secret).events
    assert event.phase.candidate == candidate

"""A run directory: one run, its manifest and journal, and texts that go with it.

Nothing is written outside of it, and it is made sure to be this run's before anything is written.

    manifest.json   what the run is                      events.jsonl   what happened
    blobs/          media, and what is large             run.lock       who is writing
    examples.jsonl  what the examples are, in words      outcome.json    what came of the search
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeAlias, final

import ujson

from dspy_gepa.core.events import Event
from dspy_gepa.core.search import start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.errors import JournalCorrupt, JournalError, JournalMismatch
from dspy_gepa.store.blobs import Blobs
from dspy_gepa.store.contents import Contents, StoredSession, read_journal
from dspy_gepa.store.example_file import EXAMPLES_FILE, Described, as_lines, read_lines
from dspy_gepa.store.files import file_error, remove_unfinished, write_whole
from dspy_gepa.store.journal import Journal, with_output
from dspy_gepa.store.lock import Lock, is_held
from dspy_gepa.store.manifest import Manifest
from dspy_gepa.store.redaction import Redactor
from dspy_gepa.store.resume import is_past_seed, reopening, replayed, unanswered
from dspy_gepa.values.plain import loads

__all__ = ["RunDir", "StoredRun", "read_run"]

_JOURNAL, _MANIFEST, _BLOBS, _LOCK = "events.jsonl", "manifest.json", "blobs", "run.lock"
_OF_GEPA = "gepa_state.bin"
_IDENTITY = (
    "component ",
    "order of components",
    "training examples",
    "validation examples",
    "must_pass examples",
    "examples in both sets",
)
"""How names of differences begin that no one can adopt."""


OutputForm: TypeAlias = Callable[[object], object]


def _as_it_is(output: object) -> object:
    return output


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What a run directory holds."""

    path: Path
    manifest: Manifest
    events: tuple[Event, ...]
    times: tuple[float | None, ...] = ()
    """When each event was written, in seconds since the epoch; None if that was not kept."""
    sessions: tuple[StoredSession, ...] = ()
    """Who wrote, in order."""
    is_running: bool = False
    """Whether a process is writing."""
    examples: Mapping[int, Described] = field(default_factory=dict)
    """By id; empty if the run was told not to write down its examples."""

    @property
    def state(self) -> RunState:
        """The run's state, to be read and not to be carried on: see `Manifest.begun`.

        Raises:
            JournalCorrupt: the stored events do not follow from one another.
        """
        with _following(self.path):
            return replayed(self.manifest.begun, self.events)


def read_run(
    path: Path | str,
    output: OutputForm = _as_it_is,
    secrets: Mapping[str, str] = MappingProxyType({}),
) -> StoredRun:
    """What a run directory holds; changes nothing, also while its run is under way.

    Args:
        path: The directory.
        output: From what was kept of a program's answer to what is shown of it.
        secrets: Name to secret, for those to which references are to be followed.

    Raises:
        JournalError: there is no run, or it cannot be read.
        JournalCorrupt: what is stored was changed.
        JournalMismatch: its format is that of another version, or two runs are mixed there.
    """
    folder, redact = Path(path), Redactor(secrets)
    manifest = _stored_manifest(folder, redact)
    if manifest is None:
        raise JournalError(f"{folder} holds no run: it has no {_MANIFEST}.")
    contents = read_journal(folder / _JOURNAL, Blobs(folder / _BLOBS), redact)
    _check_fingerprint(folder, manifest, contents)
    events = tuple(with_output(event, output) for event in contents.events)
    return StoredRun(
        folder,
        manifest,
        events,
        tuple(contents.times),
        contents.sessions,
        is_held(folder / _LOCK),
        _described(folder, redact),
    )


@final
class RunDir:
    """A run directory that this process writes to, from its making to `close`.

    Args:
        path: The directory. Made where it is not there; other files in it are left alone.
        manifest: What the run is.
        adopt: Names of differences from the stored manifest that are meant, for instance
            "limits.metric_calls" to go on with a larger budget. Texts and examples cannot be among
            them, because what was paid for would mean something else.
        secrets: Name to text, of those that must not reach the disk, such as API keys.
        stored_output: From a program's answer to what is kept of it.
        restored_output: From that to the answer.

    Raises:
        JournalMismatch: the directory holds another run. Lists the differences.
        JournalCorrupt: what it holds was changed.
        JournalError: another run writes to it, or it cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        manifest: Manifest,
        *,
        adopt: Iterable[str] = (),
        secrets: Mapping[str, str] = MappingProxyType({}),
        stored_output: OutputForm = _as_it_is,
        restored_output: OutputForm = _as_it_is,
    ) -> None:
        self.path = Path(path).absolute()
        self._output_forms = stored_output, restored_output
        self.redact = Redactor(secrets)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_error(self.path, "cannot be made", error) from error
        self._lock = Lock(self.path / _LOCK)
        is_open = False
        try:
            self._open(manifest, frozenset(adopt))
            is_open = True
        finally:
            # Whatever went wrong, Ctrl-C in a notebook included.
            if not is_open:
                self._lock.close()

    def _open(self, manifest: Manifest, adopt: frozenset[str]) -> None:
        blobs = Blobs(self.path / _BLOBS)
        try:
            for folder in (self.path, self.path / _BLOBS):
                remove_unfinished(folder)
        except OSError as error:
            raise file_error(self.path, "cannot be written", error) from error
        stored = _stored_manifest(self.path, self.redact)
        contents = read_journal(self.path / _JOURNAL, blobs, self.redact)
        _check_whole(self.path, stored, contents)
        if contents.events or contents.under_way:
            _check_same(self.path, manifest, stored, contents, adopt)
        elif contents.fingerprint != manifest.fingerprint:
            contents = Contents()  # nothing was paid for yet, so there is nothing to keep
        if stored is not None and is_past_seed(contents.events):
            # Whatever the budget says now: proposals were compared with the seed on these.
            manifest = replace(manifest, first=stored.first)
        self.changed_code = manifest.changed_code(stored) if stored and contents.events else ()
        if stored is not None and contents.events:
            manifest = replace(manifest, code=stored.code)
        self._manifest, self._stored = manifest, stored
        stored_output, restored_output = self._output_forms
        self._events = tuple(with_output(event, restored_output) for event in contents.events)
        self._under_way = contents.under_way
        self.journal = Journal(
            self.path / _JOURNAL,
            contents,
            manifest.fingerprint,
            blobs,
            self.redact,
            stored_output=stored_output,
            version=manifest.versions.get("dspy_gepa", ""),
        )
        # After the journal: a manifest without one says that something was lost.
        if not self._events:
            self._record()

    @property
    def manifest(self) -> Manifest:
        """What the run is."""
        return self._manifest

    def resumed(self, settings: Settings, *, trial_calls: int = 0) -> RunState:
        """The state from which to carry on: the beginning where nothing was stored yet.

        Call it once, before anything is added to the journal. The directory stays as it was, also
        where another budget was adopted, unless its events can be carried on. What had begun when
        the process was killed counts as lost.

        Args:
            settings: What the search is asked to do.
            trial_calls: See `unanswered`.

        Raises:
            JournalCorrupt: the stored events do not follow from one another.
            JournalError: there is no room or no right to write.
        """
        begun = start(settings, self._manifest.candidate, self._manifest.first)
        with _following(self.path):
            lost = unanswered(begun, self._events, self._under_way, trial_calls=trial_calls)
            events = (*self._events, *lost)
            reopened = reopening(begun, events)
            state = replayed(begun, events) if reopened is None else reopened.state
        if reopened is not None:
            self.journal.reopen(reopened.kept, reopened.events)
        else:
            for event in lost:
                self.journal.append(event)
        self._record()
        # What was away may be back: it is asked as often as at the beginning.
        return replace(state, failed_attempts={})

    def _record(self) -> None:
        """Write down what the run is, where it is not what stands there."""
        if self._stored is None or self._stored.as_json != self._manifest.as_json:
            fields = self.redact.hidden(self._manifest.as_json)
            written = ujson.dumps(fields, indent=1, escape_forward_slashes=False)
            self._write(self.path / _MANIFEST, written + "\n")
            self._stored = self._manifest

    def write_text(self, name: str, text: str) -> Path:
        """Put a text into the directory at once, in place of an earlier one of this name.

        Returns the file's path.

        Raises:
            ValueError: the name is no plain file name, or one of the store's own files.
            JournalError: there is no room or no right to; an earlier text stays as it was.
        """
        return self._write(self._text_file(name), self.redact.hidden_text(text))

    def _write(self, path: Path, text: str) -> Path:
        write_whole(path, text.encode("utf-8", "backslashreplace"))
        return path

    def describe(self, examples: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Write down what the examples are, by id: inputs and other fields, unless that is there.

        Raises:
            JournalError: there is no room or no right to.
        """
        if not (self.path / EXAMPLES_FILE).exists():
            self.write_text(EXAMPLES_FILE, as_lines(examples))

    @property
    def described(self) -> Mapping[int, Described]:
        """The examples that are described, by id."""
        return _described(self.path, self.redact)

    def read_text(self, name: str) -> str | None:
        """The text of this name that was put into the directory; None if there is none.

        Raises:
            ValueError: as for `write_text`.
            JournalCorrupt: it is no text.
            JournalError: it cannot be read.
        """
        return _text_of(self._text_file(name), self.redact)

    def _text_file(self, name: str) -> Path:
        path = self.path / name
        is_plain = path.parent == self.path and path.name == name and name != ".."
        if not is_plain or name in {_JOURNAL, _LOCK, _BLOBS, _MANIFEST}:
            raise ValueError(f"{name!r} does not name a file for texts in a run directory")
        return path

    def close(self) -> None:
        """Flush the journal and let another run write here."""
        try:
            self.journal.close()
        finally:
            self._lock.close()

    def __enter__(self) -> RunDir:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What ended the run says more than that the disk is full, which it may have said itself.
        with suppress(*(JournalError,) if error is not None else ()):
            self.close()


@contextmanager
def _following(folder: Path) -> Iterator[None]:
    """Replays events here that may not follow from one another, which is an error of the file's."""
    try:
        yield
    except (AssertionError, LookupError, ValueError) as error:
        raise JournalCorrupt(
            f"{folder / _JOURNAL} is whole, but its events do not follow from one another "
            f"in this version of dspy_gepa ({type(error).__name__}: {error}). Carry the run on "
            "with the version in its manifest.json, or choose another log_dir."
        ) from error


def _described(folder: Path, redact: Redactor) -> dict[int, Described]:
    return read_lines(_text_of(folder / EXAMPLES_FILE, redact) or "")


def _text_of(path: Path, redact: Redactor) -> str | None:
    """A text of the directory, with secrets put back where that is asked for; None without one."""
    try:
        return redact.shown_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise JournalCorrupt(f"{path} is no text: {error}. Remove it or restore it.") from None
    except OSError as error:
        raise file_error(path, "cannot be read", error) from error


def _stored_manifest(folder: Path, redact: Redactor) -> Manifest | None:
    path = folder / _MANIFEST
    try:
        return Manifest.of_json(redact.shown(loads(path.read_bytes())))
    except FileNotFoundError:
        return None
    except JournalCorrupt as error:
        raise JournalCorrupt(f"{path}: {error}") from None
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_fingerprint(folder: Path, manifest: Manifest, contents: Contents) -> None:
    if contents.fingerprint and contents.fingerprint != manifest.fingerprint:
        raise JournalMismatch(
            f"{folder / _MANIFEST} and {folder / _JOURNAL} belong to different runs: the texts or "
            "examples of one are not those of the other. Restore the one that was changed."
        )


def _check_whole(folder: Path, stored: Manifest | None, contents: Contents) -> None:
    """That what a run here has paid for is still there, and is one of ours."""
    if stored is not None and not contents.fingerprint:
        raise JournalError(
            f"{folder} holds a {_MANIFEST}, and no {_JOURNAL}, where what was paid for stood. "
            f"Restore it, or remove {_MANIFEST} to begin anew; nothing was changed or paid for."
        )
    if stored is None and (folder / _OF_GEPA).exists():
        raise JournalMismatch(
            f"{folder} holds a run of the gepa package ({_OF_GEPA}), which cannot be carried on "
            "here. Give another log_dir; nothing was changed or paid for."
        )


def _check_same(
    folder: Path,
    current: Manifest,
    stored: Manifest | None,
    contents: Contents,
    adopt: frozenset[str],
) -> None:
    """That the run is the one that the directory holds, but for what is adopted."""
    if stored is None:
        _check_fingerprint(folder, current, contents)
        return
    _check_fingerprint(folder, stored, contents)
    differences = [
        difference
        for difference in current.differences(stored)
        if difference.name not in adopt or difference.name.startswith(_IDENTITY)
    ]
    if differences:
        listed = "\n".join(f"  {difference}" for difference in differences)
        raise JournalMismatch(
            f"{folder} holds another run. It differs in:\n{listed}\nGive what the stored run had "
            "to carry it on, or another log_dir to begin anew; nothing was changed or paid for."
        )

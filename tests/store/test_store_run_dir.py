"""The run directory: what it is compared by, what it refuses, what it writes."""

import json
import stat
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from journals import SETTINGS, WORLD, carried_on, manifest_of, recorded

import dspy_gepa
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import GEPAError, JournalCorrupt, JournalError, JournalMismatch
from dspy_gepa.store.manifest import digest, named_settings
from dspy_gepa.store.run_dir import RunDir, read_run
from dspy_gepa.testing.witness import outcome

KEY = "sk-proj-abcDEF0123456789abcDEF"


def files(folder):
    """What is in every file but the lock."""
    return {path: path.read_bytes() for path in folder.iterdir() if path.name != "run.lock"}


def test_a_run_leaves_a_directory_that_can_be_read(tmp_path):
    """Manifest and events, from which every member can be had without running anything."""
    state = carried_on(tmp_path / "deep" / "run")
    stored = read_run(tmp_path / "deep" / "run")
    assert stored.manifest == manifest_of()
    assert list(stored.events) == recorded()[0]
    assert outcome(stored.state) == outcome(state)
    names = {path.name for path in (tmp_path / "deep" / "run").iterdir()}
    assert names == {"manifest.json", "events.jsonl", "run.lock"}


def test_reading_changes_nothing_while_a_run_is_under_way(tmp_path):
    """The state so far can be looked at from outside."""
    seen = []

    def look(event, state):
        seen.append(outcome(read_run(tmp_path).state) == outcome(state))

    carried_on(
        tmp_path, settings=replace(SETTINGS, limits=Limits(metric_calls=20)), listeners=[look]
    )
    assert seen
    assert all(seen)


def test_a_run_that_never_began_can_be_another_one(tmp_path):
    """As long as nothing was paid for, a directory is anybody's."""
    RunDir(tmp_path, manifest_of()).close()
    other = replace(SETTINGS, seed=9)
    assert carried_on(tmp_path, settings=other).settings.seed == 9
    assert read_run(tmp_path).manifest.seed == 9


OTHERS = {
    "seed": ({"seed": 4}, "seed: 4 given, 0 stored"),
    "budget": ({"limits": {"metric_calls": 95}}, "limits.metric_calls: 95 given, 90 stored"),
    "setting": ({"settings": {"window": 4}}, "settings.window: 4 given, 3 stored"),
    "new setting": (
        {"settings": {"window": 3, "gate": "strict"}},
        "settings.gate: 'strict' given, none stored",
    ),
    "no setting": ({"settings": {}}, "settings.window: none given, 3 stored"),
    "model": (
        {"models": {"task": {"model": "b"}}},
        "models.task: {'model': 'b'} given, none stored",
    ),
    "text": (
        {"candidate": WORLD.student.rewritten({"b": "new"})},
        "component b: 'new' given, 'answer' stored",
    ),
    "components": (
        {"candidate": Candidate.of({"a": "answer", "c": "answer"})},
        "component b: none given, 'answer' stored",
    ),
    "order": (
        {"candidate": Candidate.of({"b": "answer", "a": "answer"})},
        "order of components: ['b', 'a'] given, ['a', 'b'] stored",
    ),
    "train": ({"train": (0, 1, 2)}, "training examples: 3 given, 6 stored"),
    "validation": (
        {"examples": tuple(f"digest{i}" for i in (0, 1, 2, 3, 4, 5, 6, 77, 8, 9))},
        "validation examples: 6, the first other one at position 3 given, 6 stored",
    ),
    "must_pass": (
        {"examples": (*(f"digest{i}" for i in range(10)), "other")},
        "must_pass examples: 1 given, 0 stored",
    ),
    "shuffled": (
        {"train": (5, 4, 3, 2, 1, 0)},
        "training examples: the same ones in another order given, another order stored",
    ),
    "shared": (
        {
            "examples": tuple(f"digest{i}" for i in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 4, 5)),
            "validation": (10, 11, 6, 7, 8, 9),
        },
        "examples in both sets: 0 given, 2 in the directory stored",
    ),
}


@pytest.mark.parametrize(("others", "said"), OTHERS.values(), ids=OTHERS)
def test_another_run_is_refused_with_what_differs(tmp_path, others, said):
    """Before anything is changed or paid for; the right run can go on afterwards."""
    expected = carried_on(tmp_path)
    before = files(tmp_path)
    with pytest.raises(JournalMismatch, match="holds another run") as raised:
        RunDir(tmp_path, manifest_of(**others))
    assert said in str(raised.value)
    assert "another log_dir" in str(raised.value)
    assert files(tmp_path) == before
    assert outcome(carried_on(tmp_path)) == outcome(expected)


@st.composite
def manifests(draw):
    """Runs on few examples, of which any are in any set."""
    examples = draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=4))
    ids = st.lists(st.sampled_from(range(len(examples))), max_size=3)
    train, validation = tuple(draw(ids)), tuple(draw(ids))
    return manifest_of(examples=tuple(examples), train=train, validation=validation)


@given(manifests(), manifests())
def test_runs_on_the_same_examples_have_one_fingerprint(one, other):
    """And others do not: what a journal is told apart by is what differences are told of."""
    assert (one.differences(other) == ()) == (one.fingerprint == other.fingerprint)


def test_all_differences_are_listed(tmp_path):
    """Not one after the other, one a run."""
    carried_on(tmp_path)
    with pytest.raises(JournalMismatch) as raised:
        RunDir(tmp_path, manifest_of(seed=3, settings={"window": 1}, train=(3, 2, 1, 0)))
    assert str(raised.value).count(" given, ") == 5


def test_a_difference_that_is_meant_can_be_adopted(tmp_path):
    """A finished run goes on with a larger budget, and the directory is that run's then."""
    carried_on(tmp_path)
    more = replace(SETTINGS, limits=Limits(metric_calls=150))
    with pytest.raises(JournalMismatch, match=r"limits\.metric_calls: 150 given, 90 stored"):
        RunDir(tmp_path, manifest_of(run_settings=more))
    state = carried_on(tmp_path, settings=more, adopt=["limits.metric_calls"])
    assert 90 < state.tally.metric_calls <= 150
    assert outcome(read_run(tmp_path).state) == outcome(state)
    assert read_run(tmp_path).manifest.limits == {"metric_calls": 150}


def test_texts_and_examples_cannot_be_adopted(tmp_path):
    """What was paid for would mean something else."""
    carried_on(tmp_path)
    names = ["training examples", "component a"]
    for others in ({"train": (0, 1)}, {"candidate": WORLD.student.rewritten({"a": "x"})}):
        with pytest.raises(JournalMismatch):
            RunDir(tmp_path, manifest_of(**others), adopt=names)


def test_versions_are_on_record_and_not_compared(tmp_path):
    """An upgrade of Python or DSPy may carry a run on."""
    with RunDir(tmp_path, manifest_of(versions={"python": "3.10.1"})) as directory:
        directory.journal.append(recorded()[0][0])
    with RunDir(tmp_path, manifest_of(versions={"python": "3.12.0"})) as directory:
        directory.resumed(SETTINGS)
    assert read_run(tmp_path).manifest.versions == {"python": "3.12.0"}


def test_no_secret_is_written(tmp_path):
    """Neither in the manifest nor in a text nor in an event."""
    models = {"task": {"model": "m", "api_key": KEY, "note": KEY}, "secret": KEY}
    manifest = manifest_of(models=models, settings={"window": 3, "token": KEY})
    with RunDir(tmp_path, manifest, secrets={"key": KEY}) as directory:
        directory.write_text("best_program.json", json.dumps({"lm": {"api_key": KEY}}))
    assert not any(KEY in path.read_text("utf-8") for path in tmp_path.iterdir())
    assert read_run(tmp_path).manifest.models == {"task": {"model": "m", "note": "[removed]"}}


def test_a_journal_without_its_manifest_is_compared_by_its_fingerprint(tmp_path):
    """It is not trusted blindly."""
    expected = carried_on(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(JournalMismatch, match="belong to different runs"):
        RunDir(tmp_path, manifest_of(train=(0, 1)))
    assert outcome(carried_on(tmp_path)) == outcome(expected)


@pytest.mark.parametrize("left", [None, b"", b'{"journal":"dspy_g'])
def test_a_manifest_without_its_journal_is_refused(tmp_path, left):
    """What was paid for is lost, and nobody begins anew in silence."""
    carried_on(tmp_path)
    journal = tmp_path / "events.jsonl"
    journal.unlink()
    if left is not None:
        journal.write_bytes(left)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(JournalError, match="paid for stood"):
        carried_on(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    (tmp_path / "manifest.json").unlink()
    assert len(carried_on(tmp_path).members) > 1


def test_a_run_that_died_before_its_first_event_begins_again(tmp_path):
    """Nothing was paid for then, whatever it was."""
    RunDir(tmp_path, manifest_of(train=(0, 1))).close()
    assert outcome(carried_on(tmp_path)) == outcome(recorded()[1])


def test_a_directory_of_gepa_is_refused(tmp_path):
    """It holds what somebody paid for, which cannot be carried on here."""
    (tmp_path / "gepa_state.bin").write_bytes(b"pickle")
    with pytest.raises(JournalMismatch, match="a run of the gepa package"):
        carried_on(tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_files_of_two_runs_are_told_apart(tmp_path):
    """A manifest that was put beside another run's journal is refused."""
    carried_on(tmp_path / "one")
    RunDir(tmp_path / "two", manifest_of(train=(0, 1))).close()
    (tmp_path / "two" / "manifest.json").rename(tmp_path / "one" / "manifest.json")
    for use in (lambda: read_run(tmp_path / "one"), lambda: carried_on(tmp_path / "one")):
        with pytest.raises(JournalMismatch, match="belong to different runs"):
            use()


@pytest.mark.parametrize("content", ["", "[]", '{"seed": 0}', '{"seed": "x", "components": 3}'])
def test_a_damaged_manifest_is_named(tmp_path, content):
    """And left as it is."""
    carried_on(tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    for use in (lambda: read_run(tmp_path), lambda: carried_on(tmp_path)):
        with pytest.raises(JournalCorrupt, match=r"manifest\.json"):
            use()
    assert (tmp_path / "manifest.json").read_text() == content


def test_events_that_do_not_follow_are_an_error(tmp_path):
    """A journal of another version's decisions is named, not half applied; and the directory stays
    what it was, also where it was to go on with a larger budget."""
    events, _ = recorded()
    with RunDir(tmp_path, manifest_of()) as directory:
        for event in (events[0], events[-2]):
            directory.journal.append(event)
    before = files(tmp_path)
    more = replace(SETTINGS, limits=Limits(metric_calls=150))
    with pytest.raises(JournalCorrupt, match="do not follow from one another"):
        carried_on(tmp_path, settings=more, adopt=["limits.metric_calls"])
    assert files(tmp_path) == before
    with pytest.raises(JournalCorrupt, match="do not follow from one another"):
        _ = read_run(tmp_path).state


def test_a_directory_without_a_run_is_an_error_to_read(tmp_path):
    """A path that is no directory too."""
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(JournalError, match=r"holds no run|cannot be read"):
            read_run(path)


@pytest.mark.parametrize("inside", ["", "run"])
def test_a_path_that_cannot_be_a_directory_is_an_error(tmp_path, inside):
    """It says which path, why, and what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=r"file.* cannot be made: .* another log_dir"):
        RunDir(tmp_path / "file" / inside, manifest_of())


@pytest.mark.parametrize("name", ["run.lock", "manifest.json", "events.jsonl"])
def test_files_that_cannot_be_written_are_an_error(tmp_path, name):
    """Whichever of ours it is; the lock is given back."""
    (tmp_path / name).mkdir()
    for _ in range(2):
        with pytest.raises(JournalError, match=f"{name} cannot be"):
            RunDir(tmp_path, manifest_of())
    (tmp_path / name).rmdir()
    RunDir(tmp_path, manifest_of()).close()
    assert list(tmp_path.glob(".*")) == []


def test_an_unfinished_file_that_cannot_be_removed_is_an_error(tmp_path):
    """The lock is given back then too."""
    in_the_way = tmp_path / ".best.json.dspy_gepa-unfinished"
    in_the_way.mkdir()
    for _ in range(2):
        with pytest.raises(JournalError, match="cannot be written"):
            RunDir(tmp_path, manifest_of())
    in_the_way.rmdir()
    RunDir(tmp_path, manifest_of()).close()


def test_two_runs_of_one_process_do_not_share_a_directory(tmp_path):
    """By whatever path they name it; when one is over the other may begin."""
    first = RunDir(tmp_path / "run", manifest_of())
    with pytest.raises(JournalError, match="in use by another run of this process"):
        RunDir(tmp_path / "other" / ".." / "run", manifest_of())
    first.close()
    first.close()
    RunDir(tmp_path / "run", manifest_of()).close()


def test_texts_are_put_there_whole(tmp_path):
    """Over an earlier one; whatever is in them; and nothing unfinished stays."""
    with RunDir(tmp_path, manifest_of()) as directory:
        for text in ("one", "two \ud800 ж"):
            path = directory.write_text("best_program.json", text)
        assert path == tmp_path / "best_program.json"
        assert path.read_text("utf-8") == "two \\ud800 ж"
        assert directory.read_text("best_program.json") == "two \\ud800 ж"
        assert directory.read_text("nothing") is None
        path.write_bytes(b"\xff")
        with pytest.raises(JournalCorrupt, match="is no text"):
            directory.read_text("best_program.json")
        assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "file").touch()
        with pytest.raises(JournalError, match="taken cannot be written"):
            directory.write_text("taken", "text")
        with pytest.raises(JournalError, match="taken cannot be read"):
            directory.read_text("taken")
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/x", "events.jsonl", "run.lock", "blobs", "manifest.json"],
)
def test_nothing_is_written_outside_or_over_our_own(tmp_path, name):
    """Only plain names of other files are accepted."""
    directory = RunDir(tmp_path / "run", manifest_of())
    with pytest.raises(ValueError, match="does not name a file"):
        directory.write_text(name, "text")
    directory.close()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    """Its unfinished files only; files of the user's stay, also such that look like leftovers."""
    (tmp_path / "blobs").mkdir()
    ours = [tmp_path / ".best.json.dspy_gepa-unfinished"]
    ours.append(tmp_path / "blobs" / ".0.json.dspy_gepa-unfinished")
    others = [tmp_path / "notes.part", tmp_path / ".hidden"]
    for path in ours + others:
        path.touch()
    carried_on(tmp_path)
    assert [path.exists() for path in ours + others] == [False, False, True, True]


def test_a_digest_depends_on_the_value_only():
    """Not on the order of names, nor on where in memory an object lies."""

    class Thing:
        pass

    assert digest({"a": 1, "b": [Thing()]}) == digest({"b": [Thing()], "a": 1})
    values = [
        {"a": 1},
        {"a": 1.0},
        {"a": "1"},
        {"a": True},
        {"b": 1},
        [1],
        (1,),
        {1},
        None,
        "\ud800",
    ]
    assert len({digest(value) for value in values}) == len(values)


def test_errors_are_in_the_tree():
    """They are caught as ours, as an OSError, and damage as a ValueError too."""
    assert issubclass(JournalError, GEPAError)
    assert issubclass(JournalError, OSError)
    assert issubclass(JournalCorrupt, ValueError)
    assert issubclass(JournalMismatch, ValueError)
    assert dspy_gepa.__name__ == "dspy_gepa"


@example(["by_name['final']", "by_name['a'][\"b\"]"])
@given(st.lists(st.text(max_size=9), unique=True))
def test_names_are_restored_from_the_manifest_whatever_stands_in_them(names):
    """Components of programs that hold others in a dictionary have quotes in their names. Else a
    story that is read from a directory blames the wrong ones."""
    owners = {name: tuple(names) for name in names}
    run = replace(
        SETTINGS, frozen=tuple(names), minimized=tuple(names), owners=MappingProxyType(owners)
    )
    for settings in (run, replace(run, owners=owners)):
        begun = manifest_of(settings=named_settings(settings)).begun.settings
        assert (begun.frozen, begun.minimized) == (tuple(names), tuple(names))
        assert begun.owners == owners


def test_an_older_manifest_without_names_is_read():
    """As one of a run in which there was nothing to name."""
    begun = manifest_of(settings={"frozen": "a class of somebody's"}).begun.settings
    assert (begun.frozen, begun.minimized, begun.owners) == ((), (), {})

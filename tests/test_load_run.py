"""`load_run`: what a run directory holds, under way, finished or dead, as programs."""

import json
import shutil

import dspy
import label_task
import pytest
from label_task import LEARNED, Copying

import dspy_gepa
from dspy_gepa import GEPA, load_run
from dspy_gepa.errors import JournalCorrupt, JournalError, SettingsError

SEED = "Given the fields `message`, produce the fields `code`."


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run directory, the program that was returned, its result, and copies from the way."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    copying = Copying(folder)
    optimizer = GEPA(
        label_task.metric,
        search="paper",
        max_metric_calls=200,
        num_threads=1,
        reflection_lm=label_task.reflection_lm(),
        log_dir=str(folder),
        observers=[copying],
    )
    with dspy.context(lm=label_task.task_lm()):
        best = optimizer.compile(student(), label_task.examples(12), label_task.examples(8))
    return folder, best, optimizer.result, copying.copies


def student():
    return dspy.Predict("message -> code")


def told(result):
    return list(result.members), list(result.proposals), result.mean_scores, result.tally


def files(folder):
    """Every file with what is in it, and when it was changed."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def test_a_finished_run_is_what_it_was(finished):
    """Members, proposals, scores, costs, why it ended, and what it was run with."""
    folder, _, result, _ = finished
    saved = load_run(folder)
    assert told(saved.result) == told(result)
    assert saved.result.stop_reason == result.stop_reason
    assert dict(saved.manifest.limits) == {"metric_calls": 200}
    assert saved.manifest.models["program"]["model"] == "scripted/model"
    assert told(load_run(str(folder)).result) == told(result)


def test_its_members_are_programs(finished):
    """The best where none is named, and any by its number; the student is not changed."""
    folder, best, result, _ = finished
    saved, own = load_run(folder), student()
    assert saved.program(own).dump_state() == best.dump_state()
    found = [saved.program(own, number) for number in range(len(result.members))]
    texts = [program.signature.instructions for program in found]
    assert texts == [member.candidate["self"] for member in result.members]
    assert (texts[0], texts[result.best], own.signature.instructions) == (SEED, LEARNED, SEED)
    with dspy.context(lm=label_task.task_lm()):
        answers = [program(message="About the bill.").code for program in (found[0], found[-1])]
    assert answers == ["unknown", "Q7"]


def test_a_run_that_died_half_way_is_what_it_was_by_then(finished):
    """At any commit, from a copy of its directory: nothing is lost, and it has not ended."""
    *_, copies = finished
    assert len(copies) > 2
    for copy, state in copies:
        saved = load_run(copy)
        expected = dspy_gepa.RunResult(state)
        assert told(saved.result) == told(expected)
        assert saved.result.stop_reason == state.ending
        own = saved.program(student())
        assert own.signature.instructions == state.members[state.best].candidate["self"]
    assert copies[0][1].ending == ""


def test_a_run_without_a_member_has_no_program(finished, tmp_path):
    """It died before its seed was validated; what it did until then can be read."""
    folder, *_ = finished
    shutil.copytree(folder, tmp_path / "early")
    journal = tmp_path / "early" / "events.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:6]))
    saved = load_run(tmp_path / "early")
    assert (len(saved.result.members), saved.result.tally.rollouts > 0) == (0, True)
    with pytest.raises(SettingsError, match="the run has 0 members"):
        saved.program(student())


@pytest.mark.parametrize("member", [-1, 3, 99])
def test_a_member_that_there_is_not_is_refused(finished, member):
    """With how many there are."""
    with pytest.raises(SettingsError, match=f"member={member} .* has 3 members, numbered from 0"):
        load_run(finished[0]).program(student(), member)


class Pipeline(dspy.Module):
    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("message -> code")


@pytest.mark.parametrize("other", [Pipeline(), dspy.ChainOfThought("message -> code")])
def test_another_program_is_refused(finished, other):
    """Its components are named, and those of the run."""
    (name,) = [name for name, _ in other.named_predictors()]
    words = rf"\['{name}'\], and the run's program had \['self'\]"
    with pytest.raises(SettingsError, match=words):
        load_run(finished[0]).program(other)


def test_nothing_is_changed_on_disk(finished):
    """Not even a time: a run that is under way does not notice."""
    folder, *_ = finished
    before = files(folder)
    load_run(folder).program(student())
    assert files(folder) == before


WATCHED = """
import json, sys
import dspy_gepa, dspy, litellm
from dspy_gepa import load_run

heard, told = [], {"pickle.find_class", "marshal.loads", "subprocess.Popen", "os.system",
    "os.remove", "os.rename", "os.mkdir", "socket.connect", "exec"}

def hear(event, arguments):
    if event in told or (event == "open" and arguments[1] not in ("r", "rb", None)):
        heard.append([event, str(arguments[0])[:200]])

load_run(sys.argv[1])  # what is imported on the way is imported now
sys.addaudithook(hear)
saved = load_run(sys.argv[1])
told.clear()
print(json.dumps([heard, len(saved.result.members)]))
"""


def test_nothing_is_executed(finished, warm_python):
    """No code, no unpickling, no process, no connection; and no file is opened for writing."""
    folder, *_ = finished
    done = warm_python.run(WATCHED, folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], 3]


def test_where_there_is_no_run_is_said(tmp_path):
    """A directory that is empty, and one that there is not; neither is made."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(JournalError, match="holds no run"):
            load_run(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_journal_is_refused(finished, tmp_path):
    """A score that somebody improved by hand is no result."""
    folder, *_ = finished
    shutil.copytree(folder, tmp_path / "changed")
    journal = tmp_path / "changed" / "events.jsonl"
    text = journal.read_text()
    assert '"score"' in text
    lines = text.splitlines(keepends=True)
    position = next(i for i, line in enumerate(lines) if '"score"' in line)
    lines[position] = lines[position].replace("0.0", "1.0", 1)
    journal.write_text("".join(lines))
    with pytest.raises(JournalCorrupt):
        load_run(tmp_path / "changed")

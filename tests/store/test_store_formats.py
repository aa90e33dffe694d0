"""What older versions wrote is read: journals of formats 5 and 6."""

import json
import shutil
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from journals import carried_on, manifest_of

from dspy_gepa.core.budget import Tally, Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Issued, Reflected, Remarked, RequestFailed, RolledOut
from dspy_gepa.core.proposal import EvaluatingParent, Evaluation, Mutation
from dspy_gepa.core.rollout import Remark, RemarkKey, Rollout, RolloutKey
from dspy_gepa.core.work import Exchange, ReflectionAnswer, ReflectionKey
from dspy_gepa.store.blobs import Blobs
from dspy_gepa.store.codec import FORMAT, encode
from dspy_gepa.store.contents import SEAL, StoredSession, read_journal
from dspy_gepa.store.journal import Journal
from dspy_gepa.store.manifest import Manifest
from dspy_gepa.store.redaction import Redactor
from dspy_gepa.store.run_dir import read_run
from dspy_gepa.story.stored import stored_story
from dspy_gepa.testing.witness import outcome
from dspy_gepa.testing.worlds import RuleWorld
from dspy_gepa.values.plain import dumps

USAGE = Usage(12, 0.25, 7, 5, 1)
TOKENS = {"prompt_tokens", "completion_tokens"}
COUNTS = {*TOKENS, "unpriced_calls"}
LACKING = {
    6: {"hold": COUNTS, "lost": COUNTS, "remark": {"seconds"}, "exchanges": TOKENS},
    5: {
        **dict.fromkeys(("hold", "lost", "usage"), COUNTS),
        **{name: {"seconds"} for name in ("rollout", "remark")},
        "reflection": {"seconds", "exchanges"},
    },
}
"""Format to what it has not, by what it is a part of."""


@dataclass(frozen=True)
class PaidWorld(RuleWorld):
    """A world in which everything takes time and tokens."""

    def rollout(self, candidate, example):
        return replace(super().rollout(candidate, example), usage=USAGE, seconds=0.5)

    def reflection(self, request):
        asked = Exchange(
            ("a",), "Improve.", "Better.", seconds=1.5, prompt_tokens=7, completion_tokens=5
        )
        answer = super().reflection(request)
        return replace(answer, usage=USAGE, exchanges=(asked,), seconds=1.5)


WORLD = PaidWorld(names=("a", "b"))


def without(value, lacking, part=""):
    """A line's content without what a format lacks."""
    if isinstance(value, list):
        return [without(each, lacking, part) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: without(item, lacking, name)
        for name, item in value.items()
        if name not in lacking.get(part, ())
    }


def as_format(version, path):
    """Write a journal as a version wrote it that had this format."""
    written, checksum = b"", 0
    for line in path.read_bytes().splitlines():
        content = without(json.loads(line), LACKING[version])
        del content["crc"]
        if version == 5:
            content.pop("at", None)
            if "session" in content:
                continue
        if "format" in content:
            content["format"] = version
        body = dumps(content)[:-1].encode()
        checksum = zlib.crc32(body, checksum)
        written += body + (SEAL % checksum).encode() + b"\n"
    path.write_bytes(written)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a whole run, and its last state."""
    folder = tmp_path_factory.mktemp("run")
    return folder, carried_on(folder, WORLD)


@pytest.mark.parametrize("version", LACKING)
def test_a_run_directory_of_an_older_format_is_read(tmp_path, run, version):
    """It says what it said: the same search, and a story without what was not written down."""
    folder = shutil.copytree(run[0], tmp_path / "run")
    as_format(version, folder / "events.jsonl")
    stored, today = read_run(folder), read_run(run[0])
    assert stored.events == today.events
    assert [encode(each) for each in stored.events] != [encode(each) for each in today.events]
    assert outcome(stored.state) == outcome(run[1])
    story, expected = stored_story(stored), stored_story(today)
    assert [each.texts for each in story.members] == [each.texts for each in expected.members]
    assert story.total.total_tokens == expected.total.total_tokens
    assert story.headline == expected.headline


@pytest.mark.parametrize("version", LACKING)
@pytest.mark.parametrize("lines", [1, 2, 20, 80])
def test_a_run_of_an_older_format_is_carried_on(tmp_path, run, version, lines):
    """It ends as if it had not been left, and can be read with what was added today."""
    folder = shutil.copytree(run[0], tmp_path / "run")
    journal = folder / "events.jsonl"
    as_format(version, journal)
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:lines]))
    assert outcome(carried_on(folder, WORLD)) == outcome(run[1])
    assert outcome(read_run(folder).state) == outcome(run[1])


def test_a_run_without_times_can_be_taken_back_to_its_beginning(tmp_path, run):
    """Its answers count as if they had come when that was done."""
    folder = shutil.copytree(run[0], tmp_path / "run")
    path, blobs = folder / "events.jsonl", Blobs(folder / "blobs")
    as_format(5, path)
    stored = read_journal(path, blobs, Redactor())
    answers = [event for event in stored.events if isinstance(event, RolledOut)][:3]
    journal = Journal(path, stored, stored.fingerprint, blobs, Redactor(), now=lambda: 1000.0)
    journal.reopen(0, answers)
    journal.close()
    found = read_journal(path, blobs, Redactor())
    assert (found.events, found.times) == (answers, [1000.0] * 3)


def test_what_format_6_wrote_is_read():
    """Its lines, word for word as its last version wrote them; what it lacks is 0."""
    path = Path(__file__).with_name("format_6.jsonl")
    contents = read_journal(path, Blobs(path.parent / "blobs"), Redactor())
    hold = Tally(metric_calls=2, reflection_calls=1, total_tokens=12, usd=0.25)
    evaluation = Evaluation(Candidate.of({"a": "answer"}), (0,))
    expected = [
        Issued(1, Mutation(hold, 0, (0, 1), 1, 0, 1), EvaluatingParent(evaluation, (0, 1))),
        RolledOut(RolloutKey("d1", 1), Rollout(0.5, usage=USAGE, seconds=0.5)),
        Remarked(RemarkKey("d1", 1, "a"), Remark("too long", usage=USAGE)),
        Reflected(
            ReflectionAnswer(
                1,
                {"a": "short"},
                lm_calls=1,
                usage=USAGE,
                exchanges=(Exchange(("a",), "Improve.", "short", seconds=1.5),),
            )
        ),
        RequestFailed(
            ReflectionKey(2),
            "the server is gone",
            Tally(reflection_calls=1, total_tokens=12, usd=0.25),
        ),
    ]
    # Encoded, too: what is on record only does not count when events are compared.
    assert contents.events == expected
    assert [encode(each) for each in contents.events] == [encode(each) for each in expected]
    assert contents.times == [1000.5, 1001.0, 1001.5, 1002.0, 1003.0]
    assert contents.sessions == (StoredSession(1000.0, "0.1.0", 0, 1004.0),)


def test_every_older_format_is_tried():
    """A new format needs its lines here."""
    assert sorted(LACKING) == list(range(5, FORMAT))


def test_a_setting_that_had_another_name_is_the_same_setting():
    """So that a run of an earlier version is carried on, and differs by today's name."""
    today = manifest_of(settings={"validation_schedule": "None"})
    stored = today.as_json
    stored["settings"] = {"rungs": stored["settings"].pop("validation_schedule")}
    assert today.differences(Manifest.of_json(stored)) == ()
    stored["settings"] = {"rungs": "other"}
    (difference,) = today.differences(Manifest.of_json(stored))
    assert difference.name == "settings.validation_schedule"

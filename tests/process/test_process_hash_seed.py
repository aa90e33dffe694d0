"""A run does not depend on the process that it runs in."""

import os
import subprocess
import sys

from warm_python import BARE, ROOT

RUN = (
    BARE
    + """
import hashlib

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.streams import stream
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.witness import Recording
from dspy_gepa.testing.worlds import ChanceWorld, RuleWorld
from dspy_gepa.values.words import text_of

print(hash("a string"))
for world in (RuleWorld(names=("a", "b", "c")), ChanceWorld(names=("a", "b"), words=6)):
    recording = Recording()
    settings = Settings(
        train=tuple(range(9)), validation=tuple(range(5, 15)),
        limits=Limits(metric_calls=400), window=3,
    )
    state = run_loop(start(settings, world.student), SerialExecutor(world), [recording]).state
    written = repr((recording.events, state.scores.tolist(), state.tally))
    print(len(state.members), hashlib.sha256(written.encode()).hexdigest())
print(stream(3, "parent", 4).random(), world.student.digest)
print(text_of({"a": {"x", "y", "z", "w"}, "b": object()}), text_of(object()))
"""
)


def printed(hash_seed):
    """What a fresh process with this hash seed prints, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_hash_seed_changes_nothing():
    """In two processes, strings hash differently, and every event of a run is the same; sets and
    addresses are written alike."""
    hashes, *runs = zip(*map(printed, ("0", "1")), strict=True)
    assert len(set(hashes)) == 2
    assert [len(set(lines)) for lines in runs] == [1, 1, 1, 1]
    assert runs[3][0] == '{"a": ["w", "x", "y", "z"], "b": "<object object>"} <object object>'
    assert int(runs[0][0].split()[0]) > 3

"""Runs with a journal, for the tests of the store."""

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.store.manifest import Manifest
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.testing.witness import Recording
from dspy_gepa.testing.worlds import RuleWorld

WORLD = RuleWorld(names=("a", "b"))
SETTINGS = Settings(
    train=tuple(range(6)), validation=tuple(range(4, 10)), limits=Limits(metric_calls=90), window=3
)


def manifest_of(world=WORLD, run_settings=SETTINGS, **others):
    """What a run in a world is."""
    known = {
        "candidate": world.student,
        "examples": tuple(
            f"digest{i}" for i in range(max(run_settings.train + run_settings.validation) + 1)
        ),
        "train": run_settings.train,
        "validation": run_settings.validation,
        "first": run_settings.first_examples,
        "limits": {"metric_calls": run_settings.limits.metric_calls},
        "seed": run_settings.seed,
        "settings": {
            "window": run_settings.window,
            "ranking": getattr(run_settings.ranking, "__qualname__", repr(run_settings.ranking)),
            "caution": repr(run_settings.caution),
        },
    }
    return Manifest(**{**known, **others})


def carried_on(path, world=WORLD, settings=SETTINGS, executor=None, listeners=(), **options):
    """Where a run in this directory ends: begun there or carried on."""
    with RunDir(path, manifest_of(world, settings), **options) as directory:
        state = directory.resumed(settings)
        worker = executor if executor is not None else SerialExecutor(world)
        return run_loop(state, worker, [directory.journal, *listeners]).state


def recorded(world=WORLD, settings=SETTINGS, executor=None):
    """The events of a run that nothing is stored of, and where it ends."""
    recording = Recording()
    worker = executor if executor is not None else SerialExecutor(world)
    state = run_loop(start(settings, world.student), worker, [recording]).state
    return recording.events, state

"""Our calls of callback hooks, compared with what the `gepa` package documents."""

from gepa.core import callbacks

from dspy_gepa.compat.callbacks import CallbackObserver
from dspy_gepa.compat.hooks import HOOKS
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.worlds import ChanceWorld

WORLDS = [
    ChanceWorld(names=("a", "b"), refusal=0.3, scores=(0.0, 0.5, 1.0), words=8, seed=seed)
    for seed in (0, 6)
]
SETTINGS = Settings(
    train=tuple(range(6)), validation=tuple(range(6, 12)), limits=Limits(metric_calls=400)
)


def documented(hook):
    """The keys of the event that a hook is told."""
    name = "".join(map(str.capitalize, hook.removeprefix("on_").split("_"))) + "Event"
    return set(getattr(callbacks, name).__annotations__)


def test_all_hooks_but_one_are_called():
    """Nothing of ours corresponds to their saved state."""
    theirs = {name for name in vars(callbacks.GEPACallback) if name.startswith("on_")}
    assert theirs - set(HOOKS) == {"on_state_saved"}
    assert set(HOOKS) <= theirs


def test_every_call_has_exactly_the_documented_keys():
    """A callback that was written for them finds every key that it may ask for."""
    seen = {}
    callback = callbacks.CompositeCallback()
    for hook in HOOKS:
        setattr(callback, hook, lambda told, hook=hook: seen.setdefault(hook, []).append(told))
    for world in WORLDS:
        run_loop(
            start(SETTINGS, world.student), SerialExecutor(world), [CallbackObserver(callback)]
        )
    assert set(seen) == set(HOOKS)
    for hook, calls in seen.items():
        assert {frozenset(told) for told in calls} == {frozenset(documented(hook))}, hook

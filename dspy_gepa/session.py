"""One run of anything: its directory, start, observers, executor, loop, and a broken end.

Nothing here knows what is improved: a worker carries requests out, examples are numbers.
"""

from __future__ import annotations

import logging
import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, partial
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.endings import useless_reflections
from dspy_gepa.core.membership import without_failures
from dspy_gepa.core.rollout import OF_METRIC
from dspy_gepa.core.search import start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.errors import MetricError, ReflectionError, WorkerError
from dspy_gepa.models.outages import advice_on
from dspy_gepa.observe.observer import FanOut, Observer, attempted
from dspy_gepa.observe.reporting import reported
from dspy_gepa.observe.telling import Telling
from dspy_gepa.presets import OF_THE_BUDGET
from dspy_gepa.reflect.answers import NO_TEXT_IN_REPLY
from dspy_gepa.result import RunResult
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import Listener, RunOutcome, Stopper, run_loop
from dspy_gepa.run.parcel import Parcel
from dspy_gepa.run.pooled import PooledExecutor, pool_of
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.run.worker import Worker
from dspy_gepa.store.credentials import credentials
from dspy_gepa.store.manifest import Manifest, named_settings, strategy_name
from dspy_gepa.store.redaction import Redactor
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.story.stored import story_in

__all__ = ["RunIdentity", "check", "executor_for", "run", "run_directory"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_TRIAL_ROLLOUTS = 10
"""A budget of no more than so many is a smoke test, whose models may answer anything: if no
reflection gives a text, that is a warning and no error. Our choice."""


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What a run directory is told of a run, so that it knows the same one again."""

    seed: Candidate
    """The texts that it starts from."""
    examples: tuple[str, ...]
    """A digest of each example, in order."""
    anchors: tuple[int, ...] = ()
    """Examples that stand beside training and validation sets."""
    metric: str
    """The metric's name."""
    models: Mapping[str, Any]
    """What each model is used for, and the model."""
    described: Mapping[str, object] = field(default_factory=dict)
    """What else tells the run from another."""
    code: Mapping[str, str] = field(default_factory=dict)
    """A digest of the source of what scores come from, by its name."""
    roots: Mapping[str, object] = field(default_factory=dict)
    """Name to object, of all that may hold secrets: models, a program, a metric, arguments."""
    follows_budget: tuple[str, ...] = ()
    """Settings that follow from the budget, so that they may differ when a run is carried on."""
    sides: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = ()
    """Inputs and other fields of each example, to be described there in words; empty if they are
    not to stand there."""
    output_forms: Mapping[str, Any] = field(default_factory=dict)
    """How answers are kept and made again, as `RunDir` takes it."""


def run_directory(
    path: str | None, settings: Settings, identity: RunIdentity
) -> AbstractContextManager[RunDir | None]:
    """The run directory at this path: a new one, or one to carry on from. None without a path.

    When it is closed a report is written there, however the run ended, if it had begun.

    Raises:
        JournalMismatch: the directory holds another run. Lists the differences.
        JournalError: it cannot be used.
    """
    if path is None:
        return nullcontext()
    manifest = Manifest(
        candidate=identity.seed,
        examples=identity.examples,
        train=settings.train,
        validation=settings.validation,
        first=settings.first_examples,
        anchors=identity.anchors,
        limits=_given(settings.limits),
        seed=settings.seed,
        settings={**named_settings(settings), "metric": identity.metric, **identity.described},
        models={use: _described(model) for use, model in identity.models.items()},
        versions={
            "dspy_gepa": version("dspy_gepa"),
            "dspy": version("dspy"),
            "python": platform.python_version(),
        },
        code=identity.code,
    )
    # A larger budget, or a budget in other units, is how a run is carried on.
    adopted = (*(f"limits.{unit.name}" for unit in fields(Limits)), *OF_THE_BUDGET)
    run_dir = RunDir(
        path,
        manifest,
        adopt=[*adopted, *identity.follows_budget],
        secrets=credentials(os.environ, identity.roots),
        **identity.output_forms,
    )
    for name in run_dir.changed_code:
        logger.warning(
            "The source of the %s is not what it was when %s was begun. Scores that are stored "
            "there are used as they are: for new ones, give another log_dir.",
            name,
            run_dir.path,
        )
    if identity.sides:
        described = partial(run_dir.describe, identity.sides)
        attempted(described, "%s takes no description of the examples", run_dir.path)
    return reported(run_dir, run_dir.path, partial(story_in, run_dir.path))


def run(
    settings: Settings,
    seed: Candidate,
    executor: Callable[[RunState], Executor],
    *,
    run_dir: RunDir | None = None,
    keeper: Callable[[RunDir], Observer],
    observers: Iterable[Observer] = (),
    stoppers: Sequence[Stopper] = (),
    on_state: Callable[[RunState], None] = lambda _state: None,
    on_stored: Sequence[Callable[[RunState], None]] = (),
    telling: Telling | None = None,
    trial_calls: int = 0,
    roots: Mapping[str, object] = MappingProxyType({}),
) -> RunOutcome:
    """Run a search to its end, whatever that is: see `check`.

    Args:
        settings: What the search is asked to do.
        seed: The texts to start from.
        executor: Makes what carries requests out, given the state to carry on from.
        run_dir: Where it is kept; carried on from there if something is in it.
        keeper: Makes the observer that keeps the best so far in the run directory.
        observers: Are told of every event.
        stoppers: May end it after a proposal.
        on_state: Is told of every state, so that the last one is known also if a strategy, the
            journal or the second Ctrl-C raises.
        on_stored: Are told of every state once it is in the run directory. What they raise ends it.
        telling: Keeps the story of it, for the observers and for the result.
        trial_calls: Calls of the metric beyond one that the first rollout may make.
        roots: Name to object, of all that may hold secrets. A run directory knows them itself.

    Raises:
        JournalError: the run directory cannot be used.
    """

    @cache  # looked for only if somebody sends something away
    def redactor() -> Redactor:
        return run_dir.redact if run_dir is not None else Redactor(credentials(os.environ, roots))

    state, beginnings = start(settings, seed), None
    listeners: list[Listener] = [lambda _event, new_state: on_state(new_state)]
    with ExitStack() as closing:
        telling = telling or Telling()
        all_observers: list[Observer] = [telling, *observers]
        if run_dir is not None:
            # Before the observers: what happened is written before anybody acts on it.
            state, beginnings = run_dir.resumed(settings, trial_calls=trial_calls), run_dir.journal
            listeners.append(run_dir.journal)
            all_observers.append(keeper(run_dir))
        listeners.append(lambda _event, new_state: _tell(on_stored, new_state))
        telling.begun_with(state, run_dir, lambda values: redactor().hidden(values))
        fan_out = FanOut(all_observers)
        closing.callback(fan_out.close)
        carrying_out = executor(state)
        closing.callback(carrying_out.close)
        _tell((on_state, *on_stored), state)
        fan_out.begun(state)
        return run_loop(state, carrying_out, [*listeners, fan_out], stoppers, beginnings=beginnings)


def _tell(listening: Iterable[Callable[[RunState], None]], state: RunState) -> None:
    for tell in listening:
        tell(state)


def executor_for(
    worker: Worker, num_threads: int, pool: Any, parcel: Callable[[], Parcel]
) -> Executor:
    """Hands requests to this worker, so many at once.

    Args:
        worker: Carries out what stays in this process.
        num_threads: How many rollouts are in flight.
        pool: The `concurrent.futures.Executor` or Dask client that carries out rollouts; None if
            the worker does.
        parcel: What a pool is sent.

    Raises:
        SettingsError: something of it cannot be sent.
    """
    if pool is not None:
        packed = parcel()
        return PooledExecutor(worker, pool_of(pool), num_threads, packed)
    return SerialExecutor(worker) if num_threads == 1 else ThreadedExecutor(worker, num_threads)


def check(
    finish: RunOutcome,
    *,
    log_dir: str | None,
    program: Callable[[Candidate], object],
    thing: str,
    advice: str = "",
) -> None:
    """Nothing, if the run came to a result.

    Args:
        finish: How it ended.
        log_dir: Where it is kept.
        program: What an error hands over of the best candidate.
        thing: What is improved, in a word.
        advice: What may help if the program failed everywhere; not said where only the metric did.

    Raises:
        MetricError: the metric or the evaluator returned something that is no score.
        WorkerError: a model or its server cannot be used, or the program or the metric.
        ReflectionError: no reflection ever gave a usable text.
    """
    state, result = finish.state, RunResult(finish.state)

    def best() -> object:  # made only for an error: of a program it is a copy
        sound = _sound_best(state)
        return None if sound is None else program(sound)

    if isinstance(finish.error, MetricError):
        finish.error.program = best()
        raise finish.error
    kept = (
        f" What was paid for is in {log_dir}: the same call carries on."
        if log_dir is not None
        else " With log_dir=... a later call could carry on."
    )
    reflected = [proposal for proposal in result.proposals if proposal.reflected_examples]
    is_vain = result.failed == len(reflected) > 0
    if state.is_broken and not (is_vain and useless_reflections(state) and not state.causes):
        if finish.error is not None:
            advice = advice_on(finish.error)
        elif all(cause.startswith(OF_METRIC) for cause in state.causes):
            advice = ""
        raise WorkerError(
            f"The run stopped because its work cannot be carried out: {state.ending}\n"
            f"{state.tally.metric_calls} metric calls were made until then.{advice}{kept}",
            program=best(),
        ) from finish.error
    if is_vain:
        last = reflected[-1].verdict.reason
        if (state.settings.limits.rollouts_at_most or math.inf) <= _TRIAL_ROLLOUTS:
            logger.warning("The %s is as it was: no reflection gave a text: %s", thing, last)
            return
        advice = (
            " Try a stronger reflection_lm, or one with a larger max_tokens."
            if NO_TEXT_IN_REPLY in last
            else ""
        )
        raise ReflectionError(
            f"None of {result.failed} reflections gave a usable text, so there is nothing to "
            f"return but the {thing} as it was. The last one: {last}.{advice}"
            f"{kept if state.is_broken else ''}",
            program=best(),
        ) from finish.error


def _sound_best(state: RunState) -> Candidate | None:
    """The best by what was scored before anything broke down; None if nothing was."""
    if not state.members:
        return None
    return state.members[replace(state, members=without_failures(state)).best].candidate


def _given(limits: Limits) -> dict[str, float]:
    return {name: limit for name, limit in asdict(limits).items() if limit is not None}


def _described(model: Any) -> dict[str, object]:
    """A model by its name and how it answers; where it is served may change from run to run."""
    kwargs = getattr(model, "kwargs", {})
    kept = ("temperature", "max_tokens", "top_p", "reasoning_effort")
    return {
        "model": str(getattr(model, "model", None) or strategy_name(model)),
        **{name: kwargs[name] for name in kept if kwargs.get(name) is not None},
    }

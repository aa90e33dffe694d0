"""One run of anything: start or resume, listeners, executor, loop, and what a broken end means."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.endings import vain_reflections
from dspy_gepa.core.membership import without_failures
from dspy_gepa.core.search import start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.errors import MetricError, ReflectionError, WorkerError
from dspy_gepa.models.outages import advice_on
from dspy_gepa.observe.observer import FanOut, Observer
from dspy_gepa.observe.telling import Telling
from dspy_gepa.reflect.answers import NO_TEXT_IN_REPLY
from dspy_gepa.result import RunResult
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import Finish, Listener, Stopper, run
from dspy_gepa.store.run_dir import RunDir

__all__ = ["check", "searched"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_TRIAL_METRIC_CALLS = 10
"""A budget of no more than so many is a smoke test, whose models may answer anything: that no text
came of it is said, and is no error. Our choice."""


def searched(
    settings: Settings,
    seed: Candidate,
    run_dir: RunDir | None,
    told: Callable[[RunState], None],
    *,
    observers: Iterable[Observer],
    keeper: Callable[[RunDir], Observer],
    executor: Callable[[RunState], Executor],
    stoppers: Sequence[Stopper],
    telling: Telling | None = None,
    trial_calls: int = 0,
) -> Finish:
    """Run a search to its end, whatever that is: see `check`.

    Args:
        settings: What the search is asked to do.
        seed: The texts to start from.
        run_dir: Where it is kept; carried on from there if something is in it.
        told: Is told of every state, so that the last one is known also where a strategy, the
            journal or the second Ctrl-C raises.
        observers: Are told of every event.
        keeper: Makes the observer that keeps the best so far in the run directory.
        executor: Makes what carries requests out, given the state to carry on from.
        stoppers: May end it after a proposal.
        telling: Keeps the story of it, for the observers and for the result.
        trial_calls: Calls of the metric beyond one that the first rollout may make.

    Raises:
        JournalError: the run directory cannot be used.
    """
    begun, listeners = start(settings, seed), [_of_states(told)]
    with ExitStack() as closing:
        telling = telling or Telling()
        observing: list[Observer] = [telling, *observers]
        if run_dir is not None:
            # Before the observers: what happened is written before anybody acts on it.
            begun = run_dir.resumed(settings, trial_calls=trial_calls)
            listeners.append(run_dir.journal)
            observing.append(keeper(run_dir))
        telling.begun_with(begun, run_dir)
        fan = FanOut(observing)
        closing.callback(fan.close)
        carrying_out = executor(begun)
        closing.callback(carrying_out.close)
        told(begun)
        fan.begun(begun)
        beginnings = None if run_dir is None else run_dir.journal
        return run(begun, carrying_out, [*listeners, fan], stoppers, beginnings=beginnings)


def check(
    finish: Finish,
    *,
    log_dir: str | None,
    program: Callable[[Candidate], object],
    thing: str,
    advice: str = "",
) -> None:
    """Nothing, where the run came to a result.

    Args:
        finish: How it ended.
        log_dir: Where it is kept.
        program: What an error hands over of the best candidate.
        thing: What is improved, in a word.
        advice: What may help where the program or the metric failed everywhere.

    Raises:
        MetricError: the metric or the evaluator returned something that is no score.
        WorkerError: a model or its server cannot be used, or the program or the metric.
        ReflectionError: no reflection ever gave a usable text.
    """
    state, result = finish.state, RunResult(finish.state)
    sound = _sound_best(state)
    best = None if sound is None else program(sound)
    if isinstance(finish.error, MetricError):
        finish.error.program = best
        raise finish.error
    kept = (
        f" What was paid for is in {log_dir}: the same call carries on."
        if log_dir is not None
        else " With log_dir=... a later call could carry on."
    )
    reflected = [proposal for proposal in result.proposals if proposal.shown]
    is_vain = result.failed == len(reflected) > 0
    if state.is_broken and not (is_vain and vain_reflections(state) and not state.causes):
        advice = advice if finish.error is None else advice_on(finish.error)
        raise WorkerError(
            f"The run stopped because its work cannot be carried out: {state.ending}\n"
            f"{state.tally.metric_calls} metric calls were made until then.{advice}{kept}",
            program=best,
        ) from finish.error
    if is_vain:
        last = reflected[-1].verdict.reason
        if (state.settings.limits.metric_calls or math.inf) <= _TRIAL_METRIC_CALLS:
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
            program=best,
        ) from finish.error


def _sound_best(state: RunState) -> Candidate | None:
    """The best by what was scored before anything broke down; None where nothing was."""
    if not state.members:
        return None
    return state.members[replace(state, members=without_failures(state)).best].candidate


def _of_states(told: Callable[[RunState], None]) -> Listener:
    return lambda _event, state: told(state)

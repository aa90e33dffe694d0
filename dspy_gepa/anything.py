"""`optimize_anything`: an artifact and an evaluator in, a better artifact out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import dspy
from typing_extensions import Unpack

from dspy_gepa.anything_arguments import AnythingArguments, Mode, SharedArguments
from dspy_gepa.anything_result import AnythingResult
from dspy_gepa.anything_wiring import AnythingOptimization
from dspy_gepa.artifact.isolated import MOST_PROCESSES
from dspy_gepa.artifact.reading import Kind
from dspy_gepa.errors import SettingsError
from dspy_gepa.gepa_config import mapped_config
from dspy_gepa.observe.observer import Observer

__all__ = ["optimize_anything"]


def optimize_anything(
    artifact: str | Mapping[str, str] | None = None,
    evaluator: Callable[..., Any] | None = None,
    *,
    objective: str | None = None,
    background: str | None = None,
    mode: Mode | None = None,
    dataset: Iterable[Any] | None = None,
    valset: Iterable[Any] | None = None,
    testset: Iterable[Any] | None = None,
    reflection_lm: dspy.BaseLM | Callable[[str], Any] | str | None = None,
    max_evals: int | None = None,
    max_cost: float | None = None,
    max_seconds: float | None = None,
    num_threads: int | None = None,
    timeout_seconds: float | None = 900.0,
    isolation: str | None = None,
    memory_mb: int | None = None,
    max_processes: int | None = MOST_PROCESSES,
    capture_stdio: bool = False,
    failure_score: float | None = None,
    repairs: int = 1,
    checks: Sequence[Callable[[str], Any]] = (),
    kind: Kind | Mapping[str, Kind] = "text",
    log_dir: str | None = None,
    seed: int | None = 0,
    window: int | None = None,
    observers: Sequence[Observer] = (),
    config: Any = None,
    seed_candidate: str | Mapping[str, str] | None = None,
    test_set: Iterable[Any] | None = None,
    batch_evaluator: Callable[..., Any] | None = None,
    **shared: Unpack[SharedArguments],
) -> AnythingResult:
    """The best artifact that was found, with its score and what that cost.

    The artifact is any text, or a dict of named texts. The evaluator scores it: it is called with
    the artifact, and where there is a dataset with the artifact and one example. It returns a
    number, higher is better, alone or with whatever a model should know to do better: `(score,
    anything)`, a dict with "score", or `dspy_gepa.Feedback`. A coroutine function works too. What
    it raises is a failure, which is no score: it ranks below everything that scored.

    Without a dataset there is a single task. With a dataset each of its examples is a problem, and
    the result has the best artifact of each. With a dataset and a valset the artifact is to do
    well on examples that it was not made from: those of the valset choose.

    A run in `log_dir` is carried on by the same call. The evaluator is known there by its name:
    another one under the same name cannot be told from it.

    Args:
        artifact: What to start from. Without one the first is written from the objective and the
            background by `reflection_lm`, and the first examples of the dataset.
        evaluator: Scores an artifact.
        objective: What is to be achieved, in words.
        background: What a model should know about the task, in words.
        mode: "single_task", "multi_task" or "generalization"; checked against the data.
        dataset: Problems, or examples to learn from, of any type.
        valset: Examples to choose by.
        testset: Examples on which the first artifact and the best are compared at the end. Their
            evaluations are beside `max_evals`.
        reflection_lm: Writes better artifacts: a model of DSPy's, a name that litellm knows, or a
            function from a prompt to a reply. By default the one that DSPy has configured.
        max_evals: The most calls of the evaluator; 100 where there is no limit of any kind.
        max_cost: The most USD, for everything that is asked of models through DSPy.
        max_seconds: After so many nothing more is begun.
        num_threads: Evaluations at once.
        timeout_seconds: For one evaluation; a reflection has as long, and 900 seconds at least. In
            this process, a thread that takes longer is left behind.
        isolation: "process" for a process of its own for each evaluation, which is ended with all
            that it began when it is over or takes too long.
        memory_mb: The most memory of such a process, beside what there is at its beginning.
        max_processes: The most processes at once of such an evaluation, under Linux.
        capture_stdio: Whether what an evaluation prints is part of its feedback; what its child
            processes print is seen with isolation only. `dspy_gepa.log` always is.
        failure_score: What a failure scores, where it is to be a score.
        repairs: How often an artifact that fails goes back with its failure, before it is rejected.
        checks: Functions of a new text that return False or a reason, or raise, where it is bad:
            it is told to the model, which may mend it, and no evaluation is paid for it. They run
            where evaluations do.
        kind: "code" where the artifact is a program: the model is told so, and of a reply with
            several fences the only program is taken. A dict says it of single texts.
        log_dir: Where the run is kept.
        seed: The same seed gives the same run.
        window: Proposals under way at once.
        observers: Told of every event of the run.
        config: The gepa package's, as its object or as a dict of dicts. It is read only.
        seed_candidate: gepa's name of `artifact`.
        test_set: gepa's name of `testset`.
        batch_evaluator: gepa's; refused.
        **shared: Names that mean what they mean in `GEPA`, see `SharedArguments`.

    Raises:
        SettingsError: an argument is wrong; nothing was spent.
        MetricError: the evaluator returned something that is no score.
        WorkerError: a model cannot be used, or nothing ever scored.
        ReflectionError: the reflection LM never gave a usable text.
        JournalError: `log_dir` holds another run, or cannot be used.
    """
    if batch_evaluator is not None:
        raise SettingsError(
            "batch_evaluator is not supported: give evaluator=, which is called for several "
            "examples at once with num_threads=."
        )
    own = {
        "artifact": _one_of("artifact", artifact, "seed_candidate", seed_candidate),
        "evaluator": evaluator,
        "objective": objective,
        "background": background,
        "mode": mode,
        "dataset": dataset,
        "valset": valset,
        "testset": _one_of("testset", testset, "test_set", test_set),
        "max_evals": max_evals,
        "max_cost": max_cost,
        "isolation": isolation,
        "memory_mb": memory_mb,
        "max_processes": max_processes,
        "capture_stdio": capture_stdio,
        "failure_score": failure_score,
        "repairs": repairs,
        "checks": checks,
        "kind": kind,
    }
    given = {
        "reflection_lm": reflection_lm,
        "max_seconds": max_seconds,
        "num_threads": num_threads,
        "timeout_seconds": timeout_seconds,
        "log_dir": log_dir,
        "seed": seed,
        "window": window,
        "observers": observers,
    }
    own, given = mapped_config(config, own, {**given, **shared})
    optimization = AnythingOptimization(AnythingArguments(**own, given=given))
    with optimization.evaluating() as evaluate, optimization.run_dir() as run_dir:
        finish = optimization.search(evaluate, run_dir, lambda _state: None)
        optimization.check(finish)
        return optimization.result(finish, evaluate, run_dir)


def _one_of(name: str, value: Any, other_name: str, other: Any) -> Any:
    """What was given under one of two names."""
    if value is not None and other is not None:
        raise SettingsError(f"{name} and {other_name} were both given, and they mean the same.")
    return value if value is not None else other

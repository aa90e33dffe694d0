"""`optimize_anything`: an artifact and an evaluator in, a better artifact out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import dspy

from dspy_gepa.artifact.isolated import MOST_PROCESSES
from dspy_gepa.artifact.reading import ArtifactKind
from dspy_gepa.compat.callbacks import CallbackObserver
from dspy_gepa.compat.gepa_config import mapped_config
from dspy_gepa.compat.names import check_names, keywords_of
from dspy_gepa.compat.strategies import component_selector as as_component_selector
from dspy_gepa.compat.strategies import selection as as_selection
from dspy_gepa.compat.strategies import stopper
from dspy_gepa.config.budget import Budget
from dspy_gepa.config.config import Config
from dspy_gepa.config.execution import Execution, Tracking
from dspy_gepa.config.search import ScoreSettings, Search
from dspy_gepa.config.texts import Frozen, Reflection, TextRules
from dspy_gepa.core.columns import FrontierKind
from dspy_gepa.core.components import ComponentSelector
from dspy_gepa.core.gate import Gate
from dspy_gepa.core.selection import Selection
from dspy_gepa.errors import SettingsError
from dspy_gepa.improvement.config import AnythingArguments, Mode, example_list
from dspy_gepa.improvement.improvement import Improvement, improvement_of, tabulated_problems
from dspy_gepa.improvement.result import AnythingResult
from dspy_gepa.models.usage import Price
from dspy_gepa.observe.observer import Observer

__all__ = ["improvement_for", "optimize_anything"]


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
    executor: Any = None,
    timeout_seconds: float | None = 900.0,
    isolation: str | None = None,
    memory_mb: int | None = None,
    max_processes: int | None = MOST_PROCESSES,
    capture_stdio: bool = False,
    failure_score: float | None = None,
    repairs: int = 1,
    checks: Sequence[Callable[[str], Any]] = (),
    kind: ArtifactKind | Mapping[str, ArtifactKind] = "text",
    log_dir: str | os.PathLike[str] | None = None,
    seed: int | None = 0,
    window: int | None = None,
    observers: Sequence[Observer] = (),
    config: Any = None,
    seed_candidate: str | Mapping[str, str] | None = None,
    test_set: Iterable[Any] | None = None,
    batch_evaluator: Callable[..., Any] | None = None,
    max_rollouts: int | None = None,
    max_reflection_calls: int | None = None,
    max_proposals: int | None = None,
    max_total_tokens: int | None = None,
    price: Price | None = None,
    frozen: Frozen = (),
    constraints: str | Sequence[str] = (),
    invariants: Sequence[Callable[[str, str, str], Any]] = (),
    guidance: str = "",
    references: Mapping[str, str] | Sequence[str | os.PathLike[str]] = (),
    reflection_template: Any = None,
    objectives: Mapping[str, str] | Sequence[str] = (),
    frontier_type: FrontierKind = "instance",
    perfect_score: float | None = None,
    skip_perfect_score: bool | None = None,
    reflection_minibatch_size: int | None = None,
    candidate_selection_strategy: str | Selection | Any = None,
    component_selector: str | ComponentSelector | Any = None,
    gate: Gate | None = None,
    use_merge: bool = True,
    max_merge_invocations: int | None = 5,
    callbacks: Sequence[Any] = (),
    stop_callbacks: Sequence[Callable[[Any], bool]] = (),
    use_wandb: bool = False,
    wandb_api_key: str | None = None,
    wandb_init_kwargs: Mapping[str, Any] | None = None,
    use_mlflow: bool = False,
    mlflow_tracking_uri: str | None = None,
    mlflow_experiment_name: str | None = None,
    tracking_key_prefix: str = "gepa/",
    progress: Literal["auto", "live", "lines", "off"] = "auto",
    **unknown: Any,
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
        artifact: What to start from. Without one `reflection_lm` writes the first, from the
            objective, the background and the first examples of the dataset. Lines of new ones end
            as its lines do, in newlines where those end in several ways.
        evaluator: Scores an artifact.
        objective: What is to be achieved, in words.
        background: What a model should know about the task, in words.
        mode: "single_task", "multi_task" or "generalization"; checked against the data.
        dataset: Problems, or examples to learn from, of any type.
        valset: Examples to choose by.
        testset: Examples on which the first artifact and the best are compared at the end. Their
            evaluations do not count against `max_evals`.
        reflection_lm: Writes better artifacts: a model of DSPy's, a name that litellm knows, or a
            function from a prompt to a reply. By default the one that DSPy has configured.
        max_evals: The most calls of the evaluator; 100 if no limit of any kind is given.
        max_cost: The most USD, for everything that is asked of models through DSPy; see
            `max_usd` of `GEPA`.
        max_seconds: After so many seconds nothing more is begun.
        num_threads: Evaluations at once.
        executor: Carries out evaluations in other processes, as in `GEPA`; not with `isolation`.
        timeout_seconds: How long one evaluation may take; None is no limit. A reflection may take
            as long, and in any case 900 seconds. In this process a thread that takes longer goes on
            unheeded.
        isolation: "process" for a process of its own for each evaluation, which is ended with all
            that it began when it is over or takes too long.
        memory_mb: The most memory of such a process, beside what it has at its beginning; on Linux.
        max_processes: The most processes at once of such an evaluation; on Linux.
        capture_stdio: Whether what an evaluation prints is part of its feedback; what its child
            processes print is seen with isolation only. `dspy_gepa.log` always is.
        failure_score: What a failure scores. By default it has no score.
        repairs: How often an artifact that fails goes back with its failure, before it is rejected.
        checks: Functions of a new text that return False or a reason, or raise, where it is bad:
            it is told to the model, which may mend it, and no evaluation is paid for it. They run
            where evaluations do.
        kind: "code" where the artifact is a program: the model is told so, and of a reply with
            several fences the only program is taken. A dict says it of single texts.
        log_dir: Where the run is kept.
        seed: All chance follows from it.
        window: Proposals under way at once. By default 1; with a valset 1 or 2, by the budget.
        observers: Told of every event of the run.
        config: The gepa package's configuration, as its object or as a dict of dicts. It is not
            changed.
        seed_candidate: gepa's name of `artifact`.
        test_set: gepa's name of `testset`.
        batch_evaluator: gepa's; refused.
        max_rollouts: A limit in evaluations; like all that follow, it means what it does in `GEPA`.
        max_reflection_calls: A limit in calls of the reflection LM.
        max_proposals: A limit in attempts at a new artifact.
        max_total_tokens: A limit in tokens of all model calls.
        price: A function in place of litellm's price table: from a model's name and a call's usage
            to USD or None.
        frozen: Texts, or parts of them, that are never rewritten.
        constraints: What every new text has to comply with, in words.
        invariants: Functions of name, old and new text that return False or a reason to refuse it.
        guidance: Advice for the reflection LM, in words.
        references: Texts for the reflection LM to consult.
        reflection_template: The reflection LM's prompt.
        objectives: Name to "max" or "min", for what `objective_scores` hold.
        frontier_type: What members are compared on.
        perfect_score: The highest score, which cannot be improved on. By default none is known.
        skip_perfect_score: Whether a minibatch on which all scores equal that is not reflected on.
            By default it is not, if `perfect_score` is named.
        reflection_minibatch_size: Problems that a proposal learns from. By default 3; with a valset
            3, or 3, 5 or 8 if `perfect_score` is named.
        candidate_selection_strategy: How the artifact that is rewritten is chosen.
        component_selector: Which texts a proposal rewrites.
        gate: Whether a new artifact is kept or validated, by the scores on the minibatch. By
            default it must do better; in a single task whatever comes to a score is kept.
        use_merge: Whether artifacts are merged; never in a single task, and without a valset only
            if the artifact is a dict of several texts.
        max_merge_invocations: How many merges are tried at most.
        callbacks: Objects with hooks that were written for the gepa package.
        stop_callbacks: Functions that were written for the gepa package, asked after every
            proposal whether to stop.
        use_wandb: Whether the run is logged to Weights & Biases.
        wandb_api_key: The key for Weights & Biases; never stored.
        wandb_init_kwargs: Arguments for `wandb.init`.
        use_mlflow: Whether the run is logged to MLflow.
        mlflow_tracking_uri: Where MLflow's server is.
        mlflow_experiment_name: The experiment of MLflow that the run is logged to.
        progress: How the run is shown while it lasts: as in `GEPA`.
        tracking_key_prefix: What the names of what is logged begin with.
        **unknown: Refused, with the names that may be meant.

    Raises:
        SettingsError: an argument is wrong; nothing was spent.
        MetricError: the evaluator returned something that is no score.
        WorkerError: a model cannot be used, or nothing ever scored.
        ReflectionError: the reflection LM never gave a usable text.
        JournalError: `log_dir` holds another run, or cannot be used.
        MissingExtra: MLflow or Weights & Biases is asked for and not installed.
    """
    if batch_evaluator is not None:
        raise SettingsError(
            "batch_evaluator is not supported: give evaluator=, which is called for several "
            "examples at once with num_threads=."
        )
    check_names(unknown, keywords_of(optimize_anything), "optimize_anything")
    asked = AnythingArguments(
        artifact=_one_of("artifact", artifact, "seed_candidate", seed_candidate),
        evaluator=evaluator,
        objective=objective,
        background=background,
        mode=mode,
        dataset=example_list("dataset", dataset),
        valset=example_list("valset", valset),
        testset=example_list("testset", _one_of("testset", testset, "test_set", test_set)),
        max_evals=max_evals,
        max_cost=max_cost,
        isolation=isolation,
        memory_mb=memory_mb,
        max_processes=max_processes,
        capture_stdio=capture_stdio,
        failure_score=failure_score,
        perfect_score=perfect_score,
        skip_perfect_score=skip_perfect_score,
        checks=checks,
        kind=kind,
        config=Config(
            budget=Budget(
                max_rollouts=max_rollouts,
                max_reflection_calls=max_reflection_calls,
                max_proposals=max_proposals,
                max_total_tokens=max_total_tokens,
                max_seconds=max_seconds,
                price=price,
            ),
            search=Search(
                seed=seed,
                reflection_minibatch_size=reflection_minibatch_size,
                candidate_selection_strategy=candidate_selection_strategy,
                component_selector=component_selector,
                gate=gate,
                frontier_type=frontier_type,
                use_merge=use_merge,
                max_merge_invocations=max_merge_invocations,
                window=window,
            ),
            scores=ScoreSettings(objectives=objectives),
            texts=TextRules(frozen=frozen, constraints=constraints, invariants=invariants),
            reflection=Reflection(
                reflection_lm=reflection_lm,
                guidance=guidance,
                references=references,
                reflection_template=reflection_template,
                repairs=repairs,
            ),
            execution=Execution(
                num_threads=num_threads,
                executor=executor,
                timeout_seconds=timeout_seconds,
                log_dir=log_dir,
            ),
            tracking=Tracking(
                progress=progress,
                observers=observers,
                callbacks=callbacks,
                stop_callbacks=stop_callbacks,
                use_wandb=use_wandb,
                wandb_api_key=wandb_api_key,
                wandb_init_kwargs=wandb_init_kwargs,
                use_mlflow=use_mlflow,
                mlflow_tracking_uri=mlflow_tracking_uri,
                mlflow_experiment_name=mlflow_experiment_name,
                tracking_key_prefix=tracking_key_prefix,
            ),
        ),
    )
    usual = AnythingArguments(artifact=None, evaluator=None)
    mapped = mapped_config(config, asked.arguments, usual.arguments)
    improvement = improvement_for(asked.with_arguments(mapped))
    with (
        improvement.evaluating() as evaluate,
        improvement.run_directory() as run_dir,
        improvement.progress.telling.whole(),
    ):
        finish = improvement.search(evaluate, run_dir)
        improvement.check(finish)
        return improvement.result(finish, evaluate, run_dir)


def improvement_for(asked: AnythingArguments) -> Improvement:
    """What is asked for, with what was written for another package as values of ours.

    Raises:
        SettingsError: an argument is wrong.
    """
    search, tracking = asked.config.search, asked.config.tracking
    parent, components = search.candidate_selection_strategy, search.component_selector
    table = tabulated_problems(asked)
    examples = table.examples
    return improvement_of(
        asked,
        table,
        selection=None if parent is None else as_selection(parent),
        components=None if components is None else as_component_selector(components, examples),
        callbacks=[CallbackObserver(each, examples) for each in tracking.callbacks],
        stoppers=[stopper(each) for each in tracking.stop_callbacks],
    )


def _one_of(name: str, value: Any, other_name: str, other: Any) -> Any:
    """What was given under one of two names."""
    if value is not None and other is not None:
        raise SettingsError(f"{name} and {other_name} were both given, and they mean the same.")
    return value if value is not None else other

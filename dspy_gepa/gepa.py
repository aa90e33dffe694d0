"""`GEPA`: the teleprompter, under the names of dspy.GEPA and MIPROv2."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import dspy
from dspy.teleprompt import Teleprompter

from dspy_gepa.compat.callbacks import CallbackObserver
from dspy_gepa.compat.gepa_kwargs import KEYS, mapped_gepa_kwargs
from dspy_gepa.compat.mipro import MIPROv2Arguments, auto_budget
from dspy_gepa.compat.names import check_attribute, check_names, keywords_of
from dspy_gepa.compat.results import attach_mipro_statistics, detailed_results
from dspy_gepa.compat.strategies import component_selector as as_component_selector
from dspy_gepa.compat.strategies import selection as as_selection
from dspy_gepa.compat.strategies import stopper
from dspy_gepa.compilation.compilation import Compilation, Compiled, compilation_of
from dspy_gepa.compilation.task import (
    Customization,
    demo_settings,
    seeded,
    tabulated_examples,
    task_for,
)
from dspy_gepa.config.afterwards import Afterwards
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
from dspy_gepa.models.usage import Price
from dspy_gepa.observe.observer import Observer
from dspy_gepa.plan import Plan
from dspy_gepa.program.components.kinds import kinds_for
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.result import RunResult

__all__ = ["GEPA"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class GEPA(Teleprompter):  # type: ignore[misc]  # DSPy is untyped here
    """Improves the instructions of a DSPy program by reflecting on what went wrong.

    Runs the student on a few training examples, shows a reflection LM what it did and what the
    metric said about it, tries the rewritten instructions on the same examples, and validates
    those that do better, which become members of a pool. What is rewritten next is drawn from the
    pool: the likelier a member is the best, the likelier it is drawn. Two members that learned
    different things are merged. Paper: arXiv 2507.19457.

    Args:
        metric: `metric(gold, pred)`, also with `trace=None` or with the five parameters of
            `dspy.GEPA`. Returns a number, `(score, feedback)`, a dict or a `dspy.Prediction`
            with `score` and `feedback`. The feedback is what the reflection LM learns from. If a
            metric takes anything (`*args`), one call finds out whether it takes all five.
        auto: "light", "medium" or "heavy": a budget by the size of program and validation set.
            At most one of this and the next two may be given; with none of them it is "light",
            whatever else is limited.
        max_full_evals: A budget of so many metric calls for each training and validation example.
        max_metric_calls: A budget in metric calls. Never exceeded. It and the limits that follow
            can be mixed; the first that is used up ends the run.
        max_rollouts: A limit in runs of the program. Never exceeded.
        max_reflection_calls: A limit in calls of the reflection LM. Never exceeded, unless an
            instruction or code proposer of your own makes more than one for a component.
        max_proposals: A limit in attempts at a new candidate.
        max_total_tokens: A limit in tokens of all model calls, those of the metric included.
            Nothing is begun that would exceed it if it cost as much as the dearest so far.
        max_usd: Likewise in USD, by litellm's price table or `price`. A model whose price is not
            known is refused.
        max_seconds: After so many seconds nothing is begun any more, and what runs is finished.
        price: A function in place of litellm's price table, for all models: from a model's name and
            a call's usage, as the provider reports it, to USD, or to None if it does not know.
        timeout_seconds: How long a rollout, its metric or a reflection may take. One that takes
            longer is recorded as failed and not tried again. None is no limit. "auto" is 900, our
            choice, which keeps a hung call from hanging the run. But with `num_threads=1` "auto" is
            no limit: all is done in the thread that called `compile`, because a program may be
            bound to it, and what hangs there can only be interrupted.
        optimize: What is rewritten: "instructions" and "code", the source of `dspy.Flex` modules;
            and where asked for "tools" and "fields", the descriptions of tools, their arguments
            and the fields of signatures.
        seed_instructions: Component to the text to start from in place of the program's own.
        frozen: Components that are never rewritten; or component to the substrings and compiled
            patterns that must stay in its text, or to True for all of it. "*" is any component.
        constraints: What every new text has to comply with, in words for the reflection LM; whether
            it does is not checked.
        invariants: Functions of component, old and new text. A text on which one returns False
            or a reason is refused before a rollout is paid, and the reason is told.
        max_instruction_tokens: The most tokens of a new text; a source has no such limit.
        must_pass: Examples on which no candidate may score lower than the program as given.
        guidance: Advice for the reflection LM, in words.
        references: Texts for it to consult: title to text, or paths of files.
        reflection_template: The reflection LM's prompt, with `{{instruction}}`, `{{examples}}` and
            other placeholders; or component to such a text. See `dspy_gepa.reflect.templates`.
        reflection_style: "diagnose", or "transcribe" for models of a few billion parameters.
        edit_mode: "rewrite" asks for a new instruction, "append" for lines to add to the current
            one.
        objectives: Name to "max" or "min", for what `objective_scores` hold. "total_tokens",
            "usd" and "seconds" of a rollout are measured where they are named, and by default
            minimized.
        frontier_type: What members are compared on: "instance", "objective", "hybrid" or
            "cartesian". Objectives count in all but the first.
        aggregate_metric: A function from all validation pairs of example and prediction to the
            score by which the winner is chosen. Then each member is validated on all of them. It is
            tried on the program as it was given as soon as that is validated; if it raises there,
            or gives no finite number, `compile` stops before the search is paid for.
        search: "default", which validates on a few examples first and learns from failures, or
            "paper", the published algorithm to the letter. Arguments of the search that are None
            are chosen by it.
        reflection_minibatch_size: Training examples that a proposal learns from and is compared on.
            By default 3, 5 or 8, of which the run finds out the best; 3 in the paper's search, and
            with `skip_perfect_score=False`.
        candidate_selection_strategy: "pareto", "current_best", "epsilon_greedy", "top_k_pareto",
            a function from a `PoolView` and a `random.Random` to a member's id, or an object
            with `select_candidate_idx`. By default the likelier a member is the best, by an
            estimate, the likelier it is drawn; "pareto" in the paper's search.
        reflection_lm: The model that rewrites instructions: a name that litellm knows, a `dspy.LM`,
            another `dspy.BaseLM` or a function from a prompt to a reply. A strong one pays. Without
            one, `prompt_model`, or the LM that is configured in DSPy when `compile` is called.
        skip_perfect_score: Whether a minibatch on which every score is perfect is left out of
            reflection.
        add_format_failure_as_feedback: Whether answers that could not be parsed are shown to
            the reflection LM.
        instruction_proposer: Rewrites in place of our own reflection: DSPy's `ProposalFn`.
        code_proposer: Rewrites the source of `dspy.Flex` modules: DSPy's `CodeProposalFn`. Without
            one, DSPy's own code proposer does, by the reflection LM.
        repairs: How often a source that fails goes back with its failure, before it is rejected;
            never in the paper's search.
        component_selector: "round_robin", "all", a function from a `ComponentView` to names, or
            a function of dspy.GEPA's five arguments. By default "all", but one at a time while the
            reflection LM turns out to answer about one at a time; "round_robin" in the paper's
            search, and where `optimize` has "tools" or "fields".
        use_merge: Whether members are merged, by component and, but in the paper's search, by line.
        max_merge_invocations: How many merges are tried at most; None for none.
        num_threads: Rollouts in flight at once; as DSPy is configured where it is None. The
            result does not depend on it. With 1 and without `timeout_seconds`, programs run in the
            thread that calls `compile`. Asynchronous programs always share one event loop.
        executor: Carries out rollouts in other processes: a `concurrent.futures.Executor`, such as
            `ProcessPoolExecutor` with spawn, a `dask.distributed.Client`, or the module `ray` after
            `ray.init(...)`. It is not closed.
            `num_threads` is how many are in flight there.
        failure_score: The score where the program or the metric fails on an example. If it is not
            given, a failure counts as 0, or as one less than a `perfect_score` of 0 or lower;
            and where a score below that is compared with it, it ranks below all that worked.
        perfect_score: The highest score of the metric, which cannot be improved on; a score above
            it is learned from like any other. None if no score is known to be the highest, which
            needs `skip_perfect_score=False`.
        log_dir: A run directory, where "~" is your home. What was paid for is kept there, and the
            same call carries on a run that was killed or interrupted, also with a larger budget
            (in the default search not as if it had had that from the beginning).
        log_examples: Whether that directory holds in words what examples are, to be read by people.
            Traces and prompts hold what the program was given in any case.
        track_stats: Whether the returned program carries `detailed_results`. By default where an
            argument that only MIPROv2 has, or `track_best_outputs`, is given.
        use_wandb: Whether the run is logged to Weights & Biases (extra `wandb`).
        wandb_api_key: The key for Weights & Biases; never stored.
        wandb_init_kwargs: Arguments for `wandb.init`.
        track_best_outputs: Whether `detailed_results` holds the best outputs.
        warn_on_score_mismatch: Whether it is reported if the metric gives another score when it is
            asked about one predictor.
        use_mlflow: Whether the run is logged to MLflow (extra `mlflow`).
        seed: All chance follows from it.
        gepa_kwargs: Keys of the gepa package; mapped to the arguments here, or refused by name.
        gate: A function from the child's and each parent's scores on the minibatch to whether the
            child is validated: `Margin` of `dspy_gepa.core.gate`, `strict_improvement`, or one of
            your own. By default the child must do better in sum, by however little.
        window: How many proposals are under way at once. Part of the algorithm, unlike
            `num_threads`: more of them keep more threads busy and see less of each other. By
            default 1 or 2, by the budget; 1 in the paper's search.
        prefer: "calls", or "time" where waiting is dearer than calls: sixteen proposals under way,
            and a child is run on its whole minibatch at once. The paper's search ignores it.
        rollouts_per_example: How often a member is run on each validation example, for programs
            and metrics that vary. Replies from a cache do not: `dspy.LM(..., cache=False)`.
        specialists: The most members that the returned program sends inputs to. Each input goes to
            the member that does best on inputs like it. If that brings no gain, the best member
            alone is returned: see `result.routing`.
        chooser: What chooses the member for an input: "nearest", "lm", "vote", "judge" or a
            function: see `Specialists`.
        progress: "live" (a line that changes, a panel in notebooks), "lines" or "off"; "auto" takes
            what suits the place.
        observers: Told of every event of the run.
        prompt_model: MIPROv2's; reflects if `reflection_lm` is not given.
        task_model: MIPROv2's; runs the program if its predictors have no model of their own.
        teacher_settings: MIPROv2's, for bootstrapping demonstrations.
        max_bootstrapped_demos: Above 0, demonstrations are tried after the instructions; not with
            `max_usd` or `max_total_tokens`, because DSPy's bootstrapping keeps no such limit.
        max_labeled_demos: Likewise, with demonstrations taken from the training set as they are.
        num_candidates: MIPROv2's; a budget by its own formula, where no metric calls follow from
            `auto`, `max_full_evals`, `max_metric_calls` or `num_trials` of `compile`.
        metric_threshold: The score from which on a bootstrapped demonstration is taken.
        max_errors: MIPROv2's; no meaning here, like the next two.
        init_temperature: No meaning here.
        verbose: No meaning here.
        **unknown: Refused, with the names that may be meant.

    Raises:
        SettingsError: an argument is wrong. Says what was given and what is allowed.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        auto: Literal["light", "medium", "heavy"] | None = None,
        max_full_evals: int | None = None,
        max_metric_calls: int | None = None,
        max_rollouts: int | None = None,
        max_reflection_calls: int | None = None,
        max_proposals: int | None = None,
        max_total_tokens: int | None = None,
        max_usd: float | None = None,
        max_seconds: float | None = None,
        price: Price | None = None,
        timeout_seconds: float | Literal["auto"] | None = "auto",
        optimize: Sequence[str] = ("instructions", "code"),
        seed_instructions: Mapping[str, str] | None = None,
        frozen: Frozen = (),
        constraints: str | Sequence[str] = (),
        invariants: Sequence[Callable[[str, str, str], Any]] = (),
        max_instruction_tokens: int | None = None,
        must_pass: Sequence[dspy.Example] = (),
        guidance: str = "",
        references: Mapping[str, str] | Sequence[str | os.PathLike[str]] = (),
        reflection_template: Any = None,
        reflection_style: Literal["diagnose", "transcribe"] = "diagnose",
        edit_mode: Literal["rewrite", "append"] = "rewrite",
        objectives: Mapping[str, str] | Sequence[str] = (),
        frontier_type: FrontierKind = "instance",
        aggregate_metric: Callable[[Sequence[tuple[Any, Any]]], float] | None = None,
        search: Literal["default", "paper"] = "default",
        reflection_minibatch_size: int | None = None,
        candidate_selection_strategy: str | Selection | Any = None,
        reflection_lm: dspy.BaseLM | Callable[[str], Any] | str | None = None,
        skip_perfect_score: bool = True,
        add_format_failure_as_feedback: bool = True,
        instruction_proposer: Any = None,
        code_proposer: Any = None,
        repairs: int = 1,
        component_selector: str | ComponentSelector | Any = None,
        use_merge: bool = True,
        max_merge_invocations: int | None = 5,
        num_threads: int | None = None,
        executor: Any = None,
        failure_score: float | None = None,
        perfect_score: float | None = 1.0,
        log_dir: str | os.PathLike[str] | None = None,
        track_stats: bool | None = None,
        use_wandb: bool = False,
        wandb_api_key: str | None = None,
        wandb_init_kwargs: Mapping[str, Any] | None = None,
        track_best_outputs: bool = False,
        warn_on_score_mismatch: bool = True,
        use_mlflow: bool = False,
        seed: int | None = 0,
        gepa_kwargs: Mapping[str, Any] | None = None,
        gate: Gate | None = None,
        window: int | None = None,
        prefer: Literal["calls", "time"] = "calls",
        rollouts_per_example: int = 1,
        specialists: int | None = None,
        chooser: str | Callable[[Mapping[str, Any]], int] = "nearest",
        progress: Literal["auto", "live", "lines", "off"] = "auto",
        log_examples: bool = True,
        observers: Sequence[Observer] = (),
        prompt_model: dspy.BaseLM | Callable[[str], Any] | str | None = None,
        task_model: dspy.BaseLM | None = None,
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int | None = None,
        max_labeled_demos: int | None = None,
        num_candidates: int | None = None,
        metric_threshold: float | None = None,
        max_errors: int | None = None,
        init_temperature: float | None = None,
        verbose: bool | None = None,
        **unknown: Any,
    ) -> None:
        check_names(unknown, keywords_of(GEPA), "GEPA", _beside())
        self._result: RunResult | None = None
        self.metric_fn = metric
        """The metric, under the name that it has in dspy.GEPA."""
        self.gepa_kwargs = gepa_kwargs
        self._config = Config(
            budget=Budget(
                auto=auto,
                max_full_evals=max_full_evals,
                max_metric_calls=max_metric_calls,
                max_rollouts=max_rollouts,
                max_reflection_calls=max_reflection_calls,
                max_proposals=max_proposals,
                max_total_tokens=max_total_tokens,
                max_usd=max_usd,
                max_seconds=max_seconds,
                price=price,
            ),
            search=Search(
                search=search,
                seed=seed,
                reflection_minibatch_size=reflection_minibatch_size,
                candidate_selection_strategy=candidate_selection_strategy,
                component_selector=component_selector,
                gate=gate,
                frontier_type=frontier_type,
                use_merge=use_merge,
                max_merge_invocations=max_merge_invocations,
                window=window,
                prefer=prefer,
                rollouts_per_example=rollouts_per_example,
            ),
            scores=ScoreSettings(
                failure_score=failure_score,
                perfect_score=perfect_score,
                skip_perfect_score=skip_perfect_score,
                objectives=objectives,
                aggregate_metric=aggregate_metric,
                warn_on_score_mismatch=warn_on_score_mismatch,
            ),
            texts=TextRules(
                optimize=optimize,
                seed_instructions=seed_instructions,
                frozen=frozen,
                constraints=constraints,
                invariants=invariants,
                max_instruction_tokens=max_instruction_tokens,
                must_pass=must_pass,
            ),
            reflection=Reflection(
                reflection_lm=reflection_lm,
                guidance=guidance,
                references=references,
                reflection_template=reflection_template,
                reflection_style=reflection_style,
                edit_mode=edit_mode,
                add_format_failure_as_feedback=add_format_failure_as_feedback,
                instruction_proposer=instruction_proposer,
                code_proposer=code_proposer,
                repairs=repairs,
            ),
            execution=Execution(
                num_threads=num_threads,
                executor=executor,
                timeout_seconds=timeout_seconds,
                log_dir=log_dir,
                log_examples=log_examples,
            ),
            tracking=Tracking(
                observers=observers,
                progress=progress,
                track_stats=track_stats,
                track_best_outputs=track_best_outputs,
                use_wandb=use_wandb,
                wandb_api_key=wandb_api_key,
                wandb_init_kwargs=wandb_init_kwargs,
                use_mlflow=use_mlflow,
            ),
            afterwards=Afterwards(
                max_bootstrapped_demos=max_bootstrapped_demos,
                max_labeled_demos=max_labeled_demos,
                metric_threshold=metric_threshold,
                teacher_settings=teacher_settings,
                specialists=specialists,
                chooser=chooser,
            ),
        )
        self._mipro = MIPROv2Arguments(
            prompt_model=prompt_model,
            task_model=task_model,
            num_candidates=num_candidates,
            max_errors=max_errors,
            init_temperature=init_temperature,
            verbose=verbose,
        )
        Metric(metric)
        kinds_for(optimize)
        self._customization(self._configured({}, self._mipro), ())

    def __getattr__(self, name: str) -> Any:
        """An argument as an attribute, because DSPy and trackers read settings there."""
        if not name.startswith("_") and name in (settings := self._settings):
            return settings[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; if it is an argument, it is checked, and the next `compile` obeys it.

        Raises:
            SettingsError: the argument is wrong, or a new name looks like a misspelt one. A class
                of your own may have attributes of any name.
        """
        if name.startswith("_") or name not in self._settings:
            is_new = type(self) is GEPA and "_mipro" in vars(self) and name not in vars(self)
            if is_new and not name.startswith("_") and not hasattr(GEPA, name):
                beside = {other: its for other, its in _beside().items() if name in its}
                check_attribute(name, keywords_of(GEPA), "GEPA", beside)
            super().__setattr__(name, value)
        elif name in self._config.arguments:
            self._config = self._config.with_arguments({name: value})
        else:
            self._mipro = replace(self._mipro, **{name: value})

    @property
    def metric(self) -> Callable[..., Any]:
        """The metric, under the name of the argument."""
        return self.metric_fn

    @metric.setter
    def metric(self, metric: Callable[..., Any]) -> None:
        Metric(metric)
        self.metric_fn = metric

    @property
    def _settings(self) -> dict[str, Any]:
        """Every argument of the constructor but the metric, by its name."""
        if "_mipro" not in vars(self):
            return {}
        mipro = {each.name: getattr(self._mipro, each.name) for each in fields(self._mipro)}
        settings = self._config.arguments | mipro
        return {name: settings[name] for name in keywords_of(GEPA) if name in settings}

    @property
    def result(self) -> RunResult:
        """The last run of `compile`, also one that failed or is under way.

        Its members, proposals and costs, and why it ended, as far as it came.

        Raises:
            SettingsError: `compile` has not run yet.
        """
        if self._result is None:
            raise SettingsError("There is no result yet: call compile first.")
        return self._result

    def get_params(self) -> dict[str, Any]:
        """The constructor's settings but `wandb_api_key`, because trackers write them down."""
        own = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return own | {k: v for k, v in self._settings.items() if k != "wandb_api_key"}

    def auto_budget(
        self,
        num_preds: int,
        num_candidates: int,
        valset_size: int,
        minibatch_size: int = 35,
        full_eval_steps: int = 5,
    ) -> int:
        """The metric calls that dspy.GEPA's `auto` allows for these sizes, by its formula.

        The budget by `auto` here follows what the search really does: see `plan`.
        """
        return auto_budget(num_preds, num_candidates, valset_size, minibatch_size, full_eval_steps)

    def plan(
        self,
        student: dspy.Module,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example] | None = None,
        heldout: Sequence[dspy.Example] | float | None = None,
    ) -> Plan:
        """Print and return what `compile` will cost, without spending anything.

        Tells the cost of the program as it is, of a proposal and how many proposals fit, and warns
        where the budget is below what is of use.

        Raises:
            SettingsError: an argument is wrong.
        """
        config = self._configured({}, self._mipro)
        student = seeded(config, student)
        table = tabulated_examples(config, student, trainset, valset, heldout)
        plan = self._compilation(config, self._mipro, student, table).plan
        print(plan)  # noqa: T201 - it is what the caller asks for
        return plan

    def compile(
        self,
        student: dspy.Module,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example] | None = None,
        *,
        heldout: Sequence[dspy.Example] | float | None = None,
        if_no_evidence: Literal["best", "seed"] = "best",
        teacher: dspy.Module | Sequence[dspy.Module] | None = None,
        num_trials: int | None = None,
        max_bootstrapped_demos: int | None = None,
        max_labeled_demos: int | None = None,
        seed: int | None = None,
        minibatch: bool = True,
        minibatch_size: int = 35,
        minibatch_full_eval_steps: int = 5,
        program_aware_proposer: bool = True,
        data_aware_proposer: bool = True,
        view_data_batch_size: int = 10,
        tip_aware_proposer: bool = True,
        fewshot_aware_proposer: bool = True,
        requires_permission_to_run: bool | None = None,
        provide_traceback: bool | None = None,  # noqa: ARG002 - failures are always told in full
        **unknown: Any,
    ) -> dspy.Module:
        """A copy of the student with the best instructions that were found.

        The student is not changed. The copy is a plain DSPy program: save it with its `save` and
        load it wherever DSPy is installed. Ctrl-C ends the run and returns the best so far.

        Args:
            student: The program; each of its predictors is a component, and the code of each of
                its `dspy.Flex` modules.
            trainset: Examples to learn from.
            valset: Examples to choose by. Without them the training set serves for both, and the
                chosen program is likelier to be overfit.
            heldout: Examples that the search never sees, or the share of those to choose by that is
                put aside. At the end seed and best are run on them: see `result.verdict`.
            if_no_evidence: What is returned if they show no difference, or could not be run: "best"
                or "seed".
            teacher: Makes demonstrations, where such are asked for; otherwise not used.
            num_trials: MIPROv2's budget, where none of the constructor's three in metric calls is
                given.
            max_bootstrapped_demos: As in the constructor.
            max_labeled_demos: As in the constructor.
            seed: In place of the constructor's.
            requires_permission_to_run: MIPROv2's; True is refused, as there.
            provide_traceback: MIPROv2's; failures are always told in full here.
            minibatch: With `num_trials` or `num_candidates`, part of MIPROv2's budget; likewise the
                next two.
            minibatch_size: See `minibatch`.
            minibatch_full_eval_steps: See `minibatch`.
            program_aware_proposer: MIPROv2's; no meaning here, like the next four.
            data_aware_proposer: No meaning here.
            view_data_batch_size: No meaning here.
            tip_aware_proposer: No meaning here.
            fewshot_aware_proposer: No meaning here.
            **unknown: Refused, with the names that may be meant.

        Raises:
            SettingsError: an argument is wrong; nothing was spent.
            MetricError: the metric returned something that is no score, or the aggregate metric
                raised or returned no finite number.
            WorkerError: a model or its server cannot be used; or the program or the metric fails on
                every example.
            ReflectionError: the reflection LM never gave a usable text.
            JournalError: `log_dir` holds another run, or cannot be used.
            MissingExtra: MLflow or Weights & Biases is asked for and not installed.
        """
        check_names(unknown, keywords_of(GEPA.compile), "compile", {"GEPA(...)": keywords_of(GEPA)})
        if requires_permission_to_run:
            raise SettingsError("requires_permission_to_run=True is not supported: set it False.")
        mipro = replace(
            self._mipro,
            num_trials=num_trials,
            minibatch=minibatch,
            minibatch_size=minibatch_size,
            minibatch_full_eval_steps=minibatch_full_eval_steps,
            program_aware_proposer=program_aware_proposer,
            data_aware_proposer=data_aware_proposer,
            view_data_batch_size=view_data_batch_size,
            tip_aware_proposer=tip_aware_proposer,
            fewshot_aware_proposer=fewshot_aware_proposer,
        )
        overrides = {
            "seed": seed,
            "if_no_evidence": if_no_evidence,
            "max_bootstrapped_demos": max_bootstrapped_demos,
            "max_labeled_demos": max_labeled_demos,
        }
        config = self._configured(overrides, mipro)
        student = seeded(config, student)
        table = tabulated_examples(config, student, trainset, valset, heldout)
        if not table.has_validation:
            given = "No valset provided" if valset is None else "The valset is empty"
            logger.warning("%s; Using trainset as valset. A separate one is safer.", given)
        if ignored := mipro.without_meaning(config.budget):
            logger.warning("These arguments of MIPROv2 change nothing here: %s", ", ".join(ignored))
        compilation = self._compilation(config, mipro, student, table, teacher)
        if teacher is not None and not compilation.task.demos.is_asked_for:
            logger.warning(
                "The teacher is not used: it only makes demonstrations, and none are asked for."
            )
        self._result = None
        with dspy.context(**({} if mipro.task_model is None else {"lm": mipro.task_model})):
            compiled = compilation.compiled(self._keep)
        self._result = compiled.result
        if compiled.score is not None:
            self._attach_statistics(compiled, compiled.score, compilation, mipro)
        return compiled.program

    def _keep(self, result: RunResult) -> None:
        """Keep what is known, so that `result` tells it whatever ends the run."""
        self._result = result

    def _configured(self, overrides: Mapping[str, Any], mipro: MIPROv2Arguments) -> Config:
        """What is asked for: `compile`'s arguments first, then `gepa_kwargs`, then our own."""
        given_overrides = {name: value for name, value in overrides.items() if value is not None}
        config = self._config.with_arguments(mapped_gepa_kwargs(self.gepa_kwargs) | given_overrides)
        if config.reflection.reflection_lm is None and mipro.prompt_model is not None:
            return config.with_arguments({"reflection_lm": mipro.prompt_model})
        return config

    def _compilation(
        self,
        config: Config,
        mipro: MIPROv2Arguments,
        student: dspy.Module,
        table: ExampleTable,
        teacher: dspy.Module | Sequence[dspy.Module] | None = None,
    ) -> Compilation:
        """What `compile` and `plan` have in common."""
        customization = self._customization(config, table.examples)
        demos = demo_settings(config, teacher)
        task = task_for(
            self.metric_fn, config, student, table, demos=demos, customization=customization
        )
        if config.budget.is_by_size and config.budget.auto is None:
            validation = len(table.validation)
            calls = mipro.metric_calls(components=len(task.seed), validation=validation)
            config = config.with_arguments({"max_metric_calls": calls})
        return compilation_of(replace(task, config=config))

    def _customization(self, config: Config, examples: Sequence[Any]) -> Customization:
        """What was written for other optimizers, as values of ours.

        Raises:
            SettingsError: a strategy or a callback cannot be used.
        """
        parent = config.search.candidate_selection_strategy
        components = config.search.component_selector
        return Customization(
            selection=None if parent is None else as_selection(parent),
            components=None if components is None else as_component_selector(components, examples),
            callbacks=[CallbackObserver(each, examples) for each in config.tracking.callbacks],
            stoppers=[stopper(each) for each in config.tracking.stop_callbacks],
        )

    def _attach_statistics(
        self,
        compiled: Compiled,
        score: float,
        compilation: Compilation,
        mipro: MIPROv2Arguments,
    ) -> None:
        """Leave on the program what other optimizers leave there, if it is asked for."""
        task, tracking = compilation.task, compilation.task.config.tracking
        is_for_mipro = mipro.is_used(task.config.afterwards)
        keeps = tracking.track_stats
        if not (is_for_mipro or tracking.track_best_outputs if keeps is None else keeps):
            return
        program, result = compiled.program, compiled.result
        program.detailed_results = detailed_results(
            result.state,
            task.student,
            chosen=result.returned,
            keeps_outputs=tracking.track_best_outputs,
            log_dir=task.config.execution.directory,
        )
        if is_for_mipro:
            attach_mipro_statistics(program, result.state, task.student, score=score)


def _beside() -> dict[str, Iterable[str]]:
    """Other places that take arguments, to the names that they take."""
    return {"gepa_kwargs": KEYS, "compile": keywords_of(GEPA.compile)}

"""Makes a run of `optimize_anything` from its arguments, and a result from its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dspy

from dspy_gepa.artifact.evaluation import EvaluationSettings, LocalEvaluation
from dspy_gepa.artifact.evaluator import LONE
from dspy_gepa.artifact.isolated import IsolatedEvaluation
from dspy_gepa.artifact.isolation.limits import ProcessLimits
from dspy_gepa.artifact.output import watched_output
from dspy_gepa.artifact.page import IMPROVEMENT, UNCHANGED_IF, ArtifactPage
from dspy_gepa.artifact.reading import kept, unmarked
from dspy_gepa.artifact.remote import evaluation_parcel
from dspy_gepa.artifact.worker import ArtifactWorker, Evaluate, Reflect
from dspy_gepa.assembly.execution import (
    KEPT_BACK,
    check_prices,
    kept_back,
    num_threads,
    timeout_seconds,
    without_kept_back,
)
from dspy_gepa.assembly.observers import observers_for
from dspy_gepa.assembly.outcome import concluded
from dspy_gepa.assembly.source import source_digests
from dspy_gepa.assembly.texts import frozen_components, own_templates, prompt_tokens, references
from dspy_gepa.config.config import Config
from dspy_gepa.core.components import ComponentSelector
from dspy_gepa.core.selection import Selection
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.errors import ReflectionError, SettingsError, WorkerError
from dspy_gepa.improvement.best_artifact import ArtifactKeeper
from dspy_gepa.improvement.config import AnythingArguments
from dspy_gepa.improvement.presets import settings_for_mode
from dspy_gepa.improvement.result import (
    NO_TEST_SET,
    NOTHING_SCORED,
    AnythingResult,
    has_scored,
    nothing_scored,
)
from dspy_gepa.improvement.test_set import TestSet
from dspy_gepa.models.asking import reflection_asker
from dspy_gepa.models.media import media_kind
from dspy_gepa.models.tokens import counted_tokens
from dspy_gepa.observe.observer import Observer
from dspy_gepa.observe.progress import Progress
from dspy_gepa.observe.telling import Telling
from dspy_gepa.program.examples import ExampleTable, tabulate
from dspy_gepa.reflect.prompt import EvidenceLimits
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.result import RunResult
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import RunOutcome
from dspy_gepa.session import RunIdentity, check, executor_for, run, run_directory
from dspy_gepa.store.manifest import digest
from dspy_gepa.store.run_dir import RunDir

__all__ = ["Improvement", "improvement_of", "tabulated_problems"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_REFLECTION_SECONDS = 900.0
"""Our choice, as for programs."""


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """One call of `optimize_anything`, with what follows from its arguments."""

    asked: AnythingArguments
    config: Config
    """What it has in common with a call of `GEPA.compile`."""
    table: ExampleTable
    settings: Settings
    """What the search is asked to do."""
    evaluation: LocalEvaluation
    isolated: IsolatedEvaluation | None
    """Evaluations and checks in processes of their own; None if that is not asked for."""
    reflect: Reflect
    """Writes better texts."""
    in_flight: int
    """How many evaluations may be in flight at once."""
    callbacks: Sequence[Observer]
    stoppers: Sequence[Callable[[RunState], str]]
    progress: Progress
    """Says what happens while it runs, and knows the story."""

    def run_directory(self) -> AbstractContextManager[RunDir | None]:
        """Where all that comes of it is kept; None without `log_dir`.

        Raises:
            SettingsError: a limit is asked for that cannot be kept; nothing was written.
            JournalError: the directory holds another run, or cannot be used.
        """
        try:
            check_prices(self.config, self._models)
        except SettingsError as error:
            # What is given here by another name than to `GEPA`.
            raise SettingsError(str(error).replace("max_usd=", "max_cost=")) from None
        identity = RunIdentity(
            seed=self.asked.seed,
            examples=tuple(map(digest, self.table.searched)),
            metric=self.asked.bound_evaluator.name,
            models=self._models,
            code=source_digests({"evaluator": self.asked.evaluator}),
            roots=self._roots,
            # By default the window follows from the budget, which may have been raised.
            follows_budget=() if self.config.search.window else ("settings.window",),
        )
        return run_directory(self.config.execution.directory, self.settings, identity)

    @contextmanager
    def evaluating(self) -> Iterator[Evaluate]:
        """What carries evaluations out, for as long as the run takes."""
        if (isolated := self.isolated) is not None:
            try:
                yield isolated
            finally:
                isolated.close()
        else:
            with watched_output(prints=self.asked.capture_stdio):
                yield self.evaluation

    def search(self, evaluate: Evaluate, run_dir: RunDir | None) -> RunOutcome:
        """Run the search to its end, whatever that is: see `check`."""
        asked, settings = self.asked, self.settings
        if asked.is_without_limit:
            logger.warning(
                "No limit was given: the run ends after %s evaluations. Set max_evals, max_cost, "
                "max_seconds or another limit.",
                settings.limits.metric_calls,
            )
        # Scores have a range only if it was named.
        has_range = asked.failure_score is not None
        return run(
            settings,
            asked.seed,
            lambda state: self._executor(evaluate, self.reflect, has_begun=bool(state.known)),
            run_dir=run_dir,
            keeper=lambda kept: ArtifactKeeper(kept, is_lone=asked.is_lone),
            observers=observers_for(
                self.config, self.callbacks, self.progress, has_range=has_range
            ),
            telling=self.progress.telling,
            stoppers=[*self.stoppers, nothing_scored],
            roots=self._roots,
        )

    @property
    def _models(self) -> dict[str, Any]:
        """What each model is used for, and the model."""
        return {"program": dspy.settings.lm, "reflection": self.config.reflection.reflection_lm}

    @property
    def _roots(self) -> dict[str, object]:
        """All that may hold secrets."""
        return {"models": self._models, "arguments": self.asked.arguments}

    def _executor(self, evaluate: Evaluate, reflect: Reflect, *, has_begun: bool) -> Executor:
        execution = self.config.execution
        return executor_for(
            self._worker(evaluate, reflect, has_begun=has_begun),
            self.in_flight,
            execution.executor,
            lambda: evaluation_parcel(
                self.evaluation, prints=self.asked.capture_stdio, has_begun=has_begun
            ),
        )

    def _worker(self, evaluate: Evaluate, reflect: Reflect, *, has_begun: bool) -> ArtifactWorker:
        settings = self.evaluation.settings
        if (seconds := settings.timeout_seconds) is not None:
            # A model thinks for as long as it does, however fast evaluations are. Checks are made
            # within a reflection, and each of them is ended at its own time.
            checks = len(self.asked.checks) * len(self.asked.seed) if self.isolated else 0
            seconds = max(seconds, _REFLECTION_SECONDS) + seconds * checks
            settings = replace(settings, timeout_seconds=seconds)
        descriptions = self.asked.descriptions
        return ArtifactWorker(evaluate, reflect, descriptions, settings, has_begun=has_begun)

    def check(self, finish: RunOutcome) -> None:
        """Nothing, where the run came to a result.

        Raises:
            MetricError: the evaluator returned something that is no score.
            WorkerError: a model or its server cannot be used, or nothing ever scored.
            ReflectionError: no reflection ever gave a usable text.
        """
        asked, state = self.asked, finish.state
        if state.history and not state.members:
            raise ReflectionError(
                f"No first artifact could be written: {state.history[0].verdict.reason}. Give one, "
                "or a stronger reflection_lm."
            )
        check(
            finish,
            log_dir=self.config.execution.directory,
            program=lambda best: best[LONE] if asked.is_lone else dict(best),
            thing="artifact",
        )
        rollouts = list(state.known.values())
        was_stopped = finish.is_stopped and not state.ending.startswith(NOTHING_SCORED)
        if rollouts and not was_stopped and not any(map(has_scored, rollouts)):
            raise WorkerError(
                f"Nothing came to a score in {len(rollouts)} evaluations, so there is nothing to "
                f"return. The run ended: {state.ending}.\nThe first evaluation: "
                f"{rollouts[0].failure}\nThe last one: {rollouts[-1].failure}"
            )

    def result(
        self, finish: RunOutcome, evaluate: Evaluate, run_dir: RunDir | None
    ) -> AnythingResult:
        """What was found, compared with the first artifact on the test set if there is one."""
        telling, test = self.progress.telling, None
        run = RunResult(
            finish.state,
            verdict=NO_TEST_SET,
            is_stopped=finish.is_stopped,
            teller=telling.teller,
            facts=telling.facts,
        )
        if self.table.anchors and run.members:
            tested = TestSet(
                self.table.examples,
                self.table.anchors,
                span=run.state.scale.span,
                executing=partial(self._testing, evaluate),
            )
            seed, best = (run.members[number].candidate for number in (0, run.best))
            test = tested.verdict(seed, best, finish, run_dir)
            logger.info("%s", test)
            run = replace(run, verdict=test)
        run = concluded(run, run_dir)
        telling.concluded(run.outcome)
        return AnythingResult(run, self.asked.seed, self.asked.is_lone, test)

    def _testing(self, evaluate: Evaluate) -> AbstractContextManager[Executor]:
        return closing(self._executor(evaluate, _never, has_begun=True))


def tabulated_problems(asked: AnythingArguments) -> ExampleTable:
    """The problems; a single task is one without an example. Those of a test set come last."""
    return tabulate(
        asked.dataset or [None],
        asked.valset or [],
        asked.testset or [],
        check=lambda _name, _example: None,
    )


def improvement_of(
    asked: AnythingArguments,
    table: ExampleTable,
    *,
    selection: Selection | None = None,
    components: ComponentSelector | None = None,
    callbacks: Sequence[Observer] = (),
    stoppers: Sequence[Callable[[RunState], str]] = (),
) -> Improvement:
    """What is asked for, with all that follows from it.

    Raises:
        SettingsError: an argument is wrong, or there is no model that could write texts.
    """
    config, seed = asked.shared, asked.seed
    frozen = frozen_components(config.texts.frozen, tuple(seed))
    limits = replace(config.budget.other_limits, metric_calls=config.budget.max_metric_calls)
    if kept := kept_back(config.execution, limits):
        logger.info(KEPT_BACK, kept)
    settings = settings_for_mode(
        asked,
        table,
        without_kept_back(config.execution, limits),
        selection=selection,
        components=components,
        frozen=frozen,
        reflection_calls=2 * (len(seed) - len(frozen)),
    )
    evaluation = LocalEvaluation(asked.bound_evaluator, table.examples, _evaluation_settings(asked))
    isolated = _isolated(asked, evaluation)
    return Improvement(
        asked=asked,
        config=config,
        table=table,
        settings=replace(settings, anchors=()),
        evaluation=evaluation,
        isolated=isolated,
        reflect=_reflector(asked, table, isolated),
        in_flight=kept or num_threads(config.execution),
        callbacks=callbacks,
        stoppers=stoppers,
        progress=Progress(Telling(), config.tracking.progress, "an artifact"),
    )


def _isolated(asked: AnythingArguments, evaluation: LocalEvaluation) -> IsolatedEvaluation | None:
    if asked.isolation is None:
        return None
    limits = ProcessLimits(
        timeout_seconds=evaluation.settings.timeout_seconds,
        memory_mb=asked.memory_mb,
        max_processes=asked.max_processes,
        captures=asked.capture_stdio,
    )
    return IsolatedEvaluation(evaluation, limits, asked.checks)


def _evaluation_settings(asked: AnythingArguments) -> EvaluationSettings:
    config, score = asked.shared, asked.failure_score
    return EvaluationSettings(
        failure_score=float("-inf") if score is None else score,
        timeout_seconds=timeout_seconds(config.execution),
        price=config.budget.price,
        must_know_price=config.budget.max_usd is not None,
        must_know_usage=config.budget.max_total_tokens is not None,
    )


def _reflector(
    asked: AnythingArguments, table: ExampleTable, isolated: IsolatedEvaluation | None
) -> Reflector:
    """Writes better texts.

    Raises:
        SettingsError: there is no model that could.
    """
    reflection, seed = asked.shared.reflection, asked.seed
    lm = reflection.reflection_lm
    task_texts = [text for text in (asked.objective, asked.background) if text]
    return Reflector(
        reflection_asker(lm),
        templates=own_templates(reflection.reflection_template, list(seed)),
        limits=EvidenceLimits(
            prompt_tokens=prompt_tokens(lm if lm is not None else dspy.settings.lm)
        ),
        perfect_score=asked.shared.scores.perfect_score,
        rules=_rules(asked, isolated),
        guidance="\n\n".join(filter(None, [*task_texts, reflection.guidance])),
        references=references(reflection.references),
        media_kind=media_kind,
        template=IMPROVEMENT,
        unmarked=partial(unmarked, kinds=asked.kinds),
        unchanged_if=UNCHANGED_IF,
        page=ArtifactPage(
            table.examples,
            learned=len(table.train),
            count_tokens=counted_tokens,
            media_kind=media_kind,
        ),
    )


def _rules(asked: AnythingArguments, isolated: IsolatedEvaluation | None) -> Rules:
    """What new texts are held to."""
    texts = asked.shared.texts
    rules = Rules(
        frozen=texts.kept_parts,
        constraints=texts.listed_constraints,
        count_tokens=counted_tokens,
        predicates=asked.predicates(isolated.check if isolated else None),
        normalised=partial(kept, seed=dict(asked.seed)),
    )
    rules.check(dict(asked.seed))
    return rules


def _never(*_asked: Any) -> Any:
    raise AssertionError("nothing reflects on a test set")

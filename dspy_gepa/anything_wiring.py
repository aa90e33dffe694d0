"""Makes a run of `optimize_anything` from its arguments, and a result from its end."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import dspy

from dspy_gepa.anything_arguments import AnythingArguments
from dspy_gepa.anything_presets import settings_for_mode
from dspy_gepa.anything_result import AnythingResult, has_scored
from dspy_gepa.artifact.evaluation import Evaluation, EvaluationSettings
from dspy_gepa.artifact.evaluator import LONE
from dspy_gepa.artifact.isolated import IsolatedEvaluation
from dspy_gepa.artifact.isolation.limits import ProcessLimits
from dspy_gepa.artifact.output import watched_output
from dspy_gepa.artifact.page import IMPROVEMENT, UNCHANGED_IF, ArtifactPage
from dspy_gepa.artifact.reading import kept, unmarked
from dspy_gepa.artifact.worker import ArtifactWorker, Evaluate, Reflect
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Committed, Event
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.equipment import Equipment
from dspy_gepa.errors import ReflectionError, SettingsError, WorkerError
from dspy_gepa.fitting import OF_THE_BUDGET
from dspy_gepa.held_out import evaluated
from dspy_gepa.models.asking import reflection_asker
from dspy_gepa.models.media import media_kind
from dspy_gepa.models.tokens import counted_tokens
from dspy_gepa.observe.observer import Observer
from dspy_gepa.observe.scores import RangeCheck
from dspy_gepa.program.examples import ExampleTable, tabulate
from dspy_gepa.recording import opened
from dspy_gepa.reflect.prompt import Limits as PromptLimits
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.result import RunResult
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import Finish
from dspy_gepa.running import check, searched
from dspy_gepa.store.manifest import digest
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.verdict.finding import Verdict, compared
from dspy_gepa.wording import frozen_components, own_templates, prompt_tokens, references

__all__ = ["AnythingOptimization"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_REFLECTION_SECONDS = 900.0
"""Our choice, as for programs."""
_MOST_FAILED = 6
"""After so many artifacts, none of which ever scored, a run ends. Our choice: the first one may
fail and be mended, and what fails with every text has another cause than the text."""
_NOTHING_SCORED = "none of the first"


@dataclass(frozen=True)
class AnythingOptimization:
    """One call of `optimize_anything`."""

    asked: AnythingArguments

    @cached_property
    def table(self) -> ExampleTable:
        """The problems; a single task is one without an example. Those of a test set come last."""
        dataset, valset, testset = self.asked.sets
        return tabulate(dataset or [None], valset, testset, check=lambda _name, _example: None)

    @cached_property
    def settings(self) -> Settings:
        """What the search is asked to do."""
        given, seed = self.asked.shared, self.asked.seed
        limits = replace(given.other_limits, metric_calls=given.max_metric_calls)
        frozen = frozen_components(given, tuple(seed))
        settings = settings_for_mode(
            self.asked,
            self.table,
            limits,
            frozen=frozen,
            reflection_calls=2 * (len(seed) - len(frozen)),
        )
        return replace(settings, anchors=())

    @cached_property
    def _equipment(self) -> Equipment:
        """Observers, stoppers and executor as for a program. There is none: an empty one."""
        return Equipment(self.asked.shared, dspy.Module(), self.table)

    def run_dir(self) -> AbstractContextManager[RunDir | None]:
        """Where all that comes of it is kept; None without `log_dir`.

        Raises:
            SettingsError: a limit is asked for that cannot be kept; nothing was written.
            JournalError: the directory holds another run, or cannot be used.
        """
        _ = self._reflect
        try:
            self._equipment.check_prices()
        except SettingsError as error:
            # What is given here by another name than to `GEPA`.
            raise SettingsError(str(error).replace("max_usd=", "max_cost=")) from None
        if (folder := self.asked.shared.log_dir) is None:
            return nullcontext()
        return opened(
            folder,
            seed=self.asked.seed,
            settings=self.settings,
            table=self.table,
            metric=self.asked.bound_evaluator.name,
            models=self._equipment.models,
            adopt=OF_THE_BUDGET
            if self.asked.shared.window
            else (*OF_THE_BUDGET, "settings.window", "settings.sampler"),
            digest_of=digest,
            log_examples=self.asked.shared.log_examples,
            roots={"arguments": self.asked},
        )

    @contextmanager
    def evaluating(self) -> Iterator[Evaluate]:
        """What carries evaluations out, for as long as the run takes."""
        if (isolated := self._isolated) is not None:
            try:
                yield isolated
            finally:
                isolated.close()
        else:
            with watched_output(prints=self.asked.capture_stdio):
                yield self._evaluation

    @property
    def _evaluation(self) -> Evaluation:
        return Evaluation(
            self.asked.bound_evaluator, self.table.examples, self._evaluation_settings
        )

    @cached_property
    def _isolated(self) -> IsolatedEvaluation | None:
        """Evaluations and checks in processes of their own; None where that is not asked for."""
        asked = self.asked
        if asked.isolation is None:
            return None
        limits = ProcessLimits(
            timeout_seconds=self._equipment.timeout_seconds,
            memory_mb=asked.memory_mb,
            max_processes=asked.max_processes,
            captures=asked.capture_stdio,
        )
        return IsolatedEvaluation(self._evaluation, limits, asked.checks)

    @property
    def _evaluation_settings(self) -> EvaluationSettings:
        given, score = self.asked.shared, self.asked.failure_score
        return EvaluationSettings(
            failure_score=float("-inf") if score is None else score,
            timeout_seconds=self._equipment.timeout_seconds,
            price=given.price,
            must_know_price=given.max_usd is not None,
        )

    def search(
        self, evaluate: Evaluate, run_dir: RunDir | None, told: Callable[[RunState], None]
    ) -> Finish:
        """Run the search to its end, whatever that is: see `check`."""
        settings, equipment = self.settings, self._equipment
        if self.asked.is_without_limit:
            logger.warning(
                "No limit was given: the run ends after %s evaluations. Set max_evals, max_cost, "
                "max_seconds or another limit.",
                settings.limits.metric_calls,
            )

        def executor(begun: RunState) -> Executor:
            return equipment.executor(
                self._worker(evaluate, self._reflect, has_begun=bool(begun.known))
            )

        return searched(
            settings,
            self.asked.seed,
            run_dir,
            told,
            observers=self._observers(equipment),
            keeper=lambda kept: ArtifactKeeper(kept, is_lone=self.asked.is_lone),
            executor=executor,
            stoppers=[*equipment.stoppers(), _nothing_scored],
            telling=equipment.telling,
        )

    def _worker(self, evaluate: Evaluate, reflect: Reflect, *, has_begun: bool) -> ArtifactWorker:
        settings = self._evaluation_settings
        if (seconds := settings.timeout_seconds) is not None:
            # A model thinks for as long as it does, however fast evaluations are. Checks are made
            # within a reflection, and each of them is ended at its own time.
            checks = len(self.asked.checks) * len(self.asked.seed) if self._isolated else 0
            seconds = max(seconds, _REFLECTION_SECONDS) + seconds * checks
            settings = replace(settings, timeout_seconds=seconds)
        return ArtifactWorker(evaluate, reflect, self._descriptions, settings, has_begun=has_begun)

    def _observers(self, equipment: Equipment) -> Iterator[Observer]:
        """Who is told of every event; scores have a range only where it was named."""
        has_range = self.asked.failure_score is not None
        for observer in equipment.observers():
            if has_range or not isinstance(observer, RangeCheck):
                yield observer

    @property
    def _descriptions(self) -> Mapping[str, str]:
        """What each component is, in words, where that is to be known."""
        return {
            name: f"{'The text' if self.asked.is_lone else name} is code. It is run as it stands."
            for name, kind in self.asked.kinds.items()
            if kind == "code"
        }

    @cached_property
    def _reflect(self) -> Reflect:
        """Writes better texts.

        Raises:
            SettingsError: there is no model that could.
        """
        given, seed = self.asked.shared, self.asked.seed
        lm = self._equipment.reflection_lm
        asked = lm if lm is not None else dspy.settings.lm
        told = [text for text in (self.asked.objective, self.asked.background) if text]
        return Reflector(
            reflection_asker(lm),
            templates=own_templates(given, list(seed)),
            limits=PromptLimits(prompt_tokens=prompt_tokens(asked)),
            perfect_score=given.perfect_score,
            rules=self._rules,
            guidance="\n\n".join(filter(None, [*told, given.guidance])),
            references=references(given),
            media_kind=media_kind,
            template=IMPROVEMENT,
            unmarked=partial(unmarked, kinds=self.asked.kinds),
            unchanged_if=UNCHANGED_IF,
            page=ArtifactPage(
                self.table.examples, learned=len(self.table.train), media_kind=media_kind
            ),
        )

    @cached_property
    def _rules(self) -> Rules:
        """What new texts are held to."""
        given = self.asked.shared
        frozen = given.frozen if isinstance(given.frozen, Mapping) else {}
        constraints, isolated = given.constraints, self._isolated
        made = Rules(
            frozen={
                name: [fixed] if isinstance(fixed, (str, re.Pattern)) else fixed
                for name, fixed in frozen.items()
                if not isinstance(fixed, bool)
            },
            constraints=[constraints] if isinstance(constraints, str) else constraints,
            count_tokens=counted_tokens,
            predicates=self.asked.predicates(isolated.check if isolated else None),
            normalised=kept,
        )
        made.check(dict(self.asked.seed))
        return made

    def check(self, finish: Finish) -> None:
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
            log_dir=asked.shared.log_dir,
            program=lambda best: best[LONE] if asked.is_lone else dict(best),
            thing="artifact",
        )
        rollouts = list(state.known.values())
        was_stopped = finish.is_stopped and not state.ending.startswith(_NOTHING_SCORED)
        if rollouts and not was_stopped and not any(map(has_scored, rollouts)):
            raise WorkerError(
                f"Nothing came to a score in {len(rollouts)} evaluations, so there is nothing to "
                f"return. The run ended: {state.ending}.\nThe first evaluation: "
                f"{rollouts[0].failure}\nThe last one: {rollouts[-1].failure}"
            )

    def result(self, finish: Finish, evaluate: Evaluate, run_dir: RunDir | None) -> AnythingResult:
        """What was found, compared with the first artifact on the test set if there is one."""
        result = AnythingResult(RunResult(finish.state), self.asked.seed, self.asked.is_lone)
        if not self.table.anchors or not result.members:
            return result
        test = self._tested(result, evaluate, run_dir)
        logger.info("%s", test)
        return replace(result, test=test)

    def _tested(
        self, result: AnythingResult, evaluate: Evaluate, run_dir: RunDir | None
    ) -> Verdict:
        seed, best = (result.members[number].candidate for number in (0, result.run.best))
        logger.info(
            "The test set takes up to %d evaluations beside the limits.",
            len({seed, best}) * len(self.table.anchors),
        )
        known = _stored_tests(run_dir)
        before = len(known)

        def keep(key: tuple[str, int], rollout: Rollout) -> None:
            known[key] = rollout
            if run_dir is not None:
                _store_tests(run_dir, known)

        worker = self._worker(evaluate, _never, has_begun=True)
        executor = self._equipment.executor(worker)
        wanted = [(each, n) for each in (seed, best) for n in self.table.anchors]
        try:
            done = evaluated(executor, wanted, dict(known), keep)
        finally:
            executor.close()
        rows = [[done[each.digest, n] for n in self.table.anchors] for each in (seed, best)]
        return compared(*rows, evaluations=len(known) - before)


class ArtifactKeeper:
    """An observer that keeps the best artifact so far in the run directory."""

    def __init__(self, run_dir: RunDir, *, is_lone: bool) -> None:
        self._run_dir = run_dir
        self._is_lone = is_lone
        self._kept: Candidate | None = None

    def __call__(self, event: Event, state: RunState) -> None:
        """Save the best artifact where it is another one than before."""
        if not isinstance(event, Committed) or not state.members:
            return
        best = state.members[state.best].candidate
        if best == self._kept:
            return
        if self._is_lone:
            self._run_dir.write_text("best_artifact.txt", best[LONE])
        else:
            written = json.dumps(dict(best), indent=1, ensure_ascii=False)
            self._run_dir.write_text("best_artifact.json", written)
        self._kept = best


_TESTS = "test_scores.json"


def _stored_tests(run_dir: RunDir | None) -> dict[tuple[str, int], Rollout]:
    """What was evaluated on the test set before, in this run."""
    stored = None if run_dir is None else run_dir.read_text(_TESTS)
    rows = json.loads(stored) if stored else []
    return {
        (candidate, example): Rollout(score=score, failure=failure)
        for candidate, example, score, failure in rows
    }


def _store_tests(run_dir: RunDir, known: Mapping[tuple[str, int], Rollout]) -> None:
    rows = [
        [*key, 0.0 if rollout.failure else rollout.score, rollout.failure]
        for key, rollout in known.items()
    ]
    run_dir.write_text(_TESTS, json.dumps(rows))


def _never(*_asked: Any) -> Any:
    raise AssertionError("nothing reflects on a test set")


def _nothing_scored(state: RunState) -> str:
    """Why a run is to end in which nothing ever scored; empty where something did, or may yet."""
    if any(map(has_scored, state.known.values())):
        return ""
    artifacts = {key.candidate for key in state.known}
    if len(artifacts) < _MOST_FAILED:
        return ""
    return f"{_NOTHING_SCORED} {len(artifacts)} artifacts came to a score"

"""Demonstrations after the search: found, validated, and kept where they help.

They take no more than the search has left of the limits. What came of them is kept in the run
directory, beside the journal, so that the same call does not pay for them again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any, NamedTuple

import dspy

from dspy_gepa.compilation.runner import Runner
from dspy_gepa.core.budget import NOTHING, Limits, Tally
from dspy_gepa.core.comparing import scored_beside
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.program.demos import DemoSettings, demonstrated, demos_of, with_demos
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.program import components_of
from dspy_gepa.run.loop import RunOutcome, run_loop
from dspy_gepa.store.manifest import digest
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.values.plain import dumps, loads, packed, unpacked

__all__ = ["Demonstrating", "set_aside"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_FILE = "demonstrations.json"


def set_aside(demos: DemoSettings, table: ExampleTable, limits: Limits) -> Tally:
    """What of these limits is set aside for demonstrations; nothing if none are tried.

    None are tried where less would be left than it takes to validate the program, nor where tokens
    or USD are limited: what DSPy's own bootstrapping costs in them cannot be held to a limit.
    """
    tried, validation = demos.most_examples(len(table.train)), len(table.validation)
    if not tried or limits.asks_for_usage:
        return NOTHING
    needed = Tally(rollouts=tried + validation, metric_calls=tried + validation)
    least = Tally(rollouts=validation, metric_calls=validation)
    return NOTHING if limits.exceeded_limit(used=needed, more=least) else needed


class Chosen(NamedTuple):
    """The program with or without demonstrations."""

    program: dspy.Module
    score: float
    """Its mean validation score."""
    tally: Tally
    """What was done to find and to validate demonstrations."""
    words: str = ""
    """What came of them; empty if none were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredDemonstrations:
    """What came of demonstrations, as a run directory keeps it."""

    subject: str = ""
    """A digest of the program that they are for, and of what was asked for. Empty where nothing
    came of it that holds, because it was interrupted or something was out of order."""
    tally: Tally = NOTHING
    """What was done for them, in all attempts."""
    demos: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """For each predictor."""
    score: float | None = None
    """The mean on the validation examples with them; None if there are none."""
    problem: str = ""
    """Why there are none."""


@dataclass(frozen=True)
class Demonstrating:
    """How demonstrations are tried on the program that a search has found."""

    runner: Runner
    settings: Settings
    """Of the search."""
    limits: Limits
    """Of the search and of this together."""
    run_dir: RunDir | None
    """Where what comes of it is kept."""

    def chosen(self, best: dspy.Module, score: float, finish: RunOutcome) -> Chosen:
        """This program with demonstrations, where its validation score rises by them.

        Args:
            best: The program with the best texts.
            score: Its mean validation score.
            finish: How the search for them ended.

        Raises:
            JournalError: the run directory cannot be read or written.
        """
        if not self.runner.task.demos.is_asked_for:
            return Chosen(best, score, NOTHING)
        record, subject = self._stored(), self._subject(best)
        if record.subject == subject:
            kept = {name: [dspy.Example(**one) for one in of] for name, of in record.demos.items()}
            program = with_demos(best, kept)
        else:
            left = self.limits.left(finish.state.tally + record.tally, seconds=finish.seconds)
            if hindrance := self._hindrance(finish, left):
                logger.warning("No demonstrations are tried: %s.", hindrance)
                return Chosen(best, score, record.tally, f"none tried: {hindrance}")
            # Where the process dies meanwhile, all that was set aside counts as spent.
            needed = self._needed
            self._store(_StoredDemonstrations(tally=record.tally + needed))
            program, new = self._tried(best, subject, left, finish)
            record = replace(new, tally=record.tally + new.tally)
            self._store(record)
        if record.score is None:
            logger.warning("No demonstrations: %s", record.problem)
            return Chosen(best, score, record.tally, f"none: {record.problem}")
        is_better = record.score > score
        became = "kept" if is_better else "left out"
        words = f"{record.score:.3f} against {score:.3f} without, {became}"
        logger.info("Demonstrations: %s", words)
        reached = max(record.score, score)
        return Chosen(program if is_better else best, reached, record.tally, words)

    @property
    def _needed(self) -> Tally:
        """What was set aside for them."""
        return set_aside(self.runner.task.demos, self.runner.task.table, self.limits)

    def _hindrance(self, finish: RunOutcome, left: Limits) -> str:
        """Why none are tried; empty where they are."""
        needed = self._needed
        if needed == NOTHING or left.exceeded_limit(used=NOTHING, more=needed):
            return "the budget does not allow for them"
        return f"the search was stopped ({finish.state.ending})" if finish.is_stopped else ""

    def _tried(
        self, best: dspy.Module, subject: str, left: Limits, finish: RunOutcome
    ) -> tuple[dspy.Module, _StoredDemonstrations]:
        """The program with demonstrations, and what came of them."""
        begun_seconds, task = time.monotonic(), self.runner.task
        outcome = demonstrated(
            best,
            task.student,
            task.learned,
            task.metric,
            task.demos,
            seed=self.settings.seed,
            seconds=left.seconds,
        )
        if outcome.problem:
            subject = subject if outcome.is_final else ""
            return best, _StoredDemonstrations(
                subject=subject, tally=outcome.tally, problem=outcome.problem
            )
        seconds = time.monotonic() - begun_seconds
        validated = self._validated(outcome.program, left.left(outcome.tally, seconds=seconds))
        state, done = validated.state, outcome.tally + validated.state.tally
        if validated.is_stopped or state.is_broken:
            problem = f"they could not be validated: {state.ending}"
            return best, _StoredDemonstrations(tally=done, problem=problem)
        rollouts = [each for each in state.validated(state.members[0].candidate) if each]
        reached = fmean(scored_beside(finish.state, rollouts))
        demos = demos_of(outcome.program)
        return outcome.program, _StoredDemonstrations(
            subject=subject, tally=done, demos=demos, score=reached
        )

    def _validated(self, program: dspy.Module, left: Limits) -> RunOutcome:
        """How a run ends that validates a program on all validation examples and no more."""
        settings = replace(
            self.settings, limits=replace(left, proposals=0), validation_schedule=None
        )
        candidate = components_of(program, self.runner.task.kinds)
        with self.runner.executing(program) as executor:
            return run_loop(start(settings, candidate), executor)

    def _subject(self, best: dspy.Module) -> str:
        """A digest of what demonstrations are made for and by. Data and metric are the run's."""
        demos = self.runner.task.demos
        teacher = demos.teacher
        predictors = {} if teacher is None else teacher.named_predictors()
        return digest(
            {
                "texts": [each.signature.instructions for _, each in best.named_predictors()],
                "teacher": [(name, each.signature.instructions) for name, each in predictors],
                "teacher settings": {
                    name: str(getattr(value, "model", value))
                    for name, value in demos.teacher_settings.items()
                },
                "asked for": [demos.bootstrapped, demos.labeled, demos.metric_threshold],
            }
        )

    def _stored(self) -> _StoredDemonstrations:
        if self.run_dir is None or (text := self.run_dir.read_text(_FILE)) is None:
            return _StoredDemonstrations()
        try:
            stored = loads(text)
            return _StoredDemonstrations(
                subject=str(stored["subject"]),
                tally=Tally(**stored["tally"]),
                demos=unpacked(stored["demos"]),
                score=stored["score"],
                problem=str(unpacked(stored["problem"])),
            )
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise JournalCorrupt(
                f"{self.run_dir.path / _FILE} holds no demonstrations: {error}. Remove it to have "
                "them made anew."
            ) from None

    def _store(self, record: _StoredDemonstrations) -> None:
        if self.run_dir is None:
            return
        fields = {
            "subject": record.subject,
            "tally": asdict(record.tally),
            "demos": packed(record.demos),
            "score": record.score,
            "problem": packed(record.problem),
        }
        self.run_dir.write_text(_FILE, dumps(fields))

"""The verdict on a search: seed and returned program, run on examples that it never saw."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import dspy

from dspy_gepa.assembly.best_program import example_digest
from dspy_gepa.compilation.runner import Runner
from dspy_gepa.config.search import ScoreSettings
from dspy_gepa.core.budget import NOTHING, Limits, Tally
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import Settings
from dspy_gepa.errors import SettingsError
from dspy_gepa.program.demos import demos_of
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.program.program import components_of
from dspy_gepa.run.loop import RunOutcome
from dspy_gepa.store.manifest import digest
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.verdict.finding import NO_HELDOUT, Verdict, verdict_of
from dspy_gepa.verdict.further import FurtherRollouts, Subject
from dspy_gepa.verdict.kept import VERDICT_FILE, as_text

__all__ = [
    "Verified",
    "Verifying",
    "check_held",
    "further_rollouts",
    "left_for_search",
    "subject_of",
    "unvalidated",
    "verdict_tally",
]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


def verdict_tally(table: ExampleTable) -> Tally:
    """What a verdict takes at most: seed and returned program, once on each held-out example."""
    count = 2 * len(table.heldout)
    return Tally(rollouts=count, metric_calls=count)


def check_held(limits: Limits, held: Tally) -> None:
    """Nothing, where these limits hold what is held and leave something for the search.

    Raises:
        SettingsError: they do not.
    """
    if held == NOTHING:
        return
    needed = held + Tally(rollouts=2, metric_calls=2)
    if unit := limits.exceeded_limit(used=NOTHING, more=needed):
        raise SettingsError(
            f"{held.metric_calls} metric calls are held for what follows the search: seed and "
            "result once on each held-out example, and for each specialist beside the first one "
            f"the validation set. max_{unit}={getattr(limits, unit)} leaves nothing for the "
            "search. Give a larger budget, fewer held-out examples or fewer specialists."
        )


def left_for_search(limits: Limits, held: Tally) -> Limits:
    """What is left of these limits where so much is held for what follows the search.

    What rollouts will cost in tokens, USD and seconds is not known: of those the same share is held
    as of the rollouts. The search has reflections as well, so that is rather too much than too
    little.
    """
    left, most = limits.left(held), limits.rollouts_at_most
    if not held.rollouts or not most:
        return left
    share = 1 - held.rollouts / most
    tokens, usd, seconds = limits.total_tokens, limits.usd, limits.seconds
    return replace(
        left,
        total_tokens=None if tokens is None else max(1, int(tokens * share)),
        usd=None if usd is None else usd * share,
        seconds=None if seconds is None else seconds * share,
    )


class Verified(NamedTuple):
    """The program that is handed over, and why."""

    program: dspy.Module
    verdict: Verdict
    tally: Tally
    """What all rollouts after the search took, those that specialists needed included, in all calls
    of `compile` on this run directory."""


@dataclass(frozen=True)
class Verifying:
    """How seed and best are compared after a search."""

    runner: Runner
    limits: Limits
    """Of the search and of all that follows it."""
    further: FurtherRollouts
    run_dir: RunDir | None

    def verified(
        self, seed: dspy.Module, best: dspy.Module, finish: RunOutcome, spent: Tally
    ) -> Verified:
        """The program to hand over: the best, or the seed if the best is worse.

        Without evidence, or if it could not be checked, `if_no_evidence` decides.

        Args:
            seed: The program as it was given.
            best: The best that was found.
            finish: How the search ended.
            spent: What was spent until now, without further rollouts.

        Raises:
            JournalError: the run directory cannot be written.
        """
        if not self.runner.task.table.heldout:
            return Verified(best, NO_HELDOUT, self.further.tally)
        verdict = self._verdict(seed, best, finish, spent)
        keeps_best = verdict.kind == "better" or (
            verdict.kind != "worse" and self.runner.task.config.afterwards.if_no_evidence == "best"
        )
        if not keeps_best:
            verdict = replace(verdict, returned="seed")
        if self.run_dir is not None:
            self.run_dir.write_text(VERDICT_FILE, as_text(verdict))
        logger.info("Verdict: %s", verdict)
        return Verified(best if keeps_best else seed, verdict, self.further.tally)

    def _verdict(
        self, seed: dspy.Module, best: dspy.Module, finish: RunOutcome, spent: Tally
    ) -> Verdict:
        heldout = self.runner.task.table.heldout
        unchecked = Verdict(kind="not checked", examples=len(heldout))
        subjects = subject_of(self.runner, seed), subject_of(self.runner, best)
        if subjects[0].name == subjects[1].name:
            reason = "the program is as it was given, so there is nothing to compare"
            return replace(unchecked, kind="no evidence of improvement", reason=reason)
        if finish.was_interrupted or self.further.was_interrupted:
            return replace(unchecked, reason="the search was interrupted before")
        seconds, rows = finish.seconds, []
        for subject in subjects:
            left = self.limits.left(spent + self.further.tally, seconds=seconds)
            outcome = self.further.of(subject, heldout, left)
            seconds += outcome.seconds
            if outcome.problem:
                return replace(unchecked, reason=outcome.problem, evaluations=self.further.made)
            rows.append([outcome.rollouts[example] for example in heldout])
        return verdict_of(
            *rows,
            evaluations=self.further.made,
            counts_failures=_counts_failures(self.runner.task.config.scores, *rows),
            span=finish.state.scale.span,
        )


def _counts_failures(scores: ScoreSettings, *rows: Sequence[Rollout]) -> bool:
    """Whether a failure is a score, as far as these rollouts tell: see `ScoreSettings.failure`."""
    lowest = min(
        (each.score for row in rows for each in row if not each.failure), default=scores.failure
    )
    return scores.assumed_failure is None or lowest >= scores.assumed_failure


def unvalidated(table: ExampleTable) -> Verdict:
    """The verdict on a search that ended before it had validated the program as it was given."""
    if not table.heldout:
        return NO_HELDOUT
    reason = "the run ended before the program as it was given was validated"
    return Verdict(kind="not checked", reason=reason, examples=len(table.heldout))


def subject_of(runner: Runner, program: dspy.Module) -> Subject:
    """A program, and a name that its texts and demonstrations decide."""
    candidate = components_of(program, runner.task.kinds)
    demos = {name: [dict(each) for each in of] for name, of in demos_of(program).items()}
    name = digest([dict(candidate), demos])
    return Subject(name, candidate, partial(runner.executing, program))


def further_rollouts(
    table: ExampleTable, settings: Settings, run_dir: RunDir | None
) -> FurtherRollouts:
    """Rollouts after the search, on examples that are known by their content."""
    names: Mapping[int, Any] = {
        number: example_digest(example) for number, example in enumerate(table.examples)
    }
    return FurtherRollouts(settings, names, run_dir)

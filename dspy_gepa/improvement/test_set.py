"""The first artifact and the best one on examples that the search did not see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import RunOutcome
from dspy_gepa.store.manifest import digest
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.verdict.finding import Verdict, verdict_of
from dspy_gepa.verdict.further import FurtherRollouts, Subject

__all__ = ["TestSet"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


@dataclass(frozen=True)
class TestSet:
    """What artifacts are compared on after a search, and how."""

    examples: Sequence[Any]
    """All that there are; an example's id is its position."""
    tested: tuple[int, ...]
    """Those of the test set."""
    span: float
    """The distance between the lowest and the highest possible score; infinite if not known."""
    executing: Callable[[], AbstractContextManager[Executor]]
    """What carries out evaluations, for as long as that takes."""

    def verdict(
        self, seed: Candidate, best: Candidate, finish: RunOutcome, run_dir: RunDir | None
    ) -> Verdict:
        """How the first artifact and the best one do; why they were not checked if they were not.

        Raises:
            JournalError: the run directory holds something else in place of scores.
        """
        unchecked = Verdict(kind="not checked", examples=len(self.tested))
        if finish.was_interrupted:
            return replace(unchecked, reason="the search was interrupted before")
        logger.info(
            "The test set takes up to %d evaluations beside the limits.",
            len({seed, best}) * len(self.tested),
        )
        names = {number: digest(self.examples[number]) for number in self.tested}
        further = FurtherRollouts(finish.state.settings, names, run_dir)
        rows = []
        for candidate in (seed, best):
            subject = Subject(candidate.digest, candidate, self.executing)
            outcome = further.of(subject, self.tested, Limits())
            if outcome.problem:
                return replace(unchecked, reason=outcome.problem, evaluations=further.made)
            rows.append([outcome.rollouts[example] for example in self.tested])
        return verdict_of(*rows, evaluations=further.made, span=self.span)

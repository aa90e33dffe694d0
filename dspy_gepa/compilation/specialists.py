"""Specialists after a search: chosen, their missing scores filled, routed to where that helps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dspy_gepa.compilation.runner import Runner
from dspy_gepa.compilation.verdict import subject_of
from dspy_gepa.config.config import Config
from dspy_gepa.core.budget import NOTHING, Limits, Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.run.loop import RunOutcome
from dspy_gepa.specialists.choosers import chooser_of
from dspy_gepa.specialists.member_sets import Choice
from dspy_gepa.specialists.pool import Chooser, MemberPool, Specialized
from dspy_gepa.specialists.routing import Routing, measured
from dspy_gepa.verdict.further import FurtherRollouts

__all__ = ["Specializing", "config_again", "second_search", "specialists_tally"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_FEWEST = 2
"""If fewer training or validation examples are failed, no specialist is searched for."""


def specialists_tally(most: int | None, validation: int, chooser: Chooser) -> Tally:
    """What is held for so many specialists: their missing scores, and a run of all of them."""
    if most is None:
        return NOTHING
    count = (most - 1) * validation + (validation if chooser_of(chooser).runs_all else 0)
    return Tally(rollouts=count, metric_calls=count)


def second_search(limits: Limits) -> Tally:
    """What is held, beside `specialists_tally`, for searches on what the best member still fails.

    Our choice: a third of what is left to search with.
    """
    count = (limits.rollouts_at_most or 0) // 3
    return Tally(rollouts=count, metric_calls=count)


def config_again(config: Config, limits: Limits, table: ExampleTable, number: int) -> Config | None:
    """What a search for one specialist is asked; None if too little is left for it."""
    count = limits.rollouts_at_most
    is_empty = 0 in {limits.total_tokens, limits.usd, limits.seconds, limits.proposals}
    if is_empty or (count is not None and count < len(table.validation)):
        return None
    log_dir = config.execution.directory
    return replace(
        config,
        budget=replace(
            config.budget,
            auto=None,
            max_full_evals=None,
            max_metric_calls=limits.metric_calls,
            max_rollouts=limits.rollouts,
            max_reflection_calls=limits.reflection_calls,
            max_proposals=limits.proposals,
            max_total_tokens=limits.total_tokens,
            max_usd=limits.usd,
            max_seconds=limits.seconds,
        ),
        execution=replace(
            config.execution,
            log_dir=None if log_dir is None else str(Path(log_dir) / f"specialist-{number}"),
        ),
        # Observers and trackers are told of one run.
        tracking=replace(config.tracking, observers=(), use_wandb=False, use_mlflow=False),
        afterwards=replace(config.afterwards, specialists=None, if_no_evidence="best"),
    )


def _shared(limits: Limits, count: int) -> Limits:
    """An equal part of the metric calls and rollouts, for the first of so many searches."""
    calls, rollouts = limits.metric_calls, limits.rollouts
    return replace(
        limits,
        metric_calls=None if calls is None else calls // count,
        rollouts=None if rollouts is None else rollouts // count,
    )


@dataclass(frozen=True)
class Specializing:
    """How specialists are made at the end of a search, within its budget."""

    runner: Runner
    limits: Limits
    """Of the search and of this together."""
    further: FurtherRollouts
    search: Callable[[Candidate, ExampleTable, Limits, int], RunOutcome | None]
    """Searches for better texts than these on a part of the examples, within these limits."""

    def specialized(self, best: int, finish: RunOutcome, spent: Tally) -> tuple[Specialized, Tally]:
        """The specialists, or the best program where they bring nothing; and what searches took.

        Args:
            best: The best member.
            finish: How the search ended.
            spent: What was spent until now, without further rollouts.

        Raises:
            JournalError: the run directory cannot be written.
        """
        task, made_before = self.runner.task, self.further.made
        asked = task.config.afterwards
        pool = MemberPool(
            state=finish.state,
            student=task.student,
            examples=dict(enumerate(task.table.examples)),
            best=best,
            most=asked.specialists or 2,
            chooser=asked.chooser,
        )
        self.further.was_interrupted |= finish.was_interrupted
        searched, wanted = NOTHING, [best]
        if self._filled(pool, best, finish, spent) and not self.further.was_interrupted:
            sought, searched = self._sought(pool, finish, spent)
            wanted += sought
        spent += searched
        wanted = [*wanted, *(each for each in pool.useful if each not in wanted)][: pool.most]
        for member in wanted[1:]:
            if not self._filled(pool, member, finish, spent):
                break
        specialized = self._measured(pool, wanted, finish, spent)
        routing = replace(
            specialized.routing,
            rollouts=self.further.made - made_before,
            texts={each: dict(pool.members[each]) for each in specialized.routing.members},
        )
        logger.info("Specialists: %s", routing)
        return Specialized(specialized.program, routing), searched

    def _sought(
        self, pool: MemberPool, finish: RunOutcome, spent: Tally
    ) -> tuple[list[int], Tally]:
        """Specialists that are made on purpose: the numbers, and what it took.

        Each is searched for from the best one, on what none so far does well.
        """
        table, held = self.runner.task.table, self._held
        members, used, seconds = [pool.best], NOTHING, finish.seconds
        for number in range(1, pool.most):
            train, validation = pool.failed(members)
            # Without further rollouts: they are held apart, and known only to this call.
            left = self.limits.left(spent + used + held, seconds=seconds)
            limits = _shared(left, pool.most - number)
            if len(train) < _FEWEST or len(validation) < _FEWEST:
                break
            seed = pool.members[pool.best]
            second = self.search(seed, table.part(train, validation), limits, number)
            if second is None:
                break
            used, seconds = used + second.state.tally, seconds + second.seconds
            self.further.was_interrupted |= second.was_interrupted
            if second.was_interrupted or (member := pool.add(second.state)) is None:
                break
            members.append(member)
        return members[1:], used

    @property
    def _held(self) -> Tally:
        task = self.runner.task
        asked, validation = task.config.afterwards, task.table.validation
        return specialists_tally(asked.specialists, len(validation), asked.chooser)

    def _measured(
        self, pool: MemberPool, wanted: Sequence[int], finish: RunOutcome, spent: Tally
    ) -> Specialized:
        """What the members bring by the chooser that was asked for."""
        if not chooser_of(pool.chooser).runs_all:
            return pool.specialized(pool.candidates)
        members = [each for each in wanted if not np.isnan(pool.scores[each]).any()]
        if len(members) > 1 and not self.further.was_interrupted:
            return self._run_all(pool, members, finish, spent)
        reason = "there are no other members that could be run"
        return pool.decided(Routing(evidence=False, members=(), reason=reason))

    def _filled(self, pool: MemberPool, member: int, finish: RunOutcome, spent: Tally) -> bool:
        """Whether all of a member's scores are known, after those that were missing were run."""
        row = pool.scores[member]
        missing = np.flatnonzero(np.isnan(row)).tolist()
        left = self.limits.left(spent + self.further.tally, seconds=finish.seconds)
        asked = [pool.columns[place] for place in missing]
        if not asked:
            return True
        subject = subject_of(self.runner, pool.program(member))
        outcome = self.further.of(subject, asked, left)
        for place in missing:
            if pool.columns[place] in outcome.rollouts:
                row[place] = outcome.rollouts[pool.columns[place]].score
        return not np.isnan(row).any()

    def _run_all(
        self, pool: MemberPool, members: Sequence[int], finish: RunOutcome, spent: Tally
    ) -> Specialized:
        """The members together, run on the validation examples to see what that brings."""
        choice = Choice(tuple(range(len(members))), 1.0)
        left = self.limits.left(spent + self.further.tally, seconds=finish.seconds)
        subject = subject_of(self.runner, pool.module(members, choice))
        rollouts = self.further.of(subject, pool.columns, left).rollouts
        places = [place for place, each in enumerate(pool.columns) if each in rollouts]
        reached = np.array([rollouts[pool.columns[place]].score for place in places])
        routing = measured(reached, pool.scores[pool.best, places], pool.state.scale.span)
        routing = replace(routing, members=tuple(members), shares=dict.fromkeys(members, 1.0))
        return pool.decided(routing, members, choice)

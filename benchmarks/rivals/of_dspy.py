"""Ours and DSPy's own optimizers, each set up for a budget in metric calls.

The metric refuses what goes above it. Where an optimizer picks the best of what it ran on all of
its examples, being stopped loses nothing, and it is set up to use the whole budget; SIMBA, which
needs its last round to choose, is set up to fit. COPRO and SIMBA take one set of examples: training
and validation examples together, or one of the two where these leave too few calls to search.
"""

from __future__ import annotations

from typing import Any

import dspy

from dspy_gepa import GEPA
from rivals.contest import Contest

__all__ = ["bootstrap", "copro", "mipro", "ours", "reference", "simba"]

Examples = list[dspy.Example]


def ours(contest: Contest, **settings: Any) -> dspy.Module:
    """Its budget is a limit."""
    optimizer = GEPA(
        contest.metric.told,
        max_metric_calls=contest.budget,
        reflection_lm=contest.reflection_lm,
        num_threads=contest.num_threads,
        seed=contest.seed,
        **settings,
    )
    return contest.compiled(optimizer)


def reference(contest: Contest) -> dspy.Module:
    """dspy.GEPA; it tests its budget between iterations, and is stopped within the last one."""
    optimizer = dspy.GEPA(
        metric=contest.metric.told,
        max_metric_calls=contest.budget,
        reflection_lm=contest.reflection_lm,
        num_threads=contest.num_threads,
        seed=contest.seed,
    )
    return contest.compiled(optimizer)


def mipro(contest: Contest, *, demos: int) -> dspy.Module:
    """Each trial is a whole validation; as many as fit if finding demonstrations cost nothing.

    It looks for demonstrations in either form, as its proposer is shown some.
    """
    optimizer = dspy.MIPROv2(
        metric=contest.metric.number,
        prompt_model=contest.reflection_lm,
        task_model=contest.task_lm,
        auto=None,
        num_candidates=4,
        max_bootstrapped_demos=demos,
        max_labeled_demos=demos,
        num_threads=contest.num_threads,
        seed=contest.seed,
    )
    trials = max(1, contest.budget // len(contest.task.validation) - 1)
    return contest.compiled(optimizer, num_trials=trials, minibatch=False, seed=contest.seed)


_CANDIDATES = 6
"""So many must fit for COPRO to use all examples, or a second depth."""


def copro(contest: Contest) -> dspy.Module:
    """Every candidate is run on all examples, at each depth for each predictor."""
    predictors, budget = len(contest.student().predictors()), contest.budget
    examples = contest.both
    if _CANDIDATES * predictors * len(examples) > budget:
        examples = contest.task.validation
    a_round = predictors * len(examples)
    depth = 2 if budget >= _CANDIDATES * a_round else 1
    optimizer = dspy.COPRO(
        prompt_model=contest.reflection_lm,
        metric=contest.metric.number,
        breadth=max(2, budget // (depth * a_round)),  # it takes no less
        depth=depth,
    )
    settings = {"num_threads": contest.num_threads, "display_progress": False}
    return optimizer.compile(contest.student(), trainset=examples, eval_kwargs=settings)


def simba(contest: Contest) -> dspy.Module:
    """Two batches for each candidate and step, and at the end the best ones on all examples."""
    candidates = 3
    examples, batch, steps = _simba_sizes(contest, candidates)
    optimizer = dspy.SIMBA(
        metric=contest.metric.number,
        bsize=batch,
        num_candidates=candidates,
        max_steps=steps,
        max_demos=4,
        prompt_model=contest.reflection_lm,
        num_threads=contest.num_threads,
    )
    return optimizer.compile(contest.student(), trainset=examples, seed=contest.seed)


def _simba_sizes(contest: Contest, candidates: int) -> tuple[Examples, int, int]:
    """The examples, the batch and the steps that use most of the budget; else the smallest."""
    fitting: list[tuple[int, Examples, int, int]] = []
    sets = (contest.both, contest.task.train, contest.task.validation)
    for examples in sorted(sets, key=len, reverse=True):
        for batch in (8, 4):
            steps = 1
            while (cost := _simba_cost(len(examples), batch, candidates, steps)) <= contest.budget:
                if batch <= len(examples):
                    fitting.append((cost, examples, batch, steps))
                steps += 1
    if fitting:
        # Steps are what it learns by, so that three of them come before more examples.
        return max(fitting, key=lambda each: (min(each[3], 3), len(each[1]), each[0]))[1:]
    examples = min(sets, key=len)
    return examples, min(4, len(examples)), 1


def _simba_cost(examples: int, batch: int, candidates: int, steps: int) -> int:
    a_step = batch * (2 * candidates + 1)
    return steps * a_step + min(candidates + 1, steps + 1) * examples


def bootstrap(contest: Contest) -> dspy.Module:
    """Every set of demonstrations is validated; as many as fit if finding them cost nothing."""
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=contest.metric.number,
        max_bootstrapped_demos=4,
        max_labeled_demos=6,
        num_candidate_programs=max(0, contest.budget // len(contest.task.validation) - 3),
        num_threads=contest.num_threads,
    )
    return contest.compiled(optimizer)

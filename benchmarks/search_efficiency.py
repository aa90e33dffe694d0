"""How good the returned program is on unseen cases, by rollouts spent: dspy.GEPA against ours.

Both get the same program, metric, models, data and seed, in simulated worlds (see `worlds.py`),
and run with their own defaults. The score is the exact expectation of a program on 400 cases that
no optimizer sees, computed from its texts.

What is counted, and in whose favour:

- Calls of the metric are counted by the metric itself. Ours is run once for each budget, and the
  program that it returned is scored. dspy.GEPA is run once with the largest budget, and the best
  program that it had validated after so many real calls is read off. That is neutral or in its
  favour: its search does not depend on the limit.
- dspy.GEPA calls the metric a second time for the feedback on each example. By default the metric
  has no parameter `pred_name`, so that ours has no reason to, and those calls of dspy.GEPA are not
  charged: an axis of program runs. With `--count calls` the metric has dspy.GEPA's five parameters
  and every call counts on both sides.
- dspy.GEPA makes more calls than it was allowed. The score that ours has to reach is the one of the
  program that it returned in the end, those calls included. Where ours never has that score, the
  ratio counts as 1, so that the geometric mean is a lower bound.

Worlds marked "held out" were never used in tuning; claims rest on them.

    python benchmarks/search_efficiency.py --json search_efficiency.json
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("TQDM_DISABLE", "1")

import dspy
from report import (
    OURS,
    REFERENCE,
    estimate,
    print_summary,
    print_world,
    reached_at,
    surroundings,
    values,
    write_record,
)
from worlds import WORLDS, ReflectionLM, Stated, Steps, Task, TaskLM, World, instructions

from dspy_gepa import GEPA

BUDGETS = (100, 200, 400, 800, 1600)
PAPER = "ours, paper"

Count = Literal["rollouts", "calls"]


@dataclass
class CountedMetric:
    """The metric of a task, which counts by itself how often it is really called."""

    task: Task
    rollouts: int = 0
    """Calls that score a rollout."""
    feedback_calls: int = 0
    """Calls that ask again for the feedback on one step."""

    @property
    def calls(self) -> int:
        """All of them."""
        return self.rollouts + self.feedback_calls

    def plain(self) -> Callable[..., dspy.Prediction]:
        """A metric that dspy.GEPA takes, but that does not say that it could judge single steps."""

        def metric(
            gold: dspy.Example, pred: dspy.Prediction, trace: object = None, *named: object
        ) -> dspy.Prediction:
            del trace
            return self._judged(gold, pred, is_about_step=bool(named and named[0]))

        return metric

    def named(self) -> Callable[..., dspy.Prediction]:
        """A metric with the five parameters of dspy.GEPA, which is asked again for each step."""

        def metric(
            gold: dspy.Example,
            pred: dspy.Prediction,
            trace: object = None,
            pred_name: str | None = None,
            pred_trace: object = None,
        ) -> dspy.Prediction:
            del trace, pred_trace
            return self._judged(gold, pred, is_about_step=bool(pred_name))

        return metric

    def _judged(
        self, gold: dspy.Example, pred: dspy.Prediction, *, is_about_step: bool
    ) -> dspy.Prediction:
        if is_about_step:
            self.feedback_calls += 1
        else:
            self.rollouts += 1
        case = int(gold.case.removeprefix("case-"))
        score, feedback = self.task.judged(case, pred.done, self.calls)
        return dspy.Prediction(score=score, feedback=feedback)


@dataclass
class Bench:
    """Everything that one run needs, made anew for each run."""

    task: Task
    count: Count
    metric: CountedMetric = field(init=False)
    reflection_lm: ReflectionLM = field(init=False)

    def __post_init__(self) -> None:
        self.metric = CountedMetric(self.task)
        self.reflection_lm = ReflectionLM(self.task, lambda: self.spent)

    @property
    def spent(self) -> int:
        """The real calls that count."""
        return self.metric.rollouts if self.count == "rollouts" else self.metric.calls

    @property
    def given(self) -> Callable[..., Any]:
        """The metric that the optimizers get."""
        return self.metric.plain() if self.count == "rollouts" else self.metric.named()

    def compile(self, optimizer: Any) -> dspy.Module:
        """What the optimizer makes of the program.

        Raises:
            RuntimeError: its prompts do not say which instruction is to be rewritten.
        """
        train, validation = self.task.examples()
        student = Steps(self.task.world.steps)
        with quiet(), dspy.context(lm=TaskLM(self.task), disable_history=True):
            program = optimizer.compile(student, trainset=train, valset=validation)
        if self.reflection_lm.unclear:
            raise RuntimeError(
                f"In {self.reflection_lm.unclear} of {len(self.reflection_lm.calls)} prompts the "
                "simulated reflection LM found no instruction that is marked as the current one."
            )
        return program

    def told(self) -> dict[str, int]:
        """What was really spent."""
        return {
            "rollouts": self.metric.rollouts,
            "feedback_calls": self.metric.feedback_calls,
            "reflection_calls": len(self.reflection_lm.calls),
        }


@dataclass
class Validated:
    """Told by dspy.GEPA of every validated candidate; keeps the best so far, with its moment."""

    bench: Bench
    points: list[dict[str, float]] = field(default_factory=list)
    best: float = -math.inf

    def on_valset_evaluated(self, event: Any) -> None:
        """Note the candidate, if its mean validation score is above all earlier ones."""
        if event["average_score"] > self.best:
            self.best = event["average_score"]
            score = self.bench.task.expected(event["candidate"].values())
            self.points.append({"spent": self.bench.spent, "score": score})


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what the optimizers print, warn of or log."""
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stderr(io.StringIO()),
            redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def reference(
    world: World, seed: int, budgets: Sequence[int], count: Count
) -> list[dict[str, float]]:
    """dspy.GEPA's scores at the budgets, read off one run, and what it returned in the end."""
    bench = Bench(Task(world, seed), count)
    validated = Validated(bench)
    optimizer = dspy.GEPA(
        metric=bench.given,
        max_metric_calls=max(budgets),
        reflection_lm=bench.reflection_lm,
        num_threads=1,
        track_stats=True,
        seed=seed,
        gepa_kwargs={"callbacks": [validated]},
    )
    returned = bench.task.expected(instructions(bench.compile(optimizer)))
    # gepa drops what a callback raises, so make sure that ours saw the run as it was.
    if not validated.points or validated.points[-1]["score"] != returned:
        raise RuntimeError(f"{world.name}, seed {seed}: the best validated program was missed.")
    found = []
    for budget in budgets:
        score = bench.task.expected(instructions(Steps(world.steps)))
        for point in validated.points:
            score = point["score"] if point["spent"] <= budget else score
        reflections = sum(at <= budget for at in bench.reflection_lm.calls)
        found.append({"budget": budget, "score": score, "reflection_calls": reflections})
    return [*found, {"budget": math.inf, "score": returned, **bench.told()}]


def ours(world: World, seed: int, budget: int, count: Count, **settings: Any) -> dict[str, float]:
    """The score of what our optimizer returns under this budget."""
    bench = Bench(Task(world, seed), count)
    optimizer = GEPA(
        bench.given,
        max_metric_calls=budget,
        reflection_lm=bench.reflection_lm,
        num_threads=1,
        seed=seed,
        **settings,
    )
    score = bench.task.expected(instructions(bench.compile(optimizer)))
    told = bench.told()
    if told["rollouts"] + told["feedback_calls"] > budget:
        raise RuntimeError(f"{world.name}, seed {seed}: {told} metric calls exceed {budget}.")
    members = len(optimizer.result.members)
    return {"budget": budget, "score": score, "members": members, **told}


def compared(
    world: World, seed: int, budgets: Sequence[int], count: Count, *, paper: bool
) -> dict[str, Any]:
    """All runs of one world with one seed."""
    began = time.perf_counter()
    found: dict[str, Any] = {
        "world": world.name,
        "seed": seed,
        REFERENCE: reference(world, seed, budgets, count),
        OURS: [ours(world, seed, budget, count) for budget in budgets],
    }
    if paper:
        found[PAPER] = [ours(world, seed, budget, count, search="paper") for budget in budgets]
    return {**found, "seconds": time.perf_counter() - began}


def summarized(
    world: World, runs: Sequence[dict[str, Any]], budgets: Sequence[int], system: str
) -> dict[str, Any]:
    """What the runs of one world say about one of our searches."""
    places = range(len(budgets))
    scores = [values(runs, system, place, "score") for place in places]
    theirs = [values(runs, REFERENCE, place, "score") for place in places]
    end = estimate(values(runs, REFERENCE, -1, "score"))
    curve = {budget: estimate(each).mean for budget, each in zip(budgets, scores, strict=True)}
    needed = reached_at(curve, end.mean)
    differences = [
        estimate([own - other for own, other in zip(*pair, strict=True)])
        for pair in zip(scores, theirs, strict=True)
    ]
    return {
        "world": world.name,
        "held_out": not world.tuning,
        "system": system,
        "budgets": list(budgets),
        "scores": [estimate(each) for each in scores],
        "reference_scores": [estimate(each) for each in theirs],
        "differences": differences,
        "reference_end": end,
        "rollouts_needed": needed,
        "ratio": min(1.0, needed / max(budgets)),
        "never_reached": math.isinf(needed),
        "below_at": [b for b, each in zip(budgets, differences, strict=True) if each.mean < 0],
        "surely_below_at": [
            b for b, each in zip(budgets, differences, strict=True) if each.high < 0
        ],
    }


def described(world: World) -> str:
    """The world in a line, with the scores of the program as given and of one that knows all."""
    task = Task(world, 0)
    told = [
        Stated(step, frozenset(range(step, world.rules, world.steps)), frozenset()).text("all")
        for step in range(world.steps)
    ]
    given = task.expected(instructions(Steps(world.steps)))
    return (
        f"{world.name} ({'for tuning' if world.tuning else 'held out'}; {world.steps} steps, "
        f"{world.rules} rules, {world.train} training and {world.validation} validation examples; "
        f"as given {given:.2f}, with all rules stated {task.expected(told):.2f})"
    )


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    names = [world.name for world in WORLDS]
    parser.add_argument("--worlds", nargs="+", help=f"from: tuning, held-out, {', '.join(names)}")
    parser.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS))
    parser.add_argument("--count", choices=("rollouts", "calls"), default="rollouts")
    parser.add_argument("--paper", action="store_true", help='also ours with search="paper"')
    parser.add_argument("--quick", action="store_true", help="2 seeds, budgets 100 and 400")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args(given)
    if arguments.quick:
        arguments.seeds, arguments.budgets = 2, [100, 400]
    arguments.budgets = sorted(arguments.budgets)
    wanted = arguments.worlds or ["tuning", "held-out"]
    if unknown := set(wanted) - {"tuning", "held-out", *names}:
        parser.error(f"there is no world {', '.join(sorted(unknown))}; there are {names}")
    arguments.worlds = [
        world
        for world in WORLDS
        if world.name in wanted or ("tuning" if world.tuning else "held-out") in wanted
    ]
    return arguments


def main(given: Sequence[str] | None = None) -> None:
    """Print a table for each world and one over all; with --json, write every number to a file."""
    arguments = arguments_of(given)
    began = time.perf_counter()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    every: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    one = partial(compared, budgets=arguments.budgets, count=arguments.count, paper=arguments.paper)
    pairs = list(product(arguments.worlds, seeds))
    with ExitStack() as stack:
        carried_out: Callable[..., Iterator[dict[str, Any]]] = map
        if arguments.jobs > 1:
            carried_out = stack.enter_context(ProcessPoolExecutor(arguments.jobs)).map
        results = carried_out(one, *zip(*pairs, strict=True))
        for world in arguments.worlds:
            runs = list(islice(results, len(seeds)))
            systems = (OURS, PAPER) if arguments.paper else (OURS,)
            own = [summarized(world, runs, arguments.budgets, system) for system in systems]
            print_world(described(world), runs, own)
            sys.stdout.flush()
            every += runs
            summaries += own
    means = print_summary(summaries, max(arguments.budgets))
    seconds = time.perf_counter() - began
    print(f"{seconds:.0f} s")
    record = {
        "benchmark": "search_efficiency",
        **surroundings("dspy_gepa", "dspy", "gepa", "numpy"),
        "seeds": list(seeds),
        "budgets": arguments.budgets,
        "count": arguments.count,
        "worlds": [vars(world) for world in arguments.worlds],
        "geometric_mean_ratios": means,
        "summaries": summaries,
        "runs": every,
        "seconds": seconds,
    }
    write_record(arguments.json, record)


if __name__ == "__main__":
    main()

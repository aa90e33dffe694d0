"""The default search against dspy.GEPA's engine on worlds that nobody tuned it for.

Worlds are drawn from wide priors (see `families.py`) by the numbers that are asked for; settings of
the search were chosen on draws below 500. What is compared is the expected value, on unseen cases,
of what would be returned when so much is spent: metric calls + `--factor` x reflection calls.

dspy.GEPA stands here as the gepa package itself with the arguments that dspy.GEPA gives it, which
is what dspy.GEPA runs; `search_efficiency.py` runs dspy.GEPA through DSPy. Neither its second calls
of the metric, for feedback, nor what it spends beyond its limit is charged.

    python benchmarks/fresh_draws.py --first 1000 --draws 100 --seeds 3 --json fresh_draws.json
    python benchmarks/fresh_draws.py --part equal --first 1000 --draws 200
    python benchmarks/fresh_draws.py --part clock --first 1000 --draws 100 --seeds 1

The last one is about time, which is simulated: a rollout takes a lognormal time with median 1 and
spread 1, the same in both systems, a reflection ten times as long. dspy.GEPA's engine waits for
every batch of rollouts and reflects on one component after another; that is how long it is taken
to need. What is compared is when each of them first has the score that the engine ends with, and
how long both take for the whole budget of metric calls.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from families import (
    Pace,
    Point,
    Simulated,
    World,
    by_our_clock,
    by_ours,
    by_reference,
    draw,
    score_at,
)
from report import (
    OURS,
    REFERENCE,
    estimate,
    geometric_mean,
    print_table,
    surroundings,
    write_record,
)

PAPER = "ours, paper"
STEP = 50
"""Costs at which curves are read."""
LEAST_GAIN = 0.01
"""The reference's gain below which it is not asked how soon that is reached."""

Curve: TypeAlias = list[float]


def curves(points: Sequence[Point], cost: int, factor: float) -> dict[str, Curve]:
    """The score by cost and by metric calls, at multiples of the step."""
    spent = range(0, cost + 1, STEP)
    return {
        "cost": [score_at(points, each, factor) for each in spent],
        "metric calls": [score_at(points, each, 0.0) for each in spent],
    }


def compared(world: World, seeds: Sequence[int], cost: int, factor: float, *, paper: bool) -> Any:
    """The curves of all systems in one world, a list over seeds each."""
    found: dict[str, list[dict[str, Curve]]] = {OURS: [], REFERENCE: []}
    for seed in seeds:
        ways = {OURS: by_ours, REFERENCE: by_reference}
        for name, way in ways.items():
            points = way(world, cost=cost, factor=factor, seed=seed)
            found[name].append(curves(points, cost, factor))
        if paper:
            points = by_ours(world, cost=cost, factor=factor, seed=seed, search="paper")
            found.setdefault(PAPER, []).append(curves(points, cost, factor))
    return {"draw": world.seed, "world": vars(world), **found}


def _matrix(runs: Sequence[Any], system: str, unit: str) -> np.ndarray[Any, Any]:
    """Shape (draws, seeds, costs)."""
    return np.array([[seed[unit] for seed in run[system]] for run in runs])


def print_scores(runs: Sequence[Any], unit: str, spent: Sequence[int]) -> list[dict[str, Any]]:
    """Mean scores over draws, and in how many of them ours is worse."""
    theirs = _matrix(runs, REFERENCE, unit)
    rows: list[list[object]] = [[f"score at {unit}", *map(str, spent)]]
    kept: list[dict[str, Any]] = []
    for system in (REFERENCE, OURS, PAPER):
        if system not in runs[0]:
            continue
        own = _matrix(runs, system, unit)
        places = [each // STEP for each in spent]
        means = own.mean(axis=1)[:, places]
        rows.append([system, *(f"{each:.3f}" for each in means.mean(axis=0))])
        if system == REFERENCE:
            continue
        difference = (own - theirs)[:, :, places]
        mean = difference.mean(axis=1)
        error = difference.std(axis=1, ddof=1) / own.shape[1] ** 0.5 if own.shape[1] > 1 else 0
        beyond = mean + _quantile(own.shape[1]) * error < -1e-9
        told = {
            "difference": [estimate(column.tolist()).signed for column in mean.T],
            "worse": [f"{share:.0%}" for share in (mean < -1e-9).mean(axis=0)],
            "worse by 0.02": [f"{share:.0%}" for share in (mean < -0.02).mean(axis=0)],
            "worse beyond the interval": [f"{share:.0%}" for share in beyond.mean(axis=0)],
        }
        rows += [[f"{system}: {name}", *values] for name, values in told.items()]
        kept.append({"system": system, "unit": unit, "spent": list(spent), **told})
    print_table(rows)
    return kept


def _quantile(seeds: int) -> float:
    """Of Student's distribution, for a two-sided interval of 95 %."""
    return {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}.get(seeds, 2.26)


def reached(runs: Sequence[Any], unit: str) -> dict[str, Any]:
    """What share of the whole cost ours needs for the score that the reference ends with."""
    own, theirs = (_matrix(runs, system, unit).mean(axis=1) for system in (OURS, REFERENCE))
    shares, never = [], 0
    for mine, other in zip(own, theirs, strict=True):
        if other[-1] - other[0] < LEAST_GAIN:
            continue
        places = np.flatnonzero(mine >= other[-1] - 1e-9)
        never += not len(places)
        shares.append(max(1, places[0]) / (len(mine) - 1) if len(places) else 1.0)
    return {"draws": len(shares), "never": never, "geometric mean": geometric_mean(shares)}


def equal_candidates(draws: Sequence[int], cost: int) -> dict[str, Any]:
    """How often what is returned is truly worse than the seed where no reflection helps."""
    lost = []
    for number in draws:
        world = replace(draw(number), keep=1.0, learn=0.0)
        task = Simulated(world, nothing_helps=True)
        points = by_ours(world, cost=cost, seed=number, task=task)
        lost.append(points[0].score - points[-1].score)
    worse = [each for each in lost if each > 1e-9]
    return {"draws": len(lost), "worse": len(worse), "most": max(lost)}


def harmful(draws: Sequence[int], cost: int) -> dict[str, Any]:
    """The same where every reflection learns nothing, forgets and breaks."""
    lost = []
    for number in draws:
        drawn = draw(number)
        world = replace(drawn, learn=0.0, breaks=max(drawn.breaks, 0.1))
        points = by_ours(world, cost=cost, seed=number)
        lost.append(points[0].score - points[-1].score)
    return {
        "draws": len(lost),
        "worse": sum(each > 1e-9 for each in lost),
        "worse by 0.01": sum(each > 0.01 for each in lost),
        "worse by 0.02": sum(each > 0.02 for each in lost),
        "mean": float(np.mean(lost)),
        "most": max(lost),
    }


def by_clock(
    draws: Sequence[int], seeds: Sequence[int], threads: Sequence[int], metric_calls: int
) -> list[dict[str, Any]]:
    """How much sooner ours has the score that the reference ends with; prints a row for each way.

    Where ours never has it, the whole of its time counts.
    """
    ways: tuple[dict[str, Any], ...] = ({}, {"prefer": "time"})
    rows: list[list[object]] = [
        ["threads", "ours", "times sooner", "never", "time in all", "longer", "score", "theirs",
         "reflections", "theirs"]
    ]  # fmt: skip
    kept = []
    for count in threads:
        pace = Pace(count)
        told: list[tuple[list[Point], list[list[Point]]]] = []
        for number in draws:
            world = draw(number)
            for seed in seeds:
                their = by_reference(world, cost=metric_calls, factor=0.0, seed=seed, pace=pace)
                own = [
                    by_our_clock(world, pace, metric_calls=metric_calls, seed=seed, **way)
                    for way in ways
                ]
                told.append((their, own))
        for place, way in enumerate(ways):
            pairs = [(their, own[place]) for their, own in told]
            found = {"threads": count, **way, **_in_time(pairs)}
            kept.append(found)
            rows.append([count, way.get("prefer", "default"), *map(_written, _columns(found))])
    print_table(rows)
    return kept


def _in_time(pairs: Sequence[tuple[list[Point], list[Point]]]) -> dict[str, Any]:
    sooner, never = [], 0
    for their, own in pairs:
        target = their[-1].score - 1e-9
        if target - their[0].score < LEAST_GAIN:
            continue
        first, *_ = (point.seconds for point in their if point.score >= target)
        reached = [point.seconds for point in own if point.score >= target]
        never += not reached
        sooner.append(first / max(min([*reached, own[-1].seconds]), 1.0))
    in_all = [own[-1].seconds / their[-1].seconds for their, own in pairs]
    return {
        "sooner": geometric_mean(sooner),
        "never": f"{never} of {len(sooner)}",
        "in all": geometric_mean(in_all),
        "longer": float(np.mean([each > 1 for each in in_all])),
        "score": float(np.mean([own[-1].score for _, own in pairs])),
        "reference score": float(np.mean([their[-1].score for their, _ in pairs])),
        "reflections": float(np.mean([own[-1].reflections for _, own in pairs])),
        "reference reflections": float(np.mean([their[-1].reflections for their, _ in pairs])),
    }


def _columns(found: dict[str, Any]) -> list[object]:
    return [value for name, value in found.items() if name not in ("threads", "prefer")]


def _written(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=("compare", "equal", "clock"), default="compare")
    parser.add_argument("--first", type=int, default=1000, help="number of the first draw")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="runs in each world")
    parser.add_argument("--cost", type=int, default=1600)
    parser.add_argument("--factor", type=float, default=10.0, help="rollouts to a reflection call")
    parser.add_argument("--paper", action="store_true", help='also ours with search="paper"')
    parser.add_argument("--threads", nargs="+", type=int, default=[16, 64], help="by the clock")
    parser.add_argument("--budget", type=int, default=800, help="metric calls by the clock")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(given)


def _told(runs: Iterator[Any], count: int) -> list[Any]:
    found = []
    for run in runs:
        found.append(run)
        if len(found) % 20 == 0:
            print(f"{len(found)} of {count} draws", flush=True)
    return found


def main(given: Sequence[str] | None = None) -> None:
    """Print the tables; with --json, write every number to a file."""
    arguments, began = arguments_of(given), time.perf_counter()
    numbers = range(arguments.first, arguments.first + arguments.draws)
    record: dict[str, Any] = {
        "benchmark": "fresh_draws",
        **surroundings("dspy_gepa", "gepa", "numpy"),
        **{name: value for name, value in vars(arguments).items() if name != "json"},
    }
    if arguments.part == "equal":
        record["equal"] = equal_candidates(numbers, arguments.cost)
        record["harmful"] = harmful(numbers, arguments.cost)
        print("reflections change nothing:", record["equal"])
        print("reflections only do harm:", record["harmful"])
    elif arguments.part == "clock":
        seeds = range(arguments.seeds)
        record["clock"] = by_clock(numbers, seeds, arguments.threads, arguments.budget)
    else:
        cost, factor, paper = arguments.cost, arguments.factor, arguments.paper
        seeds = range(arguments.seeds)
        each = (compared(draw(n), seeds, cost, factor, paper=paper) for n in numbers)
        record["runs"] = runs = _told(each, len(numbers))
        spent = [cost // 8 // STEP * STEP, cost // 4, cost // 2, cost]
        record["scores"] = [*print_scores(runs, "cost", spent)]
        record["scores"] += print_scores(runs, "metric calls", spent)
        record["reached"] = {unit: reached(runs, unit) for unit in ("cost", "metric calls")}
        print("share of it for the reference's last score:", record["reached"])
    record["seconds"] = time.perf_counter() - began
    print(f"{record['seconds']:.0f} s")
    write_record(arguments.json, record)


if __name__ == "__main__":
    main()

"""How often the intervals that people are shown hold the truth, where the truth is known.

    python benchmarks/interval_coverage.py --seed 9000 --draws 60
    python benchmarks/interval_coverage.py --part routing --seed 9000 --draws 12

Whole searches are made in worlds of `families.py`, at so many metric calls. "Small" steps: sixty
rules, of which a reflection sees few. "Large": few rules, no luck without them, and a reflection
that sees most of them, so that one rewrite may lead from 0 to 1. "Drawn": the priors as they are.
The truth is the mean score of the very same texts on 4,000 cases that nobody saw.

as it was, returned    the range beside an estimate, of the seed and of another member if that is
                       what is returned, so that it was chosen among all
held out               the interval of the verdict on so many examples of their own
routing                the interval of what specialists bring, in the worlds of `specialists.py`

At last: how often a report says "Looks better" where reflections change words and nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import specialists
from families import Simulated, Worker, World, draw, settings_in
from report import print_table, surroundings, write_record

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.search import decisions, evolve, requests, start
from dspy_gepa.core.state import RunState
from dspy_gepa.core.work import Answer
from dspy_gepa.story.building import story_of
from dspy_gepa.story.teller import Teller
from dspy_gepa.story.verdict import SURE, chance_of
from dspy_gepa.verdict.finding import verdict_of

UNSEEN = 4000
FRESH = 1000
HELD_OUT = (5, 20, 100)
REGIMES = ("small", "large", "drawn")


class Shown(NamedTuple):
    """An interval that was shown, and what it was to hold."""

    kind: str
    low: float
    high: float
    truth: float
    span: float
    """Of the scale of scores."""


def world_in(regime: str, number: int) -> World:
    """A world with small steps or with large ones, otherwise as it is drawn."""
    drawn = draw(number)
    if regime == "small":
        return replace(drawn, rules=60, tail=0.0, learn=0.3)
    if regime == "large":
        return replace(
            drawn, rules=drawn.needs[1] + 2, tail=0.0, luck=(0.0, 0.1), hopeless=0.0, components=1,
            is_one_at_fault=False, feedback="rule", told=1.0, learn=1.0, drown=0.0, follow=0.97,
            breaks=0.05, overfit=0.05, noise=0.0, repeat=0.0,
        )  # fmt: skip
    return drawn


def searched(world: World, calls: int, seed: int, *, helps: bool = True) -> tuple[Any, RunState]:
    """A task of this world, and the state at the end of a search in it."""
    task = Simulated(world, nothing_helps=not helps, unseen=UNSEEN)
    state = start(settings_in(world, metric_calls=calls, seed=seed), task.student)
    worker = Worker(task)
    answers: list[Answer | None] = [None]
    while answers:
        for answer in answers:
            for event in decisions(state, answer):
                state = evolve(state, event)
        answers = [worker(request) for request in requests(state)]
    return task, state


def unseen_scores(task: Simulated, candidate: Candidate) -> Any:
    """The scores of these texts on cases that no search sees."""
    return task.outcome(candidate)[0][-UNSEEN:]


def shown_in(world: World, calls: int, seed: int) -> Iterator[Shown]:
    """All intervals of a search and of a verdict on it."""
    task, state = searched(world, calls, seed)
    seed_scores, best = unseen_scores(task, state.members[0].candidate), state.best
    found = unseen_scores(task, state.members[best].candidate)
    scale, standings = state.scale, state.standings
    span = scale.top - scale.lowest
    yield Shown("as it was", *standings[0][1:3], float(seed_scores.mean()), span)
    if best:
        yield Shown("returned", *standings[best][1:3], float(found.mean()), span)
        yield from _held_out(seed_scores, found, scale.span, span, seed)


def _held_out(
    before: Any, after: Any, scale_span: float, span: float, seed: int
) -> Iterator[Shown]:
    for count in HELD_OUT:
        drawn = Random(f"held out {seed} {count}").sample(range(UNSEEN), count)
        rows = [[Rollout(float(scores[case])) for case in drawn] for scores in (before, after)]
        verdict = verdict_of(*rows, evaluations=0, span=scale_span)
        if verdict.low is not None and verdict.high is not None:
            truth = float((after - before).mean())
            yield Shown(f"held out, {count}", verdict.low, verdict.high, truth, span)


def looks_better(world: World, calls: int, seed: int) -> bool:
    """Whether a report says so though reflections changed nothing that counts."""
    _, state = searched(world, calls, seed, helps=False)
    story = story_of(Teller(state))
    return story.comparison is not None and (
        chance_of(story.comparison, len(story.members)) <= SURE
    )


def covered(shown: Sequence[Shown]) -> dict[str, Any]:
    """How many there are, the share that holds the truth, and how it was missed."""
    slack = 1e-9
    above = [each.truth > each.high + slack for each in shown]
    below = [each.truth < each.low - slack for each in shown]
    return {
        "intervals": len(shown),
        "held": 1 - float(np.mean(above)) - float(np.mean(below)),
        "truth below": float(np.mean(below)),
        "truth above": float(np.mean(above)),
        "width": float(np.mean([(each.high - each.low) / each.span for each in shown])),
    }


def rows_of(regime: str, calls: int, numbers: Sequence[int]) -> dict[str, dict[str, Any]]:
    """What is covered, by kind of interval, over so many worlds."""
    found: dict[str, list[Shown]] = {}
    for number in numbers:
        for shown in shown_in(world_in(regime, number), calls, number):
            found.setdefault(shown.kind, []).append(shown)
    return {kind: covered(shown) for kind, shown in found.items()}


def main(given: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=9000, help="number of the first draw")
    parser.add_argument("--part", choices=("searches", "routing"), default="searches")
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--calls", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(given)
    numbers = range(arguments.seed, arguments.seed + arguments.draws)
    columns = ("intervals", "held", "truth below", "truth above", "width")
    table: list[list[object]] = [["steps", "calls", "interval", *columns]]
    record: list[dict[str, Any]] = []
    for regime in REGIMES if arguments.part == "searches" else ():
        for calls in arguments.calls:
            for kind, row in rows_of(regime, calls, numbers).items():
                table.append([regime, calls, kind, *_in_words(row, columns)])
                record.append({"regime": regime, "calls": calls, "kind": kind, **row})
    for name, row in routings(numbers).items() if arguments.part == "routing" else ():
        table.append(["", "", name, *_in_words(row, columns)])
        record.append({"kind": name, **row})
    print_table(table)
    alarms = []
    if arguments.part == "searches":
        alarms = [looks_better(draw(number), max(arguments.calls), number) for number in numbers]
        print(f"nothing helps, and it looks better: {sum(alarms)} of {len(alarms)}")
    write_record(
        arguments.json,
        {"benchmark": "interval_coverage", **surroundings("dspy_gepa", "numpy"), "rows": record,
         "alarms": sum(alarms)},
    )  # fmt: skip


def routings(numbers: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The same of what routing brings, by the number of validation examples."""
    found: dict[str, list[Shown]] = {}
    for n, edge, seen, how in specialists.ROWS:
        for number in numbers:
            run = specialists.simulated(n, edge, seen, how=how, seed=number, fresh_inputs=FRESH)
            if run.low is not None and run.high is not None:
                shown = Shown("routing", run.low, run.high, run.routed, 1.0)
                found.setdefault(f"routing, {n}", []).append(shown)
    return {kind: covered(shown) for kind, shown in sorted(found.items())}


def _in_words(row: dict[str, Any], columns: Sequence[str]) -> list[str]:
    return [f"{row[name]:.2f}" if name != "intervals" else str(row[name]) for name in columns]


if __name__ == "__main__":
    main()

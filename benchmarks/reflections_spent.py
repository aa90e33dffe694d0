"""What the default search spends in drawn worlds, and what becomes of its reflections.

A child counts as better or worse if its expected score on unseen cases is above or below that of
its parent (of a merge: the better one) by more than 0.005. The last table is about what is
returned: what would be gained if everything were left out of its texts that helps on no other case,
which is the most that shrinking them could gain.

    python benchmarks/reflections_spent.py --first 300 --draws 50
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from families import Simulated, World, committed, draw, said_in, settings_in, text_of
from report import print_table

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.proposal import Merge, Mutation
from dspy_gepa.core.state import RunState

TRIFLE = 0.005
"""A difference that does not count."""
ENDS = {
    "no better on": "rejected by the gate",
    "not enough better on": "rejected by the gate",
    "the texts are unchanged": "texts unchanged",
    "worse on": "rejected in validation",
    "every score": "nothing to learn from",
}
"""By how the reason of a verdict begins."""


def spent_in(
    world: World, cost: int, gains: dict[Any, list[float]]
) -> tuple[dict[str, float], tuple[float, float, float]]:
    """What one run spent by its kind, and three scores, adding what children gained to `gains`.

    The scores are those of the program as given, of what is returned, and of that without harm.
    """
    task, spent = Simulated(world), defaultdict[str, float](float)
    settings = settings_in(world, metric_calls=cost, seed=0)
    *_, state = committed(settings, task, cost=cost, factor=10.0)
    worth = {member.candidate: task.expected(member.candidate) for member in state.members}
    for record in state.history:
        origin, kind = record.origin, type(record.origin).__name__.lower()
        spent[kind] += record.charge.rollouts
        spent["reflection"] += 10 * record.charge.reflection_calls
        if not isinstance(origin, Mutation | Merge):
            continue
        parent = max(worth[state.members[number].candidate] for number in origin.parents)
        gain = task.expected(record.candidate) - parent
        gains[kind, _end(record.verdict.kind, record.verdict.reason)].append(gain)
        if record.charge.reflection_calls:
            gains[f"size {origin.size}", record.verdict.kind].append(gain)
    return spent, _returned(task, state)


def _end(kind: str, reason: str) -> str:
    return next((words for begins, words in ENDS.items() if reason.startswith(begins)), kind)


def _returned(task: Simulated, state: RunState) -> tuple[float, float, float]:
    best = state.members[state.best].candidate
    nothing: frozenset[int] = frozenset()
    bare = {name: text_of(said_in(text)._replace(q=nothing, x=nothing), "bare")
            for name, text in best.items()}  # fmt: skip
    return task.expected(task.student), task.expected(best), task.expected(Candidate.of(bare))


def print_gains(gains: Mapping[tuple[str, str], Sequence[float]]) -> None:
    """A row for each end of a proposal, and for each size of a minibatch."""
    rows: list[list[object]] = [["proposals", "end", "number", "better", "worse", "mean gain"]]
    for (kind, end), values in sorted(gains.items(), key=str):
        gain = np.array(values)
        better, worse = (gain > TRIFLE).mean(), (gain < -TRIFLE).mean()
        rows.append([kind, end, len(gain), f"{better:.0%}", f"{worse:.0%}", f"{gain.mean():+.3f}"])
    print_table(rows)


def main(given: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--first", type=int, default=300, help="number of the first draw")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--cost", type=int, default=1600)
    arguments = parser.parse_args(given)
    gains: dict[Any, list[float]] = defaultdict(list)
    numbers = range(arguments.first, arguments.first + arguments.draws)
    runs = [spent_in(draw(number), arguments.cost, gains) for number in numbers]
    print_gains(gains)
    kinds = sorted({kind for spent, _ in runs for kind in spent})
    total = sum(sum(spent.values()) for spent, _ in runs)
    shares = [f"{sum(spent[kind] for spent, _ in runs) / total:.0%}" for kind in kinds]
    print_table([["share of the cost", *kinds], ["all", *shares]])
    means = np.mean([scores for _, scores in runs], axis=0)
    heading = ["score", "as given", "returned", "without what harms"]
    print_table([heading, ["mean", *(f"{each:.3f}" for each in means)]])


if __name__ == "__main__":
    main()

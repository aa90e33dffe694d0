"""What is returned of a pool whose true scores are known: how often worse, how often too careful.

A seed and so many members, each made from an older one, are all run on so many validation examples.
Then the choice is made as the default search makes it, and by the highest estimate alone. Of every
score a part is the example's own and the rest is chance; in a graded one the second is the metric's
noise. Nothing here searches: that the search leaves out what does worse is not in it.

    python benchmarks/returned.py --seed 7200 --pools 40
    python benchmarks/returned.py --seed 7200 --pools 40 --level 0.9

harm: every step from parent to child makes worse, by up to 0.15. mixed: steps are normal, with mean
-0.03 and deviation 0.08. clear: one child is better by 0.25 and all other steps make worse. steps:
a graded metric without noise, in which a step is worth 0.02 more, as much less, or nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report import print_table, surroundings, write_record

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.caution import Cautious
from dspy_gepa.core.selection import PoolView, by_estimate

EXAMPLES, MEMBERS, CHANCES = (1, 3, 6, 15, 50), (1, 5, 20), (0.1, 0.5, 1.0)
LEVEL = 0.35
REGIMES = ("harm", "mixed", "clear", "steps")
WAYS = {"the default": Cautious(), "highest estimate": by_estimate}
CLEARLY = 0.1
"""A member that is truly better than the seed by so much is clearly better; in steps, 0.02."""


def drawn_truth(
    random: np.random.Generator, regime: str, members: int, level: float
) -> tuple[Any, Any]:
    """The true scores of the seed, which has this level, and of members, and their parents."""
    truth, parents, best = [level], [()], int(random.integers(1, members + 1))
    for member in range(1, members + 1):
        is_from_best = random.random() < 0.5
        parent = int(np.argmax(truth)) if is_from_best else int(random.integers(0, member))
        step = {
            "harm": -random.uniform(0.0, 0.15),
            "mixed": random.normal(-0.03, 0.08),
            "clear": 0.25 if member == best else -random.uniform(0.0, 0.1),
            "steps": random.choice([0.02, 0.0, -0.02]),
        }[regime]
        truth.append(float(np.clip(truth[parent] + step, 0.02, 0.98)))
        parents.append((parent,))  # type: ignore[arg-type]
    return np.array(truth), tuple(parents)


def drawn_scores(
    random: np.random.Generator, truth: Any, examples: int, chance: float, *, is_binary: bool
) -> Any:
    """Scores of all members on all examples."""
    shape = (len(truth), examples)
    if is_binary:
        is_own = random.random(examples) >= chance
        drawn = np.where(is_own, random.random(examples), random.random(shape))
        return (drawn < truth[:, None]).astype(float)
    ease = random.normal(0.0, 0.12, examples)
    return truth[:, None] + ease + random.normal(0.0, 0.3 * chance, shape)


def chosen(
    seed: int, pools: int, examples: int, members: int, regime: str, *, level: float = LEVEL
) -> list[list[Any]]:
    """For each way of choosing, the true gain, and whether a clearly better member was withheld.

    Over all parts of chance, and right-or-wrong as well as graded scores.
    """
    found: list[list[Any]] = [[] for _ in WAYS]
    random = np.random.default_rng((seed, examples, members, REGIMES.index(regime)))
    kinds = [(chance, is_binary) for chance in CHANCES for is_binary in (True, False)]
    for chance, is_binary in kinds if regime != "steps" else [(0.0, False)] * len(kinds):
        for _ in range(pools):
            truth, parents = drawn_truth(random, regime, members, level)
            scores = drawn_scores(random, truth, examples, chance, is_binary=is_binary)
            names = tuple(Candidate.of({"text": str(number)}) for number in range(len(truth)))
            nothing = np.empty((len(truth), 0))
            view = PoolView(names, scores, scores, 1, 0, nothing, parents)
            least = 0.02 if regime == "steps" else CLEARLY
            is_better = truth.max() - truth[0] > least - 1e-9
            for way, rank in zip(found, WAYS.values(), strict=True):
                best = int(np.argmax(rank(view)))
                way.append((truth[best] - truth[0], best == 0 if is_better else np.nan))
    return found


def told(found: Sequence[Any]) -> tuple[float, float, float]:
    """The mean gain, the share that is worse than the seed, the share that is withheld."""
    gains, withheld = np.array(found, dtype=float).T
    missed = float(np.nanmean(withheld)) if not np.isnan(withheld).all() else float("nan")
    return float(gains.mean()), float((gains < -1e-9).mean()), missed


def main(given: Sequence[str] | None = None) -> None:
    """Print a table for each regime."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pools", type=int, default=40, help="for each chance and kind of score")
    parser.add_argument("--level", type=float, default=LEVEL, help="the seed's true score")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(given)
    kept = []
    for regime in REGIMES:
        rows: list[list[object]] = [[f"{regime}: examples, members", *WAYS]]
        for examples in EXAMPLES:
            for members in MEMBERS:
                cell = (arguments.pools, examples, members, regime)
                found = chosen(arguments.seed, *cell, level=arguments.level)
                each = [told(way) for way in found]
                words = [f"{gain:+.3f}, {worse:.0%}, {missed:.0%}" for gain, worse, missed in each]
                rows.append(
                    [f"{examples}, {members}", *(word.replace("nan%", "-") for word in words)]
                )
                kept.append(
                    {"regime": regime, "examples": examples, "members": members, "of": each}
                )
        print_table(rows)
    print("each: mean true gain over the seed, share worse than it, share withheld")
    write_record(
        arguments.json,
        {"benchmark": "returned", **surroundings("dspy_gepa", "numpy"), "rows": kept},
    )


if __name__ == "__main__":
    main()

"""How often the verdict on held-out examples is right, where the truth is known.

    python benchmarks/verdicts.py

Two programs are compared on n examples, so many times a row. "Same" is the share of examples on
which both get the same score whatever chance does. No model is asked.
"""

import argparse
import random
from collections.abc import Callable
from functools import partial

from dspy_gepa.core.rollout import Rollout
from dspy_gepa.verdict.finding import verdict_of

Draw = Callable[[random.Random], tuple[float, float]]


def right_or_wrong(chance: random.Random, *, before: float, gain: float, same: float) -> tuple:
    """Scores of 0 and 1 of the seed and the best on one example.

    The best is right with `gain` more; of the rest the share `same` is alike in both.
    """
    one = chance.random() < before
    other = one if chance.random() < same else chance.random() < before
    if not other and chance.random() < gain / (1 - before):
        other = True
    return float(one), float(other)


def graded(chance: random.Random, *, gain: float, spread: float) -> tuple:
    """Scores between 0 and 1, each example as hard for both."""
    middle = chance.betavariate(2, 2)
    pair = [middle + chance.gauss(0, spread), middle + gain + chance.gauss(0, spread)]
    return pair[0], pair[1]


def unlike(chance: random.Random) -> tuple:
    """Graded scores that are mostly 0 or 1, without anything in common."""
    return chance.betavariate(0.5, 0.5), chance.betavariate(0.5, 0.5)


ROWS: dict[str, Draw] = {
    "right or wrong, no gain, 0 % same": partial(right_or_wrong, before=0.5, gain=0.0, same=0.0),
    "right or wrong, no gain, 60 % same": partial(right_or_wrong, before=0.5, gain=0.0, same=0.6),
    "right or wrong, no gain, 90 % same": partial(right_or_wrong, before=0.8, gain=0.0, same=0.9),
    "graded, no gain": partial(graded, gain=0.0, spread=0.2),
    "graded at both ends, no gain": unlike,
    "right or wrong, gain .15, 90 % same": partial(right_or_wrong, before=0.5, gain=0.15, same=0.9),
    "right or wrong, gain .15, 60 % same": partial(right_or_wrong, before=0.5, gain=0.15, same=0.6),
    "right or wrong, gain .15, 0 % same": partial(right_or_wrong, before=0.5, gain=0.15, same=0.0),
    "graded, gain .15": partial(graded, gain=0.15, spread=0.2),
}


def share_of_better(draw: Draw, n: int, runs: int, seed: int = 0) -> float:
    """In how many of so many comparisons the verdict is "better"."""
    better = 0
    for run in range(runs):
        chance = random.Random(f"{seed} {n} {run}")
        pairs = [draw(chance) for _ in range(n)]
        rows = [[Rollout(score) for score in side] for side in zip(*pairs, strict=True)]
        better += verdict_of(*rows, evaluations=0).kind == "better"
    return better / runs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs, sizes = parser.parse_args().runs, (5, 10, 20, 50, 100, 200)
    print("| world | " + " | ".join(f"n = {n}" for n in sizes) + " |")
    print("|---" * (1 + len(sizes)) + "|")
    for name, draw in ROWS.items():
        shares = [f"{share_of_better(draw, n, runs):.3f}" for n in sizes]
        print(f"| {name} | " + " | ".join(shares) + " |")


if __name__ == "__main__":
    main()

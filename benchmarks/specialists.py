"""What routing to specialists claims to bring, and what it brings, where the truth is known.

    python benchmarks/specialists.py

Six members, three kinds of input, each member better by its edge on one kind; n validation examples
with scores of right and wrong, as hard as chance has it. "Visible": two of five words of an input
are words of its kind; "half": in half of the inputs; "not": in none. "Unequal" members are better
over all by up to 0.2; "in turn": there are equally many inputs of each kind; "graded": scores are
between 0 and 1. The truth is measured on 400 fresh inputs. No model is asked.
"""

import argparse
from typing import Any, NamedTuple

import numpy as np

from dspy_gepa.specialists.member_sets import estimates
from dspy_gepa.specialists.module import Likeness
from dspy_gepa.specialists.routing import routed

MEMBERS, KINDS, FRESH = 6, 3, 400
ROWS = [
    *(
        (n, edge, seen, how)
        for edge, seen, how in (
            (0.0, "visible", ""),
            (0.0, "visible", "unequal"),
            (0.15, "visible", ""),
            (0.4, "visible", ""),
            (0.4, "half", ""),
            (0.4, "not", ""),
        )
        for n in (30, 60, 120)
    ),
    (60, 0.0, "visible", "in turn"),
    (60, 0.4, "visible", "in turn"),
    (60, 0.0, "visible", "graded"),
    (60, 0.15, "visible", "graded"),
]


class Seen(NamedTuple):
    """What came of one simulated run."""

    frontier: float
    """What the frontier's own score says is gained."""
    evidence: bool
    claimed: float
    """What is claimed: nothing without evidence."""
    true: float
    """What the program that is returned gains over the single best."""
    routed: float
    """What routing gains, whether or not it is what is returned."""
    low: float | None
    """The lower end of the interval of what is claimed."""
    high: float | None


def texts(chance: np.random.Generator, kinds: Any, seen: str) -> list[str]:
    """Inputs in words."""
    found = []
    for kind in kinds:
        shows = seen == "visible" or (seen == "half" and chance.random() < 0.5)
        words = [
            f"kind{kind}word{chance.integers(12)}"
            if shows and chance.random() < 0.4
            else f"word{chance.integers(200)}"
            for _ in range(12)
        ]
        found.append(" ".join(words))
    return found


def simulated(
    n: int, edge: float, seen: str, *, how: str, seed: int, fresh_inputs: int = FRESH
) -> Seen:
    """One run: a table of scores, what is made of it, and what that is worth on fresh inputs."""
    chance = np.random.default_rng(seed)
    kinds = chance.integers(0, KINDS, n + fresh_inputs)
    if how == "in turn":
        kinds = np.arange(n + fresh_inputs) % KINDS
    base = 0.5 + chance.normal(0, 0.15, n + fresh_inputs)
    lead = np.linspace(0, 0.2, MEMBERS) if how == "unequal" else np.zeros(MEMBERS)
    true = np.stack([base + lead[m] + edge * (kinds == m % KINDS) for m in range(MEMBERS)]).clip(
        0.02, 0.98
    )
    if how == "graded":
        scores = (true[:, :n] + chance.normal(0, 0.2, (MEMBERS, n))).clip(0, 1)
    else:
        scores = (chance.random((MEMBERS, n)) < true[:, :n]).astype(float)
    words = texts(chance, kinds, seen)
    known = Likeness(words[:n])
    likeness = np.array([known.to(text) for text in words[:n]])
    routing, choice = routed(scores, likeness, tuple(range(MEMBERS)), 3)
    single = int(scores.mean(1).argmax())
    fresh = np.array([known.to(text) for text in words[n:]])
    expected = estimates(scores[list(choice.members)], fresh, choice.shrinkage)
    sent = np.array(choice.members)[expected.argmax(0)]
    gained = float((true[sent, n + np.arange(fresh_inputs)] - true[single, n:]).mean())
    return Seen(
        float(scores.max(0).mean() - scores.mean(1).max()),
        routing.evidence,
        routing.gain if routing.evidence else 0.0,
        gained if routing.evidence else 0.0,
        gained,
        routing.low,
        routing.high,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--first", type=int, default=5000, help="settings were chosen below 5000")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.runs)
    print("| kinds | edge | n | frontier says | evidence in | claimed | true | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for n, edge, seen, how in ROWS:
        found = [simulated(n, edge, seen, how=how, seed=seed) for seed in seeds]
        frontier, evidence, claimed, true = np.mean([each[:4] for each in found], axis=0)
        name = f"{seen}, {how}" if how else seen
        print(
            f"| {name} | {edge:.2f} | {n} | {frontier:+.2f} | {evidence:.0%} | {claimed:+.3f} | "
            f"{true:+.3f} | {claimed - true:+.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

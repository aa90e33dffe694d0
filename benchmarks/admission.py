"""How often a candidate that is no better is admitted by luck.

Two equal candidates, whose answers are right independently of each other with the same
probability. The second one passes the gate by luck on three examples, as published, or on three,
five or eight and the first validation examples beside it, as by default.

    python benchmarks/admission.py --json admission.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from report import print_table, surroundings

from dspy_gepa.core.gate import Gate, Margin, strict_improvement
from dspy_gepa.core.schedule import ValidationSchedule

TRIALS = 20_000
MINIBATCH = 3
RATES = (0.15, 0.3, 0.5, 0.7)


def published(rate: float, random: np.random.Generator) -> bool:
    """Whether an equal child passes the published gate."""
    parent, child = random.random((2, MINIBATCH)) < rate
    return strict_improvement(child.tolist(), [parent.tolist()])


def default(rate: float, random: np.random.Generator, size: int, gate: Gate) -> bool:
    """Whether an equal child passes the default search's minibatch and first validation."""
    parent, child = (random.random((2, size)) < rate).astype(float)
    if not gate(child.tolist(), [parent.tolist()]):
        return False
    schedule = ValidationSchedule()
    beside = (random.random((2, schedule.first)) < rate).astype(float)
    return not schedule.is_worse(beside[0], beside[1], span=1.0)


def main() -> None:
    """Print one table; with --json, write the same numbers to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    kinds = {
        "published gate, 3 examples": lambda rate: published(rate, random),
        "default, 3 examples": lambda rate: default(rate, random, 3, strict_improvement),
        "default, 8 examples": lambda rate: default(rate, random, 8, strict_improvement),
        "Margin(0.5), 8 examples": lambda rate: default(rate, random, 8, Margin(0.5)),
    }
    admitted = {
        name: [float(np.mean([passes(rate) for _ in range(TRIALS)])) for rate in RATES]
        for name, passes in kinds.items()
    }
    rows: list[list[object]] = [["share admitted, answers right", *map(str, RATES)]]
    rows += [[name, *(f"{share:.2f}" for share in found)] for name, found in admitted.items()]
    print_table(rows)
    if arguments.json:
        record = {
            "benchmark": "admission",
            **surroundings("dspy_gepa", "numpy"),
            "seed": arguments.seed,
            "rates": RATES,
            "admitted": admitted,
        }
        arguments.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

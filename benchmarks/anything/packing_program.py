"""A program that packs 26 circles, written by a model: `circles.py` with code for an artifact.

The artifact is a module with `pack()`, which returns 26 centres in the unit square; the evaluator
chooses the radii, so that every packing is valid. It runs in a process of its own, for a minute at
most. The first one puts all centres on a circle, which gives 1.254; best known: 2.635983.

    python benchmarks/anything/packing_program.py --model openai/gpt-5 --calls 60
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import circles
import numpy as np

from dspy_gepa import optimize_anything

sys.path.insert(0, str(Path(__file__).parents[1]))

from mailbox_lm import Usage, reflection_model

SEED = '''\
import math


def pack():
    """26 centres in the unit square."""
    angles = [2 * math.pi * n / 26 for n in range(26)]
    return [(0.5 + 0.4 * math.cos(a), 0.5 + 0.4 * math.sin(a)) for a in angles]
'''
OBJECTIVE = (
    "Write a Python module whose pack() returns the centres of 26 circles in the unit square, as "
    "26 pairs of numbers, so that the sum of their radii is as large as can be. The radii are "
    "chosen for the centres, as large as these allow; no circles overlap, and all lie within the "
    "square. pack() may compute for 45 seconds, with the standard library and numpy."
)
SECONDS = 60.0


def evaluate(artifact: str) -> tuple[float, dict[str, Any]]:
    """The sum of the best radii for the centres, and what keeps it from growing."""
    names: dict[str, Any] = {}
    exec(compile(artifact, "artifact", "exec"), names)  # noqa: S102 - run in a process of its own
    centres = np.array(names["pack"](), dtype=float)
    if centres.shape != (circles.CIRCLES, 2):
        raise ValueError(f"pack() returned the shape {centres.shape}; (26, 2) is needed")
    if not ((centres >= 0) & (centres <= 1)).all():
        raise ValueError("a centre lies outside of the unit square")
    total, push = circles.best_radii(centres)
    still = int((np.abs(push) < 1e-6).all(axis=1).sum())
    return total, {"Sum of radii": round(total, 6), "Circles at rest": f"{still} of 26"}


def main() -> None:
    """Print what was reached after how many evaluations."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="a name, or mailbox:FOLDER")
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    scores: list[float] = []

    def watched(event: Any, _state: Any) -> None:
        rollout = getattr(event, "rollout", None)
        if rollout is not None:
            scores.append(rollout.score)
            reached = f"{max(scores):.4f}" if max(scores) > 0 else "nothing yet"
            said = f"{rollout.score:.6f}" if not rollout.failure else f"failed: {rollout.failure}"
            print(f"evaluation {len(scores)}: {said:.120} (best {reached})", flush=True)

    result = optimize_anything(
        SEED,
        evaluate,
        objective=OBJECTIVE,
        reflection_lm=reflection_model(arguments.model, Usage()),
        kind="code",
        isolation="process",
        timeout_seconds=SECONDS,
        max_evals=arguments.calls,
        seed=arguments.seed,
        observers=[watched],
    )
    print(f"{result.score:.6f} after {result.tally.metric_calls} evaluations: {result.stop_reason}")
    print(result.optimized_artifact)


if __name__ == "__main__":
    main()

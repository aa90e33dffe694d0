"""Circles in the unit square: 26 of them, and the sum of their radii is to be as large as can be.

The artifact are the centres, a line each. The evaluator finds the best radii for them by a linear
program, so that every artifact is valid with a tolerance of zero; its dual values say in which
direction each circle would have to move for the sum to grow. Best known: 2.635983.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["BEST_KNOWN", "CIRCLES", "OBJECTIVE", "evaluate", "model", "ring"]

CIRCLES = 26
BEST_KNOWN = 2.635983
OBJECTIVE = (
    "Place the centres of 26 circles in the unit square so that the sum of their radii is as large "
    "as can be. The radii are chosen for you, as large as the centres allow; no circles overlap."
)
_LINE = re.compile(r"^c(\d\d) (\d\.\d+) (\d\.\d+)$", re.MULTILINE)
_CHANGE = re.compile(r"^Change (\d+)", re.MULTILINE)
_PUSH = re.compile(r"^c(\d\d) is pushed ([+-]\d\.\d+) ([+-]\d\.\d+)$", re.MULTILINE)


def ring() -> str:
    """The artifact to start from: all centres on one circle."""
    angles = [2 * math.pi * n / CIRCLES for n in range(CIRCLES)]
    return written([(0.5 + 0.4 * math.cos(a), 0.5 + 0.4 * math.sin(a)) for a in angles])


def written(centres: Any) -> str:
    """Centres as an artifact."""
    return "\n".join(f"c{n:02} {x:.6f} {y:.6f}" for n, (x, y) in enumerate(centres))


def evaluate(artifact: str) -> tuple[float, dict[str, str]]:
    """The sum of the best radii, and where each circle is pushed."""
    found = {int(number): (float(x), float(y)) for number, x, y in _LINE.findall(artifact)}
    if sorted(found) != list(range(CIRCLES)):
        raise ValueError(f"there must be {CIRCLES} lines like c00 0.5 0.5, numbered from c00 on")
    centres = np.array([found[number] for number in range(CIRCLES)])
    if not ((centres >= 0) & (centres <= 1)).all():
        raise ValueError("a centre lies outside of the unit square")
    total, push = best_radii(centres)
    lines = [f"c{n:02} is pushed {x:+.4f} {y:+.4f}" for n, (x, y) in enumerate(push)]
    return total, {"Feedback": "\n".join(lines)}


def best_radii(centres: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest sum of radii, and its gradient with respect to the centres."""
    count = len(centres)
    first, second = np.triu_indices(count, 1)
    apart = centres[first] - centres[second]
    distances = np.hypot(*apart.T)
    walls = np.concatenate([centres, 1 - centres], axis=1)
    nearest = walls.argmin(axis=1)
    rows = np.zeros((len(first) + count, count))
    rows[np.arange(len(first)), first] = rows[np.arange(len(first)), second] = 1
    rows[len(first) :] = np.eye(count)
    total, weights = maximum(rows, np.concatenate([distances, walls.min(axis=1)]))
    away = apart / np.maximum(distances, 1e-12)[:, None] * weights[: len(first), None]
    push = np.zeros_like(centres)
    np.add.at(push, first, away)
    np.add.at(push, second, -away)
    inwards = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])[nearest]
    return total, push + inwards * weights[len(first) :, None]


def maximum(rows: np.ndarray, limits: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest sum of unknowns from 0 on with rows @ unknowns <= limits, and its dual values.

    The simplex method on a tableau: the problem is small, and nothing else is needed for it.
    """
    constraints, unknowns = rows.shape
    table = np.hstack([rows, np.eye(constraints), limits[:, None]])
    costs = np.concatenate([-np.ones(unknowns), np.zeros(constraints + 1)])
    for step in range(10_000):
        # After many steps the first column that helps, by which no circle of steps is possible.
        helps = np.flatnonzero(costs[:-1] < -1e-10)
        if not len(helps):
            break
        column = helps[0] if step > 500 else helps[costs[helps].argmin()]
        ratios = np.full(constraints, np.inf)
        positive = table[:, column] > 1e-10
        ratios[positive] = table[positive, -1] / table[positive, column]
        row = int(ratios.argmin())
        table[row] /= table[row, column]
        others = table[:, column].copy()
        others[row] = 0
        table -= np.outer(others, table[row])
        costs -= costs[column] * table[row]
    return float(costs[-1]), costs[unknowns:-1]


def model(seed: int, *, blind: bool = False) -> Callable[[str], str]:
    """An honest scripted model: it sees the prompt and knows nothing of packings.

    It moves centres along what they are said to be pushed, by a random step; blind it moves them
    anywhere. Where the prompt tells of other attempts as well, it goes by the mean of what is said
    of all of them: at an edge, of which each tells one side, that leads along it. What it draws
    depends on its seed, the prompt and how often that was asked before, as a model with a
    temperature answers the same question in several ways.
    """
    asked = Counter[str]()

    def answer(prompt: Any) -> str:
        prompt = prompt if isinstance(prompt, str) else str(prompt)
        asked[prompt] += 1
        drawn = hashlib.sha256(f"{seed} {asked[prompt]} {prompt}".encode()).hexdigest()
        chance = random.Random(drawn)
        centres = dict[str, tuple[float, float]]()
        for number, x, y in _LINE.findall(prompt):
            centres.setdefault(number, (float(x), float(y)))
        pushes = {} if blind else _pushes(prompt)
        # In units of the distance to the nearest other centre, which the text itself shows, and the
        # smaller the more changes are said to have been tried.
        tried = max(map(int, _CHANGE.findall(prompt)), default=0)
        spacing = _spacing(list(centres.values()))
        size = 0.5 * spacing * 10 ** chance.uniform(-0.5, 0.5) / (1 + tried / 20)
        shaking = chance.choice([0.1, 0.3])
        moved = []
        for number in sorted(centres):
            x, y = centres[number]
            dx, dy = pushes.get(number, (0.0, 0.0))
            dx, dy = dx + shaking * chance.gauss(0, 1), dy + shaking * chance.gauss(0, 1)
            x, y = x + size * dx, y + size * dy
            moved.append((min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)))
        return f"```\n{written(moved)}\n```"

    return answer


def _pushes(prompt: str) -> dict[str, tuple[float, float]]:
    """Where centres are pushed by the mean of all that is said, as far as the first says."""
    said: dict[str, list[tuple[float, float]]] = {}
    for number, x, y in _PUSH.findall(prompt):
        said.setdefault(number, []).append((float(x), float(y)))
    first = {number: each[0] for number, each in said.items()}
    means = {
        number: (sum(x for x, _ in each) / len(each), sum(y for _, y in each) / len(each))
        for number, each in said.items()
    }
    far = math.hypot(*(part for push in first.values() for part in push))
    as_far = math.hypot(*(part for push in means.values() for part in push))
    scale = far / as_far if as_far else 1.0
    return {number: (scale * x, scale * y) for number, (x, y) in means.items()}


def _spacing(centres: list[tuple[float, float]]) -> float:
    """The mean distance from a centre to the nearest other one."""
    nearest = [
        min(math.dist(one, other) for k, other in enumerate(centres) if k != n)
        for n, one in enumerate(centres)
    ]
    return sum(nearest) / len(nearest)

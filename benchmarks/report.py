"""What the benchmarks print and write: intervals over seeds, tables, the record of a run as JSON.

The runs that are printed here are dictionaries, as they go into the record.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "OURS",
    "REFERENCE",
    "Estimate",
    "estimate",
    "geometric_mean",
    "paired_interval",
    "print_summary",
    "print_table",
    "print_world",
    "reached_at",
    "surroundings",
    "values",
    "write_record",
]

REFERENCE = "dspy.GEPA"
OURS = "ours"

_RESAMPLES = 4_000


class Estimate(NamedTuple):
    """A mean over seeds, and between what it lies with 95 %."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.2f}..{self.high:.2f})"

    @property
    def signed(self) -> str:
        """The same for a difference, with a sign."""
        return f"{self.mean:+.3f} ({self.low:+.2f}..{self.high:+.2f})"


def estimate(values: Sequence[float]) -> Estimate:
    """The mean and its interval: percentiles of the means of resampled seeds, always the same."""
    found = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(found), size=(_RESAMPLES, len(found)))
    low, high = np.percentile(found[drawn].mean(axis=1), [2.5, 97.5])
    return Estimate(float(found.mean()), float(low), float(high))


def paired_interval(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Estimate:
    """The mean difference of row scores, a pair of lists for each seed, and its interval."""
    differences = [np.subtract(own, other) for own, other in pairs]
    random = np.random.default_rng(0)
    means = [
        each[random.integers(len(each), size=(_RESAMPLES, len(each)))].mean(axis=1)
        for each in differences
    ]
    low, high = np.percentile(np.mean(means, axis=0), [2.5, 97.5])
    mean = float(np.mean([each.mean() for each in differences]))
    return Estimate(mean, float(low), float(high))


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean of positive values; NaN of none."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else math.nan


def reached_at(curve: Mapping[int, float], target: float) -> float:
    """Where a curve first reaches a score, on straight lines between its points; inf for never.

    The curve says nothing before its first point, which is the least that can come out.
    """
    points = sorted(curve.items())
    before = points[0]
    if before[1] >= target:
        return float(before[0])
    for at, score in points[1:]:
        if score >= target:
            share = (target - before[1]) / (score - before[1])
            return before[0] + share * (at - before[0])
        before = (at, score)
    return math.inf


def print_table(rows: Sequence[Sequence[object]]) -> None:
    """The rows in columns, the first one as heading; text to the left, everything else right."""
    texts = [[str(each) for each in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for row in texts:
        cells = [row[0].ljust(widths[0])]
        cells += [each.rjust(width) for each, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def values(runs: Sequence[dict[str, Any]], system: str, place: int, name: str) -> list[float]:
    """One number of every seed's run at one budget."""
    return [run[system][place][name] for run in runs]


def mean(found: Sequence[float]) -> str:
    """A mean of counts, in words."""
    return f"{sum(found) / len(found):.0f}"


def print_world(
    title: str, runs: Sequence[dict[str, Any]], summaries: Sequence[dict[str, Any]]
) -> None:
    """The table of one world."""
    budgets = summaries[0]["budgets"]
    print(f"\n{title}, {len(runs)} seeds")
    end = {name: values(runs, REFERENCE, -1, name) for name in runs[0][REFERENCE][-1]}
    rows = [["at budget", *budgets, "at its end"]]
    rows.append([REFERENCE, *summaries[0]["reference_scores"], summaries[0]["reference_end"]])
    for summary in summaries:
        rows.append([summary["system"], *summary["scores"], ""])
        rows.append(["  difference", *(each.signed for each in summary["differences"]), ""])
    places = range(len(budgets))
    reflections = [mean(values(runs, REFERENCE, at, "reflection_calls")) for at in places]
    calls = f"{mean(end['rollouts'])} + {mean(end['feedback_calls'])} for feedback"
    rows.append(["reflection calls, " + REFERENCE, *reflections, mean(end["reflection_calls"])])
    rows.append(["metric calls, " + REFERENCE, *([""] * len(budgets)), calls])
    for system in (summary["system"] for summary in summaries):
        for name in ("reflection_calls", "rollouts", "feedback_calls"):
            found = [mean(values(runs, system, at, name)) for at in places]
            title = {"rollouts": "metric calls", "feedback_calls": "of these for feedback"}
            if name != "feedback_calls" or any(each != "0" for each in found):
                rows.append([f"{title.get(name, 'reflection calls')}, {system}", *found, ""])
    print_table(rows)


def print_summary(summaries: Sequence[dict[str, Any]], top: int) -> dict[str, float]:
    """The last table, and the means that are the claim."""
    rows: list[list[object]] = [
        ["world", "", "score to reach", "rollouts needed", f"of {top}", "below at", "surely"]
    ]
    for each in summaries:
        is_never = each["never_reached"]
        rows.append(
            [
                each["world"] + (f" ({each['system']})" if each["system"] != OURS else ""),
                "held out" if each["held_out"] else "tuning",
                f"{each['reference_end'].mean:.3f}",
                f"> {top}" if is_never else f"{each['rollouts_needed']:.0f}",
                "> 1" if is_never else f"{each['ratio']:.2f}",
                " ".join(map(str, each["below_at"])) or "never",
                " ".join(map(str, each["surely_below_at"])) or "never",
            ]
        )
    print(f"\nRollouts that ours needs for the score that {REFERENCE} has at {top}; ", end="")
    print("and at which budgets its mean is below, surely so at 95 %")
    print_table(rows)
    means: dict[str, float] = {}
    for system, held_out in product(dict.fromkeys(s["system"] for s in summaries), (True, False)):
        chosen = [s for s in summaries if s["system"] == system and (s["held_out"] or not held_out)]
        if not chosen:
            continue
        title = f"{system}, {'held-out worlds' if held_out else 'all worlds'}"
        means[title] = geometric_mean(each["ratio"] for each in chosen)
        sign = "at least " if any(each["never_reached"] for each in chosen) else ""
        print(f"geometric mean of the ratios, {title}: {sign}{means[title]:.3f}")
    return means


def surroundings(*packages: str) -> dict[str, Any]:
    """The versions and the machine, for the record."""
    return {
        "versions": {
            **{name: version(name) for name in packages},
            "python": platform.python_version(),
        },
        "system": platform.platform(),
        "processors": os.cpu_count(),
    }


def write_record(path: Path | None, record: Mapping[str, Any]) -> None:
    """Write the numbers to a file, if one was asked for. What is not finite becomes null."""
    if path is not None:
        path.write_text(json.dumps(_finite(record), indent=1) + "\n", "utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

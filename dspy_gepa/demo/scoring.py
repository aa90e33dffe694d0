"""A program's mean score over examples, with visible progress.

One rule: an answer that cannot be read scores 0; a model that cannot be reached is an error.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import dspy

from dspy_gepa.demo.task import DemoTask

__all__ = ["Score", "StepProgress", "mean_score"]

_SECONDS_BETWEEN_LINES = 10.0


class Score(NamedTuple):
    """A mean over so many examples, with the means of its parts where it has any."""

    mean: float
    examples: int
    parts: dict[str, float]


class StepProgress:
    """Says how far some work is: at every step on a terminal, every ten seconds elsewhere."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._done, self._points = 0, 0.0
        self._began = self._said = time.monotonic()
        self._lock = threading.Lock()

    def step(self, points: float) -> None:
        """Count one more example with its score; any thread may call this."""
        with self._lock:
            self._done += 1
            self._points += points
            now = time.monotonic()
            is_last = self._done == self._total
            if not is_last and not sys.stdout.isatty():
                if now - self._said < _SECONDS_BETWEEN_LINES:
                    return
                self._said = now
            line = (
                f"  {self._title}: {self._done}/{self._total}, "
                f"mean score {self._points / self._done:.3f}, {now - self._began:.0f} s"
            )
            if sys.stdout.isatty():
                print(f"\r\x1b[K{line}", end="\n" if is_last else "", flush=True)
            else:
                print(line, flush=True)


def mean_score(
    program: dspy.Module,
    task: DemoTask,
    examples: Sequence[dspy.Example],
    *,
    title: str,
    num_threads: int,
) -> Score:
    """The program's mean score over the examples, under the LM of the current `dspy.context`."""
    progress = StepProgress(title, len(examples))

    def rate(example: dspy.Example) -> tuple[float, dict[str, float]]:
        points, parts = 0.0, dict[str, float]()
        try:
            prediction = program(**example.inputs())
        except dspy.AdapterParseError:
            pass
        else:
            points = task.metric(example, prediction).score
            parts = task.sub_scores(example, prediction) if task.sub_scores else {}
        progress.step(points)
        return points, parts

    with ThreadPoolExecutor(num_threads) as pool:
        # A pool's threads start without the caller's context, and DSPy keeps the LM in it.
        jobs = [pool.submit(contextvars.copy_context().run, rate, each) for each in examples]
        try:
            rated = [job.result() for job in jobs]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    names = dict.fromkeys(name for _, parts in rated for name in parts)
    return Score(
        mean=sum(points for points, _ in rated) / len(rated),
        examples=len(rated),
        parts={
            name: sum(parts.get(name, 0.0) for _, parts in rated) / len(rated) for name in names
        },
    )

"""House labels: messages of customers under a shop's own labels; see `dspy_gepa.demo`."""

from __future__ import annotations

from house_wrapped import demo_labels

from tasks import Source, Task

__all__ = ["task"]


def task(source: Source, seed: int = 0) -> Task:
    """24, 24 and 32 messages that ship with the package, the same for every seed."""
    del source, seed
    return demo_labels()

"""House bookings: facts that only the feedback tells; see `house_tasks.py`."""

from __future__ import annotations

from house_wrapped import house

from tasks import Source, Task

__all__ = ["task"]


def task(source: Source, seed: int = 0) -> Task:
    """24, 24 and 200 generated messages; the seed draws them and their facts."""
    del source
    return house("bookings", seed)

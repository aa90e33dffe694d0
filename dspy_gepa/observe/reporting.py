"""Has `report.html` written into the run directory when a run is over, however that came about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from dspy_gepa.observe.observer import attempted
from dspy_gepa.story.story import Story
from dspy_gepa.views.report import REPORT, write_report

__all__ = ["reported"]

KeptT = TypeVar("KeptT")


@contextmanager
def reported(
    kept: AbstractContextManager[KeptT], folder: Path, story: Callable[[], Story]
) -> Iterator[KeptT]:
    """What is given, and a report once it is closed: at the end, on Ctrl-C and on a breakdown.

    There is no report of a run that has begun no proposal, not even the seed's.

    Args:
        kept: A run directory that is open for writing.
        folder: Where that is.
        story: Reads what happened from there; without secrets, because reports are passed on.
    """
    try:
        with kept as opened:
            yield opened
    finally:
        problem = "%s takes no report; dspy-gepa report makes one later"
        attempted(partial(_write_of_begun, story, folder), problem, folder)


def _write_of_begun(story: Callable[[], Story], folder: Path) -> None:
    found = story()
    if found.proposals:
        write_report(found, folder / REPORT)

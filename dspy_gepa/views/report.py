"""Writes the page of a run into a file."""

from __future__ import annotations

from pathlib import Path

from dspy_gepa.store.files import write_whole
from dspy_gepa.story.story import Story
from dspy_gepa.views.page.page import page_of

__all__ = ["REPORT", "write_report"]

REPORT = "report.html"
"""Its name in a run directory."""


def write_report(story: Story, path: Path) -> Path:
    """Write the page of a run, whole or not at all.

    Raises:
        JournalError: there is no room or no right to.
        MissingExtra: jinja2 is not installed.
    """
    write_whole(path, page_of(story).encode(), "name another file")
    return path

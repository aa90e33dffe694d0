"""`dspy-gepa report`: the page of a run, written once or shown while the run goes on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dspy_gepa.command.live import serve_page
from dspy_gepa.story.stored import story_in
from dspy_gepa.views.report import REPORT, write_report

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Make the command known."""
    about = "the page of a run, for any old or running one"
    parser = commands.add_parser("report", help=about, description=about)
    parser.add_argument("dir", type=Path, metavar="DIR", help="the run directory")
    parser.add_argument("--output", type=Path, help=f"the file; default: {REPORT} in DIR")
    parser.add_argument(
        "--live", action="store_true", help="show it in a browser on this machine, always new"
    )
    parser.set_defaults(run=_report)


def _report(given: argparse.Namespace) -> int:
    story = story_in(given.dir)
    if given.live:
        serve_page(given.dir)
        return 0
    path = write_report(story, given.output or given.dir / REPORT)
    print(f"{path} ({path.stat().st_size / 1000:,.0f} kB)")
    return 0

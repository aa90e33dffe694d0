"""`dspy-gepa`: finds the command and says what went wrong in one line.

Exit codes: 0 done, 1 a comparison with `--fail-on-regression` found one, 2 wrong usage, a directory
that cannot be read or another error of ours, 3 a run broke or is at its end, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from dspy_gepa.command import reading, reporting, running
from dspy_gepa.demo import cli as demo
from dspy_gepa.errors import GEPAError, readable

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="dspy-gepa",
        description="Better instructions for DSPy programs.",
        epilog="Exit codes: 0 done; 1 a comparison found a regression; 2 something is wrong or "
        "cannot be read, and nothing was paid for; 3 the run broke, or there is nothing to resume; "
        "130 Ctrl-C.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for room in (running, reading, reporting, demo):
        room.add_to(commands)
    namespace = parser.parse_args(arguments)
    try:
        code: int = namespace.run(namespace)
        sys.stdout.flush()
    except GEPAError as error:
        return _failed(error)
    except KeyboardInterrupt:
        print("\ndspy-gepa: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever reads has seen enough. Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _failed(error: GEPAError) -> int:
    print(f"dspy-gepa: {readable(str(error))}", file=sys.stderr)
    return 2

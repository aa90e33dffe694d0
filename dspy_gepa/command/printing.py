"""What a command prints: lines for people, or with `--json` one value for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from typing import Any

from dspy_gepa.errors import readable

__all__ = ["print_answer"]


def print_answer(
    given: argparse.Namespace, lines: Callable[[], Iterable[str]], values: Callable[[], Any]
) -> None:
    """Print it as text, in which nothing acts on a terminal, or as JSON."""
    if given.json:
        print(json.dumps(values(), indent=1, default=list))
        return
    print("\n".join(readable(line) for line in lines()))

"""What a command prints: lines for people, or with `--json` one value for programs."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from dspy_gepa.errors import readable

__all__ = ["print_answer"]


def print_answer(
    given: argparse.Namespace, lines: Callable[[], Iterable[str]], values: Callable[[], Any]
) -> None:
    """Print it as text, in which nothing acts on a terminal, or as JSON."""
    if given.json:
        print(json.dumps(_standard(values()), indent=1, default=list, allow_nan=False))
        return
    print("\n".join(readable(line) for line in lines()))


def _standard(value: Any) -> Any:
    """The same value as JSON has it: null for a number that is not finite, such as no score."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _standard(each) for name, each in value.items()}
    return [_standard(each) for each in value] if isinstance(value, (list, tuple)) else value

"""The worker boundary: whatever a program, a metric or a model raises is caught here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Failed", "catching"]

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Failed:
    """What stands in place of a result where user code raised."""

    error: Exception


def catching(call: Callable[[], ResultT]) -> ResultT | Failed:
    """What the call returns, or what it raised.

    One that exits, or is cancelled, has failed: neither may end our thread or the process.
    """
    try:
        return call()
    except (SystemExit, asyncio.CancelledError) as leaving:
        error = RuntimeError(f"it ended by {type(leaving).__name__}")
        error.__cause__ = leaving
        return Failed(error)
    except Exception as error:  # noqa: BLE001 - user code may raise anything, and the run goes on
        return Failed(error)

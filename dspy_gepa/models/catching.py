"""The worker boundary: the one place where whatever user code raises is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Raised", "settled"]

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Raised:
    """What stands in place of a result where user code raised."""

    error: Exception


def settled(call: Callable[[], ResultT]) -> ResultT | Raised:
    """What the call returns, or what it raised."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - user code may raise anything, and the run goes on
        return Raised(error)

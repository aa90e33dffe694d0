"""The one seam between the search and whatever can run and judge a candidate."""

from __future__ import annotations

from typing import Protocol

from dspy_gepa.core.work import Answer, Request

__all__ = ["Worker"]


class Worker(Protocol):
    """Carries out one request and answers it. It may be called from several threads at once.

    What a candidate does wrong is part of the answer (a `Rollout` with a failure text). What
    keeps the work itself from being done is a `RequestFailure`. A worker raises nothing but
    KeyboardInterrupt.
    """

    def __call__(self, request: Request) -> Answer:
        """The answer to this request."""
        ...

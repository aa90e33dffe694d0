"""Progress as log lines: one a proposal, each with what was spent of the budget so far."""

from __future__ import annotations

import logging
import time

import numpy as np

from dspy_gepa.core.events import Committed, Ended, Event
from dspy_gepa.core.proposal import Merge, Mutation, Revalidation
from dspy_gepa.core.state import RunState

__all__ = ["ProgressLog"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")


class ProgressLog:
    """Logs every verdict and the end of a run, at level INFO."""

    def __init__(self) -> None:
        self._began_seconds = time.monotonic()

    def __call__(self, event: Event, state: RunState) -> None:
        """Log the event where it is one that people wait for."""
        match event:
            case Committed(ticket):
                logger.info("%s  [%s]", self._verdict(ticket, state), self._spent(state))
            case Ended(reason):
                logger.info("The run ends: %s  [%s]", reason, self._spent(state))

    def _verdict(self, ticket: int, state: RunState) -> str:
        settlement = state.history[ticket]
        match settlement.origin:
            case Mutation(parent=parent):
                origin = f"Proposal {ticket} (rewrite of member {parent})"
            case Merge(parents=(first, second)):
                origin = f"Proposal {ticket} (merge of members {first} and {second})"
            case Revalidation(member=member):
                return f"Member {member} {settlement.verdict.reason}: {_score(state, member)}"
            case _:
                return f"Seed: {_score(state, 0)}"
        if settlement.verdict.kind != "accepted":
            return f"{origin} {settlement.verdict.kind}: {settlement.verdict.reason}"
        member, best = len(state.members) - 1, state.best
        standing = "the best so far" if best == member else f"best: {_score(state, best)}"
        return f"{origin} accepted as member {member}: {_score(state, member)}, {standing}"

    def _spent(self, state: RunState) -> str:
        tally, seconds = state.tally, int(time.monotonic() - self._began_seconds)
        limits = state.settings.limits
        parts = [limits.shown(tally, seconds=seconds)]
        parts += [] if limits.metric_calls else [f"{tally.metric_calls} metric calls"]
        parts += [] if limits.reflection_calls else [f"{tally.reflection_calls} reflection calls"]
        if tally.total_tokens and not limits.total_tokens:
            parts.append(f"{tally.total_tokens} tokens")
        if tally.usd and not limits.usd:
            parts.append(f"{tally.usd:.4g} USD")
        return f"{', '.join(filter(None, parts))}, {seconds // 60}:{seconds % 60:02d}"


def _score(state: RunState, member: int) -> str:
    """A member's mean on what it was run on, and the interval for its score on others."""
    scores, standing = state.members[member].scores, state.standings[member]
    return (
        f"{np.nanmean(scores):.3f} on {standing.examples} examples "
        f"(95 %: {standing.low:.2f} to {standing.high:.2f})"
    )

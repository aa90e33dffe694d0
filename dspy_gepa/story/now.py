"""Where a run stands at this moment, and what has just happened: what a display needs, cheaply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dspy_gepa.core.events import Committed
from dspy_gepa.core.proposal import Merge, Mutation, Revalidation
from dspy_gepa.core.state import RunState
from dspy_gepa.story.building import limits_used
from dspy_gepa.story.diff import changes_between, counted_lines
from dspy_gepa.story.members import Seen
from dspy_gepa.story.parts import Moment, Spending, UsedLimit
from dspy_gepa.story.proposals import phase_in_words
from dspy_gepa.story.teller import Teller, spending_of
from dspy_gepa.story.wording import score_in_words

__all__ = ["Happening", "Now", "happening", "now_of"]

_FORESEEABLE_SHARE = 0.05
"""Of a limit: before so much is used, nothing is said of the time that is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """Where a run stands."""

    seconds: float
    """Since its beginning, pauses between sessions left out."""
    limit: UsedLimit | None
    """The limit of which most is used; None if there is none."""
    spent: Spending
    """In all, but for the time of work."""
    moment: Moment | None
    """When a proposal last changed the pool; None before the seed is validated."""
    best: str
    """What was seen of the best member: "33/40", "0.61 on 40"; empty before there is a score."""
    members: int
    verdicts: Mapping[str, int]
    """Verdict to how many proposals of a new candidate came to it."""
    doing: str
    """What the oldest proposal under way is at; empty if none is."""
    doing_seconds: float
    """Since the last event, or since the session began."""
    left_seconds: float | None
    """Until the limit is used up, if things go on as so far; None if that cannot be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that is told in one line: mostly a proposal that is over."""

    seconds: float
    """Since the run's beginning."""
    number: int | None = None
    """Of a proposal of a new candidate; None for all else."""
    what: str
    """ "rewrite of 2", "merge of 2 and 3", "as it was", "member 2 on more", or other words."""
    became: str = ""
    """ "kept as 3", "dropped", "skipped", "failed"; empty if `number` is None."""
    seen: str = ""
    """What was seen of the member: "3 of 5 right"."""
    reason: str = ""
    """Why nothing came of it."""
    is_best: bool = False
    lines: str = ""
    """How many lines its texts gained and lost: "+3 -1 lines"."""


def now_of(teller: Teller, at: float) -> Now:
    """Where a run stands at this time, in seconds since the epoch."""
    state, last, moment = teller.state, teller.last_at, teller.last_moment
    waited = 0.0 if last is None else max(0.0, at - last)
    seconds = teller.running_seconds + waited
    used = limits_used(state, seconds)
    over = [s for s in state.history if isinstance(s.origin, Mutation | Merge)]
    return Now(
        seconds=seconds,
        limit=used[0] if used else None,
        spent=spending_of(state.used),
        moment=moment,
        best="" if moment is None else _seen_shortly(state, moment.best),
        members=len(state.members),
        verdicts=Counter(each.verdict.kind for each in over),
        doing=phase_in_words(state.live[0].phase) if state.live else "",
        doing_seconds=waited,
        left_seconds=_left(used[0], seconds) if used else None,
    )


def _left(limit: UsedLimit, seconds: float) -> float | None:
    if not _FORESEEABLE_SHARE <= limit.share <= 1:
        return None
    return seconds * (1 - limit.share) / limit.share


def happening(teller: Teller, event: Committed) -> Happening:
    """What people are told of a proposal that is over."""
    ticket = event.ticket
    state, seconds = teller.state, teller.running_seconds
    settled = state.history[ticket]
    reason, kind = settled.verdict.reason, settled.verdict.kind
    match settled.origin:
        case Mutation(parent=parent):
            what, origin = f"rewrite of {parent}", parent
        case Merge(parents=(first, second)):
            what, origin = f"merge of {first} and {second}", first
        case Revalidation(member=member):
            return Happening(
                seconds=seconds, what=f"member {member} on more", seen=_seen(state, member)
            )
        case _:
            seen = _seen(state, 0) if state.members else ""
            return Happening(seconds=seconds, what="as it was", seen=seen, reason=reason)
    if kind != "accepted":
        became = "dropped" if kind == "rejected" else kind
        return Happening(seconds=seconds, number=ticket, what=what, became=became, reason=reason)
    number = len(state.members) - 1
    before, moment = state.members[origin].candidate, teller.last_moment
    return Happening(
        seconds=seconds,
        number=ticket,
        what=what,
        became=f"kept as {number}",
        seen=_seen(state, number),
        is_best=moment is not None and moment.best == number,
        lines=counted_lines(changes_between(before, settled.candidate)),
    )


def _seen(state: RunState, number: int) -> str:
    seen = Seen.of(state.scores[number], state.scale)
    return score_in_words(right=seen.right, seen=seen.examples, mean=seen.mean)


def _seen_shortly(state: RunState, number: int) -> str:
    seen = Seen.of(state.scores[number], state.scale)
    if seen.right is not None:
        return f"{seen.right}/{seen.examples}"
    return "" if seen.mean is None else f"{seen.mean:.2f} on {seen.examples}"

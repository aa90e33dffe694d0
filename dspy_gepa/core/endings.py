"""Why a run ends by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.choices import candidate_of
from dspy_gepa.core.proposal import Merge, Mutation
from dspy_gepa.core.state import RunState, Settlement
from dspy_gepa.core.streaks import in_order
from dspy_gepa.core.work import RolloutRequest

__all__ = ["Breakdown", "breakdown", "obstacle", "trial", "vain_reflections"]

_ONE_TRIAL = Tally(rollouts=1, metric_calls=1)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Why the program or the metric cannot be run any more."""

    reason: str
    """In words, for people."""
    causes: tuple[str, ...] = ()
    """Of the failures that it made, which are no results; ascending."""


def breakdown(state: RunState) -> Breakdown | None:
    """What has broken down, as it looks so far; None where nothing has.

    A frontier that is made of objectives needs a metric that scores some: to be seen when the seed
    has been validated.

    Our choice: where the program or the metric fails on each of the seed's first validation
    examples, then it is not a text that is at fault, unless another text mends it. Nor is it where
    they fail many times in a row, and then where they had not failed before.
    """
    frontier = state.settings.frontier
    if frontier != "instance" and len(state.history) == 1 and not state.objectives:
        return Breakdown(
            f"the frontier {frontier!r} needs objectives, and the metric scored none. Return "
            'objective_scores={"name": number}, or take the frontier "instance"'
        )
    if not state.broken or not state.live or not state.live[0].evaluations:
        return None
    return _from_the_start(state) or _on_the_way(state)


def _from_the_start(state: RunState) -> Breakdown | None:
    if state.members:
        return None
    first = state.live[0].evaluations[0].keys[: state.settings.max_failures_in_a_row]
    rollouts = [state.known.get(key) for key in first]
    if not all(rollout is not None and rollout.is_broken for rollout in rollouts):
        return None
    if not all(rollout.is_broken for rollout in state.known.values()):
        return None
    failures = [rollout.failure for rollout in rollouts if rollout is not None]
    return Breakdown(
        f"it failed on each of the first {len(first)} examples; on the first one: {failures[0]}",
        tuple(sorted({rollout.cause for rollout in state.known.values()})),
    )


def _on_the_way(state: RunState) -> Breakdown | None:
    if state.broken < state.settings.max_failures_in_a_row:
        return None
    if not state.members and _is_mended(state):
        return None
    for cause, request in _trials(state):
        found = state.known.get(request.key)
        if found is not None and found.is_broken:
            return Breakdown(
                "it failed many times in a row, and then on an example on which it had not failed "
                f"before: {found.failure}",
                tuple(sorted({cause, found.cause})),
            )
    return None


def _is_mended(state: RunState) -> bool:
    """Whether another text than the seed's did well on an example on which that had failed."""
    seed, failed = candidate_of(state, 0).digest, set()
    for key, rollout in state.known.items():
        if key.candidate == seed and rollout.is_broken:
            failed.add(key.example)
        elif not rollout.failure and key.example in failed:
            return True
    return False


def trial(state: RunState) -> RolloutRequest | None:
    """What is to be tried again before anything else, because it had succeeded; mostly nothing."""
    if not state.live or state.broken < state.settings.max_failures_in_a_row:
        return None
    for _, request in _trials(state):
        if (found := state.known.get(request.key)) is None:
            is_over = state.settings.limits.obstacle(used=state.committed, more=_ONE_TRIAL)
            return None if is_over else request
        if found.is_broken:
            return None  # one says enough
    return None


def _trials(state: RunState) -> Iterator[tuple[str, RolloutRequest]]:
    """What has to be tried again, in order, each with the cause of the failures before it."""
    done = in_order(state.live[0], state.known, state.charged)
    least = state.settings.max_failures_in_a_row
    for cause, position, succeeded in state.streaks.after(done, least)[1]:
        if succeeded is not None:
            candidate, example, _ = succeeded
        else:
            # Until it is answered nothing else is asked for, so that it is always the same.
            first, rollout = next(iter(state.known.items()))
            if rollout.failure:
                continue
            candidate, example = candidate_of(state, 0), first.example
        yield cause, RolloutRequest(candidate, example, traced=False, trial=position)


def obstacle(state: RunState) -> str:
    """Why no further proposal would be of use; empty where one may be.

    Our choice: a member that is perfect on all validation examples cannot be told from a better
    one; and two epochs without a single new rollout, or several reflections in a row without a
    usable text, will go on like that, whatever members are measured in between.
    """
    settings = state.settings
    for member in state.members[-settings.window :]:
        if settings.skip_perfect_score and (member.scores == settings.perfect_score).all():
            return "a candidate has a perfect score on every validation example"
    idle = list(takewhile(lambda attempt: not attempt.charge.rollouts, _attempts(state)))
    looks = [len(each.origin.looks) for each in idle if isinstance(each.origin, Mutation)]
    patience = max(10, 2 * -(-len(settings.train) // max([1, *looks[:1]])))
    if looks and len(idle) >= patience:
        return (
            f"nothing left to learn: the last {patience} proposals needed no rollout "
            f"({idle[0].verdict.reason})"
        )
    failed = list(takewhile(_has_failed, _reflections(state)))
    if len(failed) >= settings.max_failures_in_a_row:
        return f"{len(failed)} reflections in a row failed; the last: {failed[0].verdict.reason}"
    return ""


def vain_reflections(state: RunState) -> frozenset[int]:
    """The tickets of several reflections of which none ever gave a usable text.

    None where one did: then a text may simply have become hard to improve.
    """
    failed = [settlement.verdict.kind == "failed" for settlement in state.history]
    if not all(map(_has_failed, _reflections(state))):
        return frozenset()
    tickets = frozenset(ticket for ticket, has_failed in enumerate(failed) if has_failed)
    return tickets if len(tickets) >= state.settings.max_failures_in_a_row else frozenset()


def _attempts(state: RunState) -> Iterator[Settlement]:
    """Proposals of a new candidate that are over, the newest first."""
    return (s for s in reversed(state.history) if isinstance(s.origin, Mutation | Merge))


def _reflections(state: RunState) -> Iterator[Settlement]:
    """Those of them for which there was a reflection."""
    return (attempt for attempt in _attempts(state) if attempt.shown)


def _has_failed(attempt: Settlement) -> bool:
    return attempt.verdict.kind == "failed"

"""Why a run ends by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.proposal import Merge, Mutation
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.state import ProposalRecord, RunState
from dspy_gepa.core.streaks import CandidateRecord, Suspicion, in_order
from dspy_gepa.core.work import RolloutRequest

__all__ = ["Breakdown", "breakdown", "stop_reason", "trial", "useless_reflections"]

_ONE_TRIAL = Tally(rollouts=1, metric_calls=1)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Why the program or the metric cannot be run any more."""

    reason: str
    """In words, for people."""
    causes: tuple[str, ...] = ()
    """Of the failures that it made, which are no results; ascending."""


def breakdown(state: RunState) -> Breakdown | None:
    """What has broken down, as it looks so far; None if nothing has.

    A frontier that is made of objectives needs a metric that scores some: to be seen when the seed
    has been validated.

    Our choice: if the program or the metric fails on each of the seed's first validation examples,
    no text is at fault, unless another text mends it. Nor is a text at fault if they fail many
    times in a row, and then on examples on which they had not failed before.
    """
    frontier = state.settings.frontier
    if frontier != "instance" and len(state.history) == 1 and _has_no_objectives(state):
        return Breakdown(
            f"the frontier {frontier!r} needs objectives, and the metric scored none. Return "
            'objective_scores={"name": number}, or take the frontier "instance"'
        )
    if not state.broken or not state.live or not state.live[0].evaluations:
        return None
    return _from_the_start(state) or _on_the_way(state)


def _has_no_objectives(state: RunState) -> bool:
    """Whether the seed was scored and got none; an answer that failed was not scored."""
    seed = state.validated(state.members[0].candidate) if state.members else ()
    scored = [rollout for rollout in seed if rollout is not None and not rollout.failure]
    return bool(scored) and not any(rollout.objectives for rollout in scored)


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
    for suspicion in _suspicions(state):
        failures = _confirmed(state, suspicion)
        if failures is not None and len(failures) >= suspicion.enough:
            causes = _recent_causes(state) | {failure.cause for failure in failures}
            return Breakdown(
                f"it failed many times in a row, and then {len(failures)} times on examples on "
                f"which it had not failed before: {failures[-1].failure}",
                tuple(sorted(causes)),
            )
    return None


def _recent_causes(state: RunState) -> set[str]:
    """The causes that came up lately: fewer rollouts succeeded since than a streak has failures.

    Counted as answers came, because things break down at some moment: what was under way then may
    have succeeded later. A cause that is older lies in the texts, so that its failures are results.
    """
    succeeded, first = 0, dict[str, int]()
    for rollout in state.known.values():
        succeeded += not rollout.failure
        if rollout.is_broken:
            first.setdefault(rollout.cause, succeeded)
    latest = succeeded - state.settings.max_failures_in_a_row
    return {cause for cause, earlier in first.items() if earlier > latest}


def _is_mended(state: RunState) -> bool:
    """Whether another text than the seed's did well on an example on which that had failed."""
    seed, failed = state.candidate_of(0).digest, set()
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
    for suspicion in _suspicions(state):
        failures = _confirmed(state, suspicion)
        if failures is None:
            continue
        if len(failures) >= suspicion.enough:
            return None
        following = next((key for key in suspicion.trials() if key not in state.known), None)
        if following is not None:
            is_over = state.settings.limits.exceeded_limit(used=state.committed, more=_ONE_TRIAL)
            assert suspicion.witness is not None
            candidate, (_, example, trial_number) = suspicion.witness.candidate, following
            again = RolloutRequest(candidate, example, traced=False, trial=trial_number)
            return None if is_over else again
    return None


def _suspicions(state: RunState) -> list[Suspicion]:
    """Those that the first proposal under way gives, in order."""
    done = in_order(state.live[0], state.known, state.charged)
    _, suspicions = state.streaks.after(done, state.settings.max_failures_in_a_row)
    if not suspicions:
        return []  # Before what follows, which goes through all rollouts.
    # Until the first rollout is answered nothing else is asked for, so it is always the same.
    key, rollout = next(iter(state.known.items()))
    first = None if rollout.failure else CandidateRecord(state.candidate_of(0), (key.example,), 1)
    return [replace(each, witness=each.witness or first) for each in suspicions]


def _confirmed(state: RunState, suspicion: Suspicion) -> list[Rollout] | None:
    """The trials that failed for what the streak did; None if one succeeded or none is possible."""
    tried = [state.known[key] for key in takewhile(state.known.__contains__, suspicion.trials())]
    if not suspicion.witness or any(not rollout.failure for rollout in tried):
        return None
    return [rollout for rollout in tried if suspicion.is_confirmed_by(rollout)]


def stop_reason(state: RunState) -> str:
    """Why no further proposal would be of use; empty if one may be.

    Our choice: a member that is perfect on all validation examples cannot be told from a better
    one; and two epochs without a single new rollout, or several reflections in a row without a
    usable text, will go on like that, whatever members are measured in between.
    """
    settings = state.settings
    for member in state.members[-settings.window :]:
        if settings.skip_perfect_score and (member.scores == settings.perfect_score).all():
            return "a candidate has a perfect score on every validation example"
    idle = list(takewhile(lambda attempt: not attempt.charge.rollouts, _attempts(state)))
    drawn_examples = [
        len(each.origin.drawn_examples) for each in idle if isinstance(each.origin, Mutation)
    ]
    patience = max(10, 2 * -(-len(settings.train) // max([1, *drawn_examples[:1]])))
    if drawn_examples and len(idle) >= patience:
        return (
            f"nothing left to learn: the last {patience} proposals needed no rollout "
            f"({idle[0].verdict.reason})"
        )
    failed = list(takewhile(_has_failed, _reflections(state)))
    if len(failed) >= settings.max_failures_in_a_row:
        return f"{len(failed)} reflections in a row failed; the last: {failed[0].verdict.reason}"
    return ""


def useless_reflections(state: RunState) -> frozenset[int]:
    """The tickets of several reflections of which none ever gave a usable text.

    None if one did: then a text may simply have become hard to improve.
    """
    failed = [record.verdict.kind == "failed" for record in state.history]
    if not all(map(_has_failed, _reflections(state))):
        return frozenset()
    tickets = frozenset(ticket for ticket, has_failed in enumerate(failed) if has_failed)
    return tickets if len(tickets) >= state.settings.max_failures_in_a_row else frozenset()


def _attempts(state: RunState) -> Iterator[ProposalRecord]:
    """Proposals of a new candidate that are over, the newest first."""
    return (s for s in reversed(state.history) if isinstance(s.origin, Mutation | Merge))


def _reflections(state: RunState) -> Iterator[ProposalRecord]:
    """Those of them for which there was a reflection."""
    return (attempt for attempt in _attempts(state) if attempt.reflected_examples)


def _has_failed(attempt: ProposalRecord) -> bool:
    return attempt.verdict.kind == "failed"

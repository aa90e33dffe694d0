"""The members of a story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dspy_gepa.core.columns import objective_means
from dspy_gepa.core.frontier import Scores, Vector, mean_scores, survivors, tops
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.standing import Scale, Standing
from dspy_gepa.core.state import Member, RunState
from dspy_gepa.story.parts import AnswerStory
from dspy_gepa.story.story import MemberStory
from dspy_gepa.values.words import text_of

__all__ = ["Seen", "members_of", "program_answer"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was really seen of a member."""

    examples: int
    right: int | None
    mean: float | None

    @classmethod
    def of(cls, scores: Vector, scale: Scale) -> Seen:
        """By its scores on validation examples; NaN where it was not run."""
        seen = scores[~np.isnan(scores)]
        finite = seen[np.isfinite(seen)]
        is_counted = scale.is_right_or_wrong and scale.highest is not None
        return cls(
            len(seen),
            int((seen == scale.highest).sum()) if is_counted else None,
            float(finite.mean()) if len(finite) else None,
        )


def members_of(
    state: RunState, scale: Scale, aggregates: Sequence[float]
) -> tuple[MemberStory, ...]:
    """All members, the seed first."""
    if not state.members:
        return ()
    scores, examples = state.scores, state.settings.validation
    means = mean_scores(scores)
    is_top = tops(scores)
    frontier = {*survivors(tops(state.columns), means.tolist())}
    children: dict[int, list[int]] = {}
    for number, member in enumerate(state.members):
        for parent in member.parents:
            children.setdefault(parent, []).append(number)
    return tuple(
        _member(
            state,
            number,
            scale,
            standing,
            scores,
            tops=tuple(examples[place] for place in np.flatnonzero(is_top[number]).tolist()),
            is_frontier=number in frontier,
            aggregate=aggregates[number] if number < len(aggregates) else None,
            children=tuple(children.get(number, ())),
        )
        for number, standing in enumerate(state.standings)
    )


def _member(
    state: RunState,
    number: int,
    scale: Scale,
    standing: Standing,
    scores: Scores,
    *,
    tops: tuple[int, ...],
    is_frontier: bool,
    aggregate: float | None,
    children: tuple[int, ...],
) -> MemberStory:
    member, seen = state.members[number], Seen.of(scores[number], scale)
    return MemberStory(
        number=number,
        parents=member.parents,
        proposal=member.ticket,
        texts=dict(member.candidate),
        seen=seen.examples,
        right=seen.right,
        mean=seen.mean,
        estimate=standing.estimate,
        low=standing.low,
        high=standing.high,
        aggregate=aggregate,
        tops=tops,
        is_frontier=is_frontier,
        answers=_answers(state, member, scores[number]),
        objectives=_objectives(state, member),
        children=children,
    )


def _answers(state: RunState, member: Member, scores: Vector) -> Mapping[int, AnswerStory]:
    rollouts = state.validated(member.candidate)
    pairs = zip(state.settings.validation, rollouts, scores.tolist(), strict=True)
    return {
        example: program_answer(rollout, score)
        for example, rollout, score in pairs
        if rollout is not None and score == score  # noqa: PLR0124 - not where it does not count
    }


def _objectives(state: RunState, member: Member) -> Mapping[str, float]:
    names = state.objectives
    if not names:
        return {}
    means = objective_means([member.results], names)[0].tolist()
    return {name: mean for name, mean in zip(names, means, strict=True) if mean == mean}  # noqa: PLR0124


def program_answer(rollout: Rollout, score: float) -> AnswerStory:
    """What a rollout left behind, in words, and what it scored; -inf if it has no score."""
    usage = rollout.usage
    return AnswerStory(
        score=score if np.isfinite(score) else None,
        feedback=rollout.feedback,
        failure=rollout.failure,
        output=_fields(rollout.output),
        seconds=rollout.seconds or None,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        usd=usage.usd,
        unpriced_calls=usage.unpriced_calls,
        objectives=dict(rollout.objectives),
    )


def _fields(output: object) -> Mapping[str, str] | None:
    if output is None:
        return None
    items = getattr(output, "items", None)
    fields = dict(items()) if callable(items) else {"answer": output}
    return {str(name): text_of(value) for name, value in fields.items()}

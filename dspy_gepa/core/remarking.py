"""What the metric is asked about single components, as far as the answers have been worth it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from dspy_gepa.core.proposal import Evaluation
from dspy_gepa.core.rollout import Remark, RemarkKey, Rollout, RolloutKey
from dspy_gepa.core.state import RunState
from dspy_gepa.core.streams import stream

__all__ = ["asked_about"]

_WORTH = 4
"""Calls of the metric that a remark of its own on a component is worth. Our choice."""


def asked_about(
    state: RunState, evaluation: Evaluation, components: tuple[str, ...], visible_proposals: int
) -> tuple[RemarkKey, ...]:
    """What the metric is asked about single components: of runs with an answer that called them.

    Our choice: as often as what it may say is worth the call. That is always while it is not known
    whether it tells components apart, on examples of which it said something of a component once,
    and what it was asked before; of others by chance, the more rarely the more often it said of a
    component what it said of the whole.
    """
    remarks_before = _told(state, visible_proposals)
    most, asked = state.settings.feedback_calls, set(state.settings.asked_about)
    remarks: list[RemarkKey] = []
    for key, rollout in zip(evaluation.keys, state.rollouts(evaluation), strict=True):
        called = [n for n in components if n in asked and rollout.trace.calls_of(n)]
        able = [RemarkKey(*key[:2], name) for name in called if not rollout.failure]
        worth = [
            each for each in able if _is_worth_it(state, each, remarks_before, visible_proposals)
        ]
        remarks += worth[:most]
    return tuple(remarks)


@dataclass(slots=True)
class _Told:
    """What came of asking about one component."""

    examples: set[int] = field(default_factory=set)
    """Those on which something was said of it alone."""
    counts: Counter[bool] = field(default_factory=Counter)
    """How often something was said of it alone, and how often not. Runs that went right, of which
    there is little to say, count only if something was."""

    @property
    def share(self) -> float:
        """How often something may be said, by Laplace's rule of succession."""
        return (self.counts[True] + 1) / (self.counts.total() + 2)


def _told(state: RunState, visible_proposals: int) -> dict[str, _Told]:
    """What the visible proposals were told, by component."""
    by_component: dict[str, _Told] = {}
    for key, remark in state.remarks.items():
        if state.charged.get(key, visible_proposals) < visible_proposals and remark.metric_calls:
            of_component = by_component.setdefault(key.component, _Told())
            rollout = state.known[RolloutKey(*key[:2])]
            is_own = _is_own(remark, rollout)
            if is_own:
                of_component.examples.add(key.example)
            if is_own or rollout.score != state.settings.perfect_score:
                of_component.counts[is_own] += 1
    return by_component


def _is_own(remark: Remark, rollout: Rollout) -> bool:
    """Whether something was said of the component that was not said of the whole."""
    words = remark.text.strip()
    if words and words != rollout.feedback.strip():
        return True
    return not remark.attachments.keys() <= rollout.attachments.keys()


def _is_worth_it(
    state: RunState, key: RemarkKey, remarks_before: dict[str, _Told], visible_proposals: int
) -> bool:
    before = remarks_before.get(key.component)
    is_known = state.charged.get(key, visible_proposals) < visible_proposals
    if is_known or before is None or key.example in before.examples:
        return True
    chance = stream(state.settings.seed, "remark", *key)
    return chance.random() < _WORTH * before.share

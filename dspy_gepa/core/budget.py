"""What a run may spend, in metric calls, and what it has spent.

The worst case of a proposal is held from its issue until its commit, so the limit is never
exceeded: spent by committed proposals + held for live ones <= limit, always.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Tally", "proposal_cost", "useful_floor"]


@dataclass(frozen=True, slots=True)
class Tally:
    """What was really done so far, as an instrumented metric and LM would count it."""

    rollouts: int = 0
    metric_calls: int = 0
    """Calls of the user's metric, those for feedback on single components included."""
    reflection_calls: int = 0
    """Calls of the reflection LM."""

    def plus(self, *, rollouts: int = 0, metric_calls: int = 0, reflection_calls: int = 0) -> Tally:
        """This tally with so much more done."""
        return Tally(
            self.rollouts + rollouts,
            self.metric_calls + metric_calls,
            self.reflection_calls + reflection_calls,
        )


def proposal_cost(*, parent: int, child: int, feedback: int) -> int:
    """The most metric calls that a reflective proposal can need.

    Rollouts of the parent on the minibatch, of the child on minibatch and validation set, and
    the calls that its reflection may make for feedback on single components.
    """
    return parent + child + feedback


def useful_floor(*, validation: int, proposal: int) -> int:
    """The metric calls below which a run learns next to nothing: the seed and three proposals.

    Our choice, in the sizes of the validation set and of one proposal.
    """
    return validation + 3 * proposal

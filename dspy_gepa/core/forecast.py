"""What a run will cost, told before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dspy_gepa.core.budget import Tally, proposal_cost
from dspy_gepa.core.sampling import SampleView
from dspy_gepa.core.state import Settings

__all__ = ["Forecast", "fewest_shown", "forecast", "worst_case"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Costs by the settings alone: of the seed, and of a proposal at least and at most."""

    settings: Settings
    seed: Tally
    """Validating the program as it is, before the first child is compared with it."""
    least: Tally
    """A proposal that its minibatch already speaks against."""
    most: Tally
    """A proposal that goes all the way, with everything that it needs."""

    @property
    def proposals(self) -> tuple[int, int]:
        """How many proposals fit, at least and at most; -1 if nothing limits them."""
        return _fitting(self.settings, self.seed, self.most), _fitting(
            self.settings, self.seed, self.least
        )

    @property
    def floor(self) -> int:
        """The metric calls below which a run learns next to nothing.

        Our choice: the seed and three proposals that go all the way.
        """
        return self.seed.metric_calls + 3 * self.most.metric_calls


def forecast(settings: Settings) -> Forecast:
    """What a run with these settings will cost, where nothing is known yet."""
    unknown = np.full(len(settings.train), np.nan)
    nothing: frozenset[int] = frozenset()
    view = SampleView(
        settings.train,
        unknown,
        settings.perfect_score,
        nothing,
        {},
        nothing,
        0,
        settings.seed,
        max(settings.minibatch_sizes, default=0),
    )
    drawn_examples = settings.sampler(view)
    seeded = settings.validation_order[
        : settings.validation_schedule.seed_examples if settings.validation_schedule else None
    ]
    # The least: every example looked at fails, and the first ones of the gate decide it.
    fewest = fewest_shown(settings, drawn_examples)
    gated = 1 if settings.stops_early else fewest
    return Forecast(
        settings,
        seed=Tally(rollouts=len(seeded), metric_calls=len(seeded)),
        least=proposal_cost(parent=fewest, child=gated, feedback=0, reflection_calls=1),
        most=worst_case(
            settings,
            drawn_examples,
            parent_paid=lambda example: example in seeded and example not in drawn_examples,
            seed_paid=lambda example: example in seeded,
        ),
    )


def fewest_shown(settings: Settings, drawn_examples: Sequence[int]) -> int:
    """How many of the drawn examples a rewrite is shown at least: the smallest minibatch."""
    return min((len(drawn_examples), *settings.minibatch_sizes))


def worst_case(
    settings: Settings,
    drawn_examples: tuple[int, ...],
    *,
    parent_paid: Callable[[int], bool],
    seed_paid: Callable[[int], bool],
    mends: int | None = None,
    reference: tuple[int, ...] | None = None,
) -> Tally:
    """The most that a mutation can need that looks at these examples.

    Args:
        settings: Of the run.
        drawn_examples: The training examples that the parent may be run on.
        parent_paid: Whether the parent's rollout on an example is paid for already.
        seed_paid: Likewise the seed's.
        mends: How often a text may go back; as the settings say where it is None.
        reference: The validation examples on which the child is compared with the parent; those
            that come first where it is None.
    """
    shown = min(len(drawn_examples), max(settings.minibatch_sizes, default=len(drawn_examples)))
    if settings.validation_schedule is None:
        reference = ()
        child = len({*drawn_examples, *settings.anchors, *settings.validation})
    else:
        if reference is None:
            reference = settings.validation_order[: settings.validation_schedule.first]
        # Where examples serve for both, a child is run on each of them once.
        most = len({*drawn_examples, *settings.anchors, *reference})
        child = min(shown + len(settings.anchors) + len(reference), most)
    parent = sum(
        not parent_paid(example) for example in dict.fromkeys((*drawn_examples, *reference))
    )
    seed = sum(not seed_paid(example) for example in settings.anchors)
    mends = settings.mends if mends is None else mends
    # Each text that goes back was run on an example or, where that is not the first, on more.
    return proposal_cost(
        parent=parent + seed,
        child=child + mends * shown,
        feedback=settings.feedback_calls * shown,
        reflection_calls=settings.reflection_calls * (1 + mends),
    )


def _fitting(settings: Settings, seed: Tally, proposal: Tally) -> int:
    limits = settings.limits
    counts = [
        (limit - getattr(seed, unit)) // getattr(proposal, unit)
        for unit in ("metric_calls", "rollouts", "reflection_calls", "proposals")
        if (limit := getattr(limits, unit)) is not None and getattr(proposal, unit)
    ]
    return max(0, min(counts)) if counts else -1

"""What a run may spend, and what it has spent, in every unit that people pay in.

What can be counted beforehand is held: the worst case of a proposal in metric calls, rollouts and
calls of the reflection LM is held from its issue until its commit, so such a limit is never
exceeded: spent by committed proposals + held for live ones + lost <= limit. If what is lost makes
that more, the run ends at once. What a model call costs in tokens and USD is known afterwards only:
see `Limits.afford`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["FREE", "NOTHING", "Limits", "Tally", "Usage", "proposal_cost"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What model calls cost."""

    total_tokens: int = 0
    """Prompt and completion."""
    usd: float = 0.0
    # What follows decides nothing: it is put on record.
    prompt_tokens: int = field(default=0, compare=False)
    completion_tokens: int = field(default=0, compare=False)
    unpriced_calls: int = field(default=0, compare=False)
    """Calls whose price is not known."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.total_tokens + other.total_tokens,
            self.usd + other.usd,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.unpriced_calls + other.unpriced_calls,
        )

    def times(self, count: int) -> Usage:
        """So many times this."""
        return Usage(self.total_tokens * count, self.usd * count)

    def highest(self, other: Usage) -> Usage:
        """The higher one of two, in either unit."""
        return Usage(max(self.total_tokens, other.total_tokens), max(self.usd, other.usd))


FREE = Usage()
"""No model was called, or a cache answered."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of what is paid for, as an instrumented program, metric and LM would count it."""

    rollouts: int = 0
    """Runs of the program."""
    metric_calls: int = 0
    """Calls of the user's metric, those for feedback on single components included."""
    reflection_calls: int = 0
    """Calls of the reflection LM."""
    proposals: int = 0
    """Attempts at a new candidate that are over."""
    total_tokens: int = 0
    """Of all model calls in rollouts, metric and reflections; calls answered from a cache are
    free."""
    usd: float = 0.0
    """Of calls whose price is known; the others count as 0."""
    # As in `Usage`: on record, and without a say in anything.
    prompt_tokens: int = field(default=0, compare=False)
    completion_tokens: int = field(default=0, compare=False)
    unpriced_calls: int = field(default=0, compare=False)

    @classmethod
    def of(cls, usage: Usage, **counts: int) -> Tally:
        """These counts, and what model calls cost."""
        return cls(
            **counts,
            total_tokens=usage.total_tokens,
            usd=usage.usd,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            unpriced_calls=usage.unpriced_calls,
        )

    @property
    def usage(self) -> Usage:
        """What model calls cost."""
        return Usage(
            self.total_tokens,
            self.usd,
            self.prompt_tokens,
            self.completion_tokens,
            self.unpriced_calls,
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rollouts + other.rollouts,
            self.metric_calls + other.metric_calls,
            self.reflection_calls + other.reflection_calls,
            self.proposals + other.proposals,
            self.total_tokens + other.total_tokens,
            self.usd + other.usd,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.unpriced_calls + other.unpriced_calls,
        )


NOTHING = Tally()
"""Nothing was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that a run may spend, in any mix of units; None for no limit in that unit."""

    metric_calls: int | None = None
    rollouts: int | None = None
    reflection_calls: int | None = None
    proposals: int | None = None
    total_tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None
    """Of this call: after that nothing is begun, and what runs is finished."""

    @property
    def rollouts_at_most(self) -> int | None:
        """How many rollouts fit, if nothing else is done; None for any number."""
        limits = [limit for limit in (self.metric_calls, self.rollouts) if limit is not None]
        return min(limits, default=None)

    @property
    def rollouts_in_words(self) -> str:
        """The same with the unit that allows no more."""
        most = self.rollouts_at_most
        return (
            f"{most} {unit_in_words('rollouts' if most != self.metric_calls else 'metric_calls')}"
        )

    def exceeded_limit(self, *, used: Tally, more: Tally) -> str:
        """The unit of which there is not enough for more; empty if all suffice.

        The one that lacks most where there are several. What model calls will cost is not known:
        there, something must be left.
        """
        needed, lacking = used + more, dict[str, float]()
        for name in ("metric_calls", "rollouts", "reflection_calls", "proposals"):
            limit, count = getattr(self, name), getattr(needed, name)
            if limit is not None and count > limit:
                lacking[name] = count / limit if limit else math.inf
        return max(lacking, key=lambda name: lacking[name], default=self._used_up(used.usage))

    def left(self, used: Tally, *, seconds: float = 0.0) -> Limits:
        """What is left of them after this."""
        spent: dict[str, Any] = {**asdict(used), "seconds": seconds}
        limits = {each.name: getattr(self, each.name) for each in fields(self)}
        return Limits(
            **{
                name: None if limit is None else max(limit - spent[name], 0)
                for name, limit in limits.items()
            }
        )

    def afford(self, used: Usage, running: Usage, following: Usage) -> str:
        """The unit of which there is not enough to begin what follows; empty if all suffice.

        Our choice: whatever runs is expected to cost as much as the dearest of its kind so far. So
        a limit is exceeded by no more than what runs at that moment costs above that.
        """
        if unit := self._used_up(used):
            return unit
        expected = used + running + following
        if self.total_tokens is not None and expected.total_tokens > self.total_tokens:
            return "total_tokens"
        return "usd" if self.usd is not None and expected.usd > self.usd else ""

    @property
    def asks_for_usage(self) -> bool:
        """Whether what model calls cost is limited."""
        return self.total_tokens is not None or self.usd is not None

    def shown(self, used: Tally, *, seconds: float | None = None) -> str:
        """Used and limit in every unit that has a limit, for people."""
        parts = []
        for each in fields(self):
            limit = getattr(self, each.name)
            amount = seconds if each.name == "seconds" else getattr(used, each.name)
            if limit is not None and amount is not None:
                parts.append(f"{_amount(amount)}/{_amount(limit)} {unit_in_words(each.name)}")
        return ", ".join(parts)

    def listed(self) -> str:
        """Every limit that was given, for people."""
        limits = [(each.name, getattr(self, each.name)) for each in fields(self)]
        named = [f"{_amount(limit)} {unit_in_words(name)}" for name, limit in limits if limit]
        return ", ".join(named) or "none"

    def _used_up(self, used: Usage) -> str:
        if self.total_tokens is not None and used.total_tokens >= self.total_tokens:
            return "total_tokens"
        return "usd" if self.usd is not None and used.usd >= self.usd else ""


def unit_in_words(name: str) -> str:
    """The name of a unit for people."""
    return {"usd": "USD", "total_tokens": "tokens"}.get(name, name.replace("_", " "))


def _amount(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) and value < 1000 else f"{value:.0f}"


def proposal_cost(*, parent: int, child: int, feedback: int, reflection_calls: int) -> Tally:
    """What a reflective proposal needs in every unit.

    Args:
        parent: Rollouts of older candidates: the parent, and the seed where it has to be matched.
        child: Rollouts of the child, and of texts of it that went back.
        feedback: Metric calls for feedback on single components.
        reflection_calls: Calls of the reflection LM.
    """
    return Tally(
        rollouts=parent + child,
        metric_calls=parent + child + feedback,
        reflection_calls=reflection_calls,
        proposals=1,
    )

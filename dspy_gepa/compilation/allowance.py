"""What of the budget each part of a call of `compile` may spend, and the settings of its search."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from dspy_gepa.assembly.execution import kept_back, num_threads, without_kept_back
from dspy_gepa.compilation.demonstrations import set_aside
from dspy_gepa.compilation.reflection import most_reflection_calls
from dspy_gepa.compilation.specialists import second_search, specialists_tally
from dspy_gepa.compilation.task import Task
from dspy_gepa.compilation.verdict import check_held, left_for_search, verdict_tally
from dspy_gepa.core.budget import NOTHING, Limits, Tally
from dspy_gepa.core.forecast import forecast
from dspy_gepa.core.state import Settings
from dspy_gepa.core.union import union
from dspy_gepa.plan import Plan, sized_budget
from dspy_gepa.presets import is_single_component, settings_for
from dspy_gepa.program.components.kinds import CODE, INSTRUCTION, owners_of
from dspy_gepa.reflect.rules import Rules

__all__ = ["Allowance", "UnionMerge", "allowance_for", "plan_for", "search_settings"]


@dataclass(frozen=True, slots=True)
class UnionMerge:
    """A `TextMerge` that keeps what both members learned, where that breaks no rule."""

    components: Collection[str]
    """Those that are prose. A source made of two is none, and a description is one sentence."""
    rules: Rules = field(repr=False)

    def __call__(self, component: str, origin: str, better: str, other: str) -> str:
        """The union of both texts; the better one where there is none that may be used."""
        if component not in self.components:
            return better
        judged = self.rules.judged(component, better, union(origin, better, other))
        return better if judged.reason else judged.text


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What may be spent on what."""

    whole: Limits
    """On all that is done."""
    search: Limits
    """On the search and on demonstrations."""
    demos: Tally
    """What of that is set aside for demonstrations."""
    trial: Tally
    """What of that is set aside for a second call on the first rollout, by which it is found out
    how many arguments a metric takes that does not say it (`*args`)."""
    verdict: Tally
    """What is held for the verdict."""
    specialists: int
    """The metric calls that are held for specialists, those of their own searches included."""
    in_flight: int
    """How many rollouts may be in flight at once."""
    kept_back: int
    """The calls that are kept back for what a pool of processes begins twice."""
    unasked: str
    """A warning that `auto="light"` holds beside the limits that were given; else empty."""

    @property
    def for_search_alone(self) -> Limits:
        """The limits of the search, without what is set aside beside it."""
        return self.search.left(self.demos + self.trial)


def allowance_for(task: Task, rules: Rules) -> Allowance:
    """What each part may spend.

    Raises:
        SettingsError: the limits do not hold the specialists or the verdict that are asked for.
    """
    budget, asked = task.config.budget, task.config.afterwards
    train, validation = task.table.train, task.table.validation
    verdict = verdict_tally(task.table)
    held = verdict + specialists_tally(asked.specialists, len(validation), asked.chooser)
    # An example that is in both sets counts twice, as in dspy.GEPA.
    examples = len(train) + (len(validation) if validation != train else 0)
    calls, unasked = budget.metric_calls(examples), ""
    if calls is None:
        unlimited = forecast(search_settings(task, rules, Limits()))
        calls = sized_budget(unlimited, budget.size, components=len(task.seed))
        # The size is that of the search, without what specialists and the verdict take.
        if asked.specialists is not None:
            calls += calls // 2
        calls += held.metric_calls
        unasked = "" if budget.auto else _unasked(budget.other_limits, budget.size, calls)
        # What follows from a size is no promise: nothing of it is kept back.
        promised = budget.other_limits
    else:
        promised = replace(budget.other_limits, metric_calls=calls)
    execution = task.config.execution
    kept = kept_back(execution, promised)
    whole = without_kept_back(execution, promised)
    if whole.metric_calls is None:
        whole = replace(whole, metric_calls=calls)
    check_held(whole, held)
    search = left_for_search(whole, held)
    if asked.specialists is not None:
        search = left_for_search(search, second_search(search))
    without_verdict = left_for_search(whole, verdict).rollouts_at_most or 0
    return Allowance(
        whole=whole,
        search=search,
        demos=set_aside(task.demos, task.table, search),
        trial=Tally(metric_calls=1) if task.metric.is_unsure else NOTHING,
        verdict=verdict,
        specialists=without_verdict - (search.rollouts_at_most or 0) if asked.specialists else 0,
        in_flight=kept or num_threads(task.config.execution),
        kept_back=kept,
        unasked=unasked,
    )


def _unasked(others: Limits, size: str, calls: int) -> str:
    if others == Limits():
        return ""
    return (
        f"No budget was given beside other limits ({others.listed()}), so "
        f'auto="{size}" holds as well: {calls} metric calls. Give max_metric_calls for more or '
        "fewer."
    )


def search_settings(task: Task, rules: Rules, limits: Limits) -> Settings:
    """What a search within these limits is asked to do."""
    config, parts = task.config, task.parts
    rewritable = [part for name, part in parts.items() if name not in task.frozen]
    is_single = is_single_component(config)
    names = [part.name for part in rewritable]
    most_calls = 2 if is_single else most_reflection_calls(config, parts, names)
    asks = task.metric.asks_per_component
    asked = tuple(part.name for part in rewritable if asks and part.kind.is_asked_about)
    # Our own reflection may ask once more; others are taken to ask once for each component.
    code = tuple(part.name for part in rewritable if part.kind is CODE)
    is_ours = config.reflection.instruction_proposer is None and not code
    prose = [name for name, part in parts.items() if part.kind is INSTRUCTION]
    settings = settings_for(
        config,
        task.table,
        limits,
        selection=task.customization.selection,
        components=task.customization.components,
        feedback_calls=min(len(asked), 1) if is_single else len(asked),
        asked_about=asked,
        reflection_calls=most_calls if is_ours else 1 if is_single else len(names),
        text_merge=UnionMerge(prose, rules),
        frozen=task.frozen,
        owners=owners_of(parts),
    )
    if not code or config.search.search == "paper":
        return settings
    return replace(settings, mends=config.reflection.repairs, mended=code)


def plan_for(task: Task, rules: Rules, allowance: Allowance, settings: Settings) -> Plan:
    """What it will cost."""
    usual = forecast(search_settings(task, rules, Limits()))
    return Plan(
        forecast(settings),
        tuple(task.seed),
        allowance.demos.metric_calls,
        usual,
        allowance.verdict.metric_calls,
        allowance.specialists,
    )

"""From notes and a state to the story: the only place where plain values are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from itertools import zip_longest
from typing import Literal

from dspy_gepa.core.state import RunState
from dspy_gepa.story.facts import NO_FACTS, Facts
from dspy_gepa.story.members import members_of
from dspy_gepa.story.parts import (
    PURPOSES,
    ComponentStory,
    ExampleStory,
    Session,
    Spending,
    UsedLimit,
)
from dspy_gepa.story.proposals import proposals_of
from dspy_gepa.story.story import Story
from dspy_gepa.story.teller import Teller
from dspy_gepa.story.verdict import compared_members, headline

__all__ = ["examples_of", "limits_used", "story_of", "uncalled_in"]


def story_of(teller: Teller, facts: Facts = NO_FACTS) -> Story:
    """The story so far, as a value.

    Args:
        teller: Was told of every event.
        facts: What is known beside events.
    """
    state, outcome = teller.state, facts.outcome
    scale = state.scale
    members = members_of(state, scale, outcome.aggregates)
    best = None if not members else state.best if outcome.best is None else outcome.best
    returned = outcome.returned if outcome.is_final else best
    comparison = None
    if returned:
        comparison = compared_members(members[0], members[returned], state.settings.minimized)
    spending = _spending(teller, facts)
    return Story(
        name=facts.name,
        status=_status(state, facts),
        ending=state.ending,
        headline=headline(
            members, returned, comparison, outcome.check, has_outcome=outcome.is_final
        ),
        components=_components(state),
        training_examples=len(state.settings.train),
        validation_examples=len(state.settings.validation),
        is_right_or_wrong=scale.is_right_or_wrong,
        lowest_score=scale.lowest,
        highest_score=scale.highest,
        seed=state.settings.seed,
        limits=limits_used(state, teller.running_seconds),
        models=facts.models,
        versions=facts.versions,
        settings=facts.settings,
        members=members,
        proposals=proposals_of(teller),
        examples=examples_of(state, facts.examples),
        best=best,
        returned=returned,
        has_outcome=outcome.is_final,
        comparison=comparison,
        check=outcome.check,
        spending=spending,
        total=sum(spending.values(), Spending()),
        troubles=tuple(sorted(teller.troubles.values(), key=lambda each: -each.times)),
        uncalled=uncalled_in(teller),
        curve=teller.curve,
        sessions=_sessions(teller, facts),
        began_at=teller.first_at,
        ended_at=teller.last_at,
        seconds=None if teller.first_at is None else teller.running_seconds,
        objectives=state.objectives,
        minimized=state.settings.minimized,
        demonstrations=outcome.demonstrations,
        routing=outcome.routing,
    )


def _sessions(teller: Teller, facts: Facts) -> tuple[Session, ...]:
    """When the run was opened and closed, with the metric calls of each time."""
    return tuple(
        replace(session, metric_calls=calls)
        for session, calls in zip_longest(facts.sessions, teller.calls, fillvalue=0)
        if isinstance(session, Session)
    )


def _status(
    state: RunState, facts: Facts
) -> Literal["under way", "finished", "stopped", "broke", "died"]:
    if state.is_broken:
        return "broke"
    if facts.outcome.is_stopped:
        return "stopped"
    if state.ending:
        return "stopped" if state.live else "finished"
    if facts.outcome.is_final:
        return "finished"
    return "under way" if facts.is_running else "died"


def _components(state: RunState) -> tuple[ComponentStory, ...]:
    seed = _seed_texts(state)
    frozen = state.settings.frozen
    return tuple(
        ComponentStory(name=name, text=text, is_frozen=name in frozen)
        for name, text in seed.items()
    )


def _seed_texts(state: RunState) -> Mapping[str, str]:
    if state.members:
        return state.members[0].candidate
    evaluations = state.live[0].evaluations if state.live else ()
    if evaluations:
        return evaluations[0].candidate
    return state.history[0].candidate if state.history else {}


def limits_used(state: RunState, seconds: float) -> tuple[UsedLimit, ...]:
    """Every limit with what is used of it, the most used one first."""
    limits, used = state.settings.limits, {**asdict(state.used), "seconds": seconds}
    amounts = ((field.name, getattr(limits, field.name)) for field in fields(limits))
    shares = [
        UsedLimit(unit=unit, used=used[unit], limit=limit)
        for unit, limit in amounts
        if limit is not None
    ]
    return tuple(sorted(shares, key=lambda each: -each.share))


def examples_of(
    state: RunState, described: Mapping[int, ExampleStory]
) -> Mapping[int, ExampleStory]:
    """All examples of the run by id, with what is known of them."""
    settings = state.settings
    train = {example: place for place, example in enumerate(settings.train)}
    validation = {example: place for place, example in enumerate(settings.validation)}
    examples = {}
    for number in sorted({*train, *validation, *settings.anchors}):
        known = described.get(number)
        examples[number] = ExampleStory(
            number=number,
            position=validation.get(number, train.get(number, 0)),
            is_training=number in train,
            is_validation=number in validation,
            must_pass=number in settings.anchors,
            digest="" if known is None else known.digest,
            inputs=None if known is None else known.inputs,
            expected=None if known is None else known.expected,
        )
    return examples


def _spending(teller: Teller, facts: Facts) -> Mapping[str, Spending]:
    outcome = facts.outcome
    after = {
        "demonstrations": outcome.for_demonstrations,
        "specialists and verdict": outcome.afterwards,
    }
    spent = {**teller.spending, **after}
    return {name: spent[name] for name in PURPOSES if spent.get(name, Spending()) != Spending()}


def uncalled_in(teller: Teller) -> tuple[str, ...]:
    """The components that no training example led to, if any was called at all."""
    settings, called = teller.state.settings, teller.called
    if not called:
        return ()
    return tuple(
        name
        for name in _seed_texts(teller.state)
        if called.isdisjoint(settings.owners.get(name, (name,))) and name not in settings.frozen
    )

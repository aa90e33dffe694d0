"""Specialists from what a run knows: which members, and a program that routes to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import dspy
import numpy as np

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import SettingsError
from dspy_gepa.program.examples import Shelf
from dspy_gepa.program.program import build
from dspy_gepa.specialists.choosers import ChooserError, chooser_of, inputs_as_text
from dspy_gepa.specialists.member_sets import Choice, Table, grown
from dspy_gepa.specialists.module import Likeness, Specialists
from dspy_gepa.specialists.routing import Routing, measured, routed

__all__ = ["Chooser", "MemberPool", "Specialized", "check_chooser", "specialists_later"]

Chooser: TypeAlias = str | Callable[[Mapping[str, Any]], int]

_SHARED = 4
"""A member is looked at where it was run on so many examples with the best one. Our choice."""


def check_chooser(chooser: Any) -> None:
    """Nothing, where it is one.

    Raises:
        SettingsError: it is none.
    """
    try:
        chooser_of(chooser)
    except ValueError as error:
        raise SettingsError(str(error)) from None


class Specialized(NamedTuple):
    """The program that routes, or the best one where that brings nothing."""

    program: dspy.Module
    routing: Routing


@dataclass(kw_only=True)
class MemberPool:
    """The members of a run, those that were found for what it still fails, and what is sought."""

    state: RunState
    student: dspy.Module
    examples: Mapping[int, dspy.Example]
    """Those of the validation set, by number."""
    best: int
    """The member that is best over all."""
    most: int
    """The most specialists."""
    chooser: Chooser
    members: list[Candidate] = field(default_factory=list)
    """Those of the run first, under their ids there."""

    def __post_init__(self) -> None:
        self.members = [member.candidate for member in self.state.members]

    @cached_property
    def _groups(self) -> tuple[tuple[int, ...], ...]:
        """The columns of the validation set, equal examples together."""
        shelf, groups = Shelf(()), dict[int, list[int]]()
        for column, number in enumerate(self.state.settings.validation):
            first = shelf.position_of(self.examples[number])
            if first is None:
                shelf.put(column, self.examples[number])
            groups.setdefault(column if first is None else first, []).append(column)
        return tuple(map(tuple, groups.values()))

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """The validation examples, each content once."""
        return tuple(self.state.settings.validation[first] for first, *_ in self._groups)

    @cached_property
    def scores(self) -> Table:
        """Members by `columns`; NaN if a member was not run. Filled in place, and grows."""
        known, columns = self.state.scores, []
        for group in map(list, self._groups):
            some = ~np.isnan(known[:, group])
            sums = np.where(some, known[:, group], 0.0).sum(1)
            columns.append(np.where(some.any(1), sums / np.maximum(some.sum(1), 1), np.nan))
        return np.array(columns).T

    @cached_property
    def training(self) -> Table:
        """Members by training examples, likewise."""
        return np.array([member.results.training for member in self.state.members])

    def failed(self, members: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Training and validation examples on which none of these does well.

        Well is above the best one's mean. Examples that none was run on are among them.
        """
        mean = float(np.nanmean(self.scores[self.best]))
        train, columns = self.state.settings.train, self.columns
        of_train, of_validation = (
            np.where(np.isnan(rows), -np.inf, rows).max(0) <= mean
            for rows in (self.training[list(members)], self.scores[list(members)])
        )
        return (
            tuple(each for each, is_bad in zip(train, of_train, strict=True) if is_bad),
            tuple(each for each, is_bad in zip(columns, of_validation, strict=True) if is_bad),
        )

    def add(self, state: RunState) -> int | None:
        """Take in the best member of a search on such examples, unless it is known already.

        Returns its number; None if there is no new one.
        """
        best = state.members[state.best] if state.members else None
        if best is None or best.candidate in self.members:
            return None
        self.members.append(best.candidate)
        scored = dict(zip(state.settings.validation, best.scores.tolist(), strict=True))
        trained = dict(zip(state.settings.train, best.results.training.tolist(), strict=True))
        for name, places, known in (
            ("scores", self.columns, scored),
            ("training", self.state.settings.train, trained),
        ):
            row = [known.get(each, np.nan) for each in places]
            setattr(self, name, np.vstack([getattr(self, name), row]))
        return len(self.members) - 1

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The inputs of `columns`, in words."""
        inputs = (dict(self.examples[each].inputs()) for each in self.columns)
        return tuple(inputs_as_text((), each) for each in inputs)

    @cached_property
    def likeness(self) -> Table:
        """How much alike these words are, examples by examples."""
        known = Likeness(self.words)
        return np.array([known.to(words) for words in self.words])

    @property
    def candidates(self) -> list[int]:
        """The members that a set may be made of: what looks useful, and what was run on all."""
        members = list(grown(self.scores, self.likeness, self.most, self.best, _SHARED).members)
        complete = np.flatnonzero(~np.isnan(self.scores).any(1)).tolist()
        return list(dict.fromkeys([self.best, *members, *complete]))

    @property
    def useful(self) -> list[int]:
        """The members whose missing scores are worth having, by what they were better at."""
        lead = self.scores - self.scores[self.best]
        shared = ~np.isnan(lead)
        promise = np.where(shared, np.maximum(lead, 0.0), 0.0).sum(1) / (shared.sum(1) + 2)
        order = sorted(range(len(promise)), key=lambda each: (-promise[each], each))
        ranked = dict.fromkeys([*self.candidates, *order])
        return [each for each in ranked if each != self.best][: self.most - 1]

    def program(self, member: int) -> dspy.Module:
        """A member alone."""
        return build(self.student, self.members[member])

    def specialized(self, candidates: Sequence[int]) -> Specialized:
        """Specialists of these candidates, or the single best where they bring nothing."""
        if len(candidates) < 2:
            reason = "no other member was run on enough of the same validation examples"
            return self.decided(Routing(evidence=False, members=(), reason=reason))
        table = self.scores[candidates]
        if callable(self.chooser):
            routing, choice = self._by_function(table, candidates)
        else:
            routing, choice = routed(
                table, self.likeness, tuple(candidates), self.most, self.state.scale.span
            )
        return self.decided(routing, [candidates[each] for each in choice.members], choice)

    def decided(
        self, routing: Routing, members: Sequence[int] = (), choice: Choice | None = None
    ) -> Specialized:
        """These members by the chooser where that brings something, else the single best."""
        routing = replace(
            routing, chooser=self.chooser if isinstance(self.chooser, str) else "function"
        )
        if routing.evidence and choice is not None:
            return Specialized(self.module(members, choice), routing)
        alone = replace(routing, members=(self.best,), shares={self.best: 1.0})
        return Specialized(self.program(self.best), alone)

    def module(self, members: Sequence[int], choice: Choice) -> Specialists:
        """These members, with what is known of them."""
        rows = [
            (words, column.tolist())
            for words, column in zip(self.words, self.scores[members].T, strict=True)
            if not np.isnan(column).any()
        ]
        return Specialists(
            self.student,
            [self.program(each) for each in members],
            rows,
            shrinkage=choice.shrinkage,
            chooser=self.chooser,
        )

    def _by_function(self, table: Table, candidates: Sequence[int]) -> tuple[Routing, Choice]:
        """What a function brings, which has seen no scores, where all that it may name were run.

        Raises:
            SettingsError: it names no member.
        """
        members = tuple(range(len(candidates)))[: self.most]
        choice = Choice(members, 1.0)
        program = self.module(candidates[: self.most], choice)
        try:
            places = [program.chosen(**self.examples[each].inputs()) for each in self.columns]
        except ChooserError as error:
            raise SettingsError(str(error)) from None
        known = ~np.isnan(table[list(members)]).any(0)
        reached = table[places, np.arange(table.shape[1])]
        routing = replace(
            measured(reached[known], table[0][known], self.state.scale.span),
            members=tuple(candidates[each] for each in members),
            shares={candidates[each]: places.count(each) / len(places) for each in members},
        )
        return routing, choice


def specialists_later(
    state: RunState,
    best: int,
    examples: Mapping[int, dspy.Example],
    student: dspy.Module,
    *,
    most: int,
    chooser: Chooser,
) -> Specialized:
    """Specialists of a run that is over, from what it knows, without another rollout.

    Raises:
        SettingsError: the chooser is none, it has to be run to be measured, a function names no
            member, or `most` is no whole number from 2 on.
    """
    check_chooser(chooser)
    if chooser_of(chooser).runs_all:
        raise SettingsError(
            f"chooser={chooser!r} has to be run to see what it brings: ask for it beforehand, "
            f"GEPA(..., specialists={most}, chooser={chooser!r})."
        )
    if isinstance(most, bool) or not isinstance(most, int) or most < 2:
        raise SettingsError(f"most={most!r} was given; a whole number from 2 on is needed.")
    pool = MemberPool(
        state=state, student=student, examples=examples, best=best, most=most, chooser=chooser
    )
    return pool.specialized(pool.candidates)

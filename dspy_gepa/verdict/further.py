"""Rollouts after a search: held beforehand, counted, kept in the run directory, paid once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from dspy_gepa.core.budget import NOTHING, Limits, Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Event, RequestFailed, RolledOut
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.search import start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.core.work import RequestKey
from dspy_gepa.errors import JournalCorrupt
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import RunOutcome, run_loop
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.values.plain import dumps, loads, packed, unpacked

__all__ = ["FURTHER_FILE", "FurtherRollouts", "Subject"]

FURTHER_FILE = "further_rollouts.json"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is run, and under which name its rollouts are kept."""

    name: str
    """A digest of all that decides what it answers."""
    candidate: Candidate
    """Its texts."""
    executing: Callable[[], AbstractContextManager[Executor]]
    """What carries out its rollouts, for as long as that takes."""


class FurtherOutcome(NamedTuple):
    """What came of asking for rollouts."""

    rollouts: Mapping[int, Rollout]
    """By example; all that were asked for where there is no problem."""
    problem: str = ""
    """Why there are not all of them; empty if there are."""
    seconds: float = 0.0
    """How long it took."""


class FurtherRollouts:
    """Rollouts that a search did not ask for, of programs that it ended with.

    Args:
        settings: Of the search.
        names: What each example is kept under, which its content decides.
        run_dir: Where they are kept; None where they are not.

    Raises:
        JournalCorrupt: the run directory holds something else in their place.
    """

    def __init__(
        self, settings: Settings, names: Mapping[int, str], run_dir: RunDir | None
    ) -> None:
        self._settings = settings
        self._names = names
        self._run_dir = run_dir
        self._known, self.tally = _stored(run_dir)
        self.made = 0
        """How many were made in this call."""
        self.was_interrupted = False
        """Whether the keyboard stopped something after the search, so that nothing more begins."""
        self._begun: set[RequestKey] = set()

    def of(self, subject: Subject, examples: Sequence[int], left: Limits) -> FurtherOutcome:
        """The rollouts of this subject on these examples, those that are missing made now.

        Args:
            subject: What is run.
            examples: On what; each once.
            left: The most that may be spent on it.
        """
        missing = [each for each in examples if self._key(subject, each) not in self._known]
        # What is known is had for nothing, also where no more can be paid.
        fitting = () if self.was_interrupted else tuple(missing)[: left.rollouts_at_most]
        finish = self._run(subject, fitting, left) if fitting else None
        rollouts = {
            example: self._known[key]
            for example in examples
            if (key := self._key(subject, example)) in self._known
        }
        if finish is None:
            reason = "it was interrupted" if self.was_interrupted else "the budget is used up"
            return FurtherOutcome(rollouts, reason if missing else "")
        self.was_interrupted |= finish.was_interrupted
        problem = "" if len(rollouts) == len(examples) else finish.state.ending or "it was stopped"
        if problem and finish.error is not None:
            problem = f"{problem} ({finish.error})"
        return FurtherOutcome(rollouts, problem, finish.seconds)

    def _run(self, subject: Subject, examples: tuple[int, ...], left: Limits) -> RunOutcome:
        settings = replace(
            self._settings,
            train=examples,
            validation=examples,
            anchors=(),
            frontier="instance",
            validation_schedule=None,
            window=1,
            limits=replace(left, proposals=0),
            # A program that fails on all of them has that for a result.
            max_failures_in_a_row=len(examples) + 1,
            writes_seed=False,
        )
        before = self.tally

        def keep(event: Event, state: RunState) -> None:
            self.tally = before + state.tally
            if isinstance(event, RolledOut | RequestFailed):
                self._begun.discard(event.key)
            if isinstance(event, RolledOut):
                kept = Rollout(event.rollout.score, failure=event.rollout.failure)
                self._known[self._key(subject, event.key.example)] = kept
                self.made += 1
                self._store()

        try:
            with subject.executing() as executor:
                return run_loop(
                    start(settings, subject.candidate), executor, [keep], beginnings=self
                )
        finally:
            # What was paid for work that could not be carried out counts too.
            self._store()

    def begin(self, key: RequestKey) -> None:
        """Note that this is begun, so that it counts as spent where the process dies."""
        self._begun.add(key)
        self._store()

    def drop(self, key: RequestKey) -> None:
        """Note that this was not begun after all."""
        self._begun.discard(key)
        self._store()

    def _key(self, subject: Subject, example: int) -> tuple[str, str]:
        return subject.name, self._names[example]

    def _store(self) -> None:
        if self._run_dir is None:
            return
        rows = [
            [*key, each.score if math.isfinite(each.score) else None, packed(each.failure)]
            for key, each in self._known.items()
        ]
        tally = self.tally + Tally(rollouts=len(self._begun), metric_calls=len(self._begun))
        self._run_dir.write_text(FURTHER_FILE, dumps({"tally": asdict(tally), "rollouts": rows}))


def _stored(run_dir: RunDir | None) -> tuple[dict[tuple[str, str], Rollout], Tally]:
    if run_dir is None or (text := run_dir.read_text(FURTHER_FILE)) is None:
        return {}, NOTHING
    try:
        stored = loads(text)
        known = {
            (str(name), str(example)): Rollout(
                -math.inf if score is None else float(score), failure=str(unpacked(failure))
            )
            for name, example, score, failure in stored["rollouts"]
        }
        return known, Tally(**stored["tally"])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise JournalCorrupt(
            f"{run_dir.path / FURTHER_FILE} holds no rollouts: {error}. "
            "Remove it to have them made anew."
        ) from None

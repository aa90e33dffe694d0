"""A run as its directory holds it, read again without the process that made it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dspy

from dspy_gepa.assembly.best_program import example_digest
from dspy_gepa.assembly.outcome import with_outcome
from dspy_gepa.errors import SettingsError
from dspy_gepa.program.components.kinds import DEFAULT_KINDS, kinds_in
from dspy_gepa.program.examples import checked_examples
from dspy_gepa.program.program import build, components_of
from dspy_gepa.result import RunResult
from dspy_gepa.specialists.pool import specialists_later
from dspy_gepa.store.credentials import credentials
from dspy_gepa.store.manifest import Manifest
from dspy_gepa.store.run_dir import read_run
from dspy_gepa.story.stored import facts_of, teller_of
from dspy_gepa.story.story import Story
from dspy_gepa.values.answers import fields_alone
from dspy_gepa.verdict.kept import verdict_in
from dspy_gepa.views.told import Told

__all__ = ["SavedRun", "load_run"]


@dataclass(frozen=True, slots=True, repr=False)
class SavedRun(Told):
    """A run as its directory holds it, under way, finished or dead."""

    result: RunResult
    """Members, proposals, costs and why it ended; empty `stop_reason` where it has not."""
    manifest: Manifest
    """What the run is: data, seed, settings, models, versions."""

    @property
    def story(self) -> Story:
        """What happened, as plain values: what every view of the run is made from."""
        return self.result.story

    def program(self, student: dspy.Module, member: int | None = None) -> dspy.Module:
        """A copy of the student with a member's texts; the best member's where none is named.

        The best is that of the run: if the run came to its end, by the aggregate metric where it
        had one. Demonstrations and specialists are in `best_program.json` alone.

        Raises:
            SettingsError: there is no such member, or the student has other components.
        """
        number = self.result.best if member is None and self.result.members else member
        if number is None or not 0 <= number < len(self.result.members):
            raise SettingsError(
                f"member={member} was asked for; the run has {len(self.result.members)} members, "
                "numbered from 0."
            )
        candidate = self.result.members[number].candidate
        own = list(components_of(student, kinds_in(student, candidate) or DEFAULT_KINDS))
        stored = list(candidate)
        if own != stored:
            raise SettingsError(
                f"The student has the components {own}, and the run's program had {stored}: "
                "give the program that was compiled."
            )
        return build(student, candidate)

    def specialists(
        self,
        student: dspy.Module,
        valset: Sequence[dspy.Example],
        most: int = 3,
        chooser: str | Callable[[Mapping[str, Any]], int] = "nearest",
    ) -> dspy.Module:
        """As `RunResult.specialists`, given the validation examples again, in any order.

        Raises:
            SettingsError: an example of the run is missing; or as `RunResult.specialists` says.
        """
        by_digest = {
            example_digest(example): example for example in checked_examples("valset", valset)
        }
        examples = {}
        for number in self.result.state.settings.validation:
            example = by_digest.get(self.manifest.examples[number])
            if example is None:
                raise SettingsError(
                    f"Of the {len(self.result.state.settings.validation)} validation examples of "
                    "this run at least one is not in valset: give those that were compiled with."
                )
            examples[number] = example
        result = replace(
            self.result,
            specializer=partial(specialists_later, self.result.state, self.result.best, examples),
        )
        program: dspy.Module = result.specialists(student, most, chooser)
        object.__setattr__(self.result, "routing", result.routing)
        return program


def load_run(log_dir: str | os.PathLike[str]) -> SavedRun:
    """What a run directory holds. Reads only: no code is executed, and nothing is changed.

    Raises:
        JournalError: there is no run, or it cannot be read.
        JournalCorrupt: what is stored was changed.
        JournalMismatch: it was written in a format that this version cannot read.
    """
    stored = read_run(Path(log_dir), fields_alone, credentials(os.environ))
    teller = teller_of(stored)
    result = RunResult(
        teller.state,
        verdict=verdict_in(Path(log_dir)),
        teller=teller,
        facts=facts_of(stored.manifest, stored),
    )
    return SavedRun(with_outcome(result, stored), stored.manifest)

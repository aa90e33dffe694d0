"""A read-only view of a run: finished, under way or ended by an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from dspy_gepa.core.budget import NOTHING, Tally
from dspy_gepa.core.components import round_robin
from dspy_gepa.core.frontier import mean_scores
from dspy_gepa.core.gate import strict_improvement
from dspy_gepa.core.ledger import PersistentMap
from dspy_gepa.core.merge import better_text
from dspy_gepa.core.proposal import Merge, Mutation
from dspy_gepa.core.rollout import Rollout, RolloutKey
from dspy_gepa.core.sampling import epochs
from dspy_gepa.core.selection import pareto
from dspy_gepa.core.standing import Standing
from dspy_gepa.core.state import Member, ProposalRecord, RunState
from dspy_gepa.errors import SettingsError
from dspy_gepa.specialists.routing import Routing
from dspy_gepa.story.building import story_of
from dspy_gepa.story.facts import NO_FACTS, Facts, Outcome
from dspy_gepa.story.parts import NOT_CHECKED, Check
from dspy_gepa.story.story import Story
from dspy_gepa.story.teller import Teller, spending_of
from dspy_gepa.verdict.finding import NO_HELDOUT, Verdict
from dspy_gepa.views.told import Told

__all__ = ["RunResult", "Specializer", "check_of"]

Specializer: TypeAlias = Callable[..., tuple[Any, Routing]]
"""Makes specialists of a student, at most so many, by a chooser; and says what they bring."""


@dataclass(frozen=True, slots=True, repr=False)
class RunResult(Told):
    """What a run found, what it cost and why it ended. Read as `GEPA(...).result`.

    Printed, it is a dozen lines without any data of the user's.
    """

    state: RunState
    demo_tally: Tally = NOTHING
    """What was done to find and to validate demonstrations, after the search."""
    aggregates: tuple[float, ...] = ()
    """What the aggregate metric says of each member; empty if there is none."""
    verdict: Verdict = NO_HELDOUT
    """Whether the best is better than the seed, on examples that the search never saw."""
    further_tally: Tally = NOTHING
    """What was done for specialists and the verdict, after the search."""
    routing: Routing | None = None
    """What routing to specialists brings; None if none were asked for."""
    specializer: Specializer | None = field(default=None, compare=False, repr=False)
    """Makes specialists of this result; see `specialists`."""
    demonstrations: str = ""
    """What came of demonstrations, in words; empty if none were asked for."""
    is_stopped: bool = False
    """Whether somebody, or a limit in seconds, tokens or USD, ended it before its own end."""
    is_final: bool = field(default=False, compare=False)
    """Whether the call came to its end: it is not under way, and no error ended it."""
    teller: Teller | None = field(default=None, compare=False)
    """Was told of all events; None if a state is all that is known."""
    facts: Facts = field(default=NO_FACTS, compare=False)
    """What is known of the run beside its events."""

    def __reduce__(self) -> tuple[Any, ...]:
        """For a file, a queue or a cache: all that can be read, as `load_run` gives it.

        Strategies of the search and examples stay behind, which are functions and objects of the
        call's own, so that no specialists can be made of what comes back. Of answers that were kept
        the fields are kept, because classes that DSPy makes of a signature cannot be pickled.
        """
        teller = copy(self.teller)
        if teller is not None:
            teller.state = _to_be_read(teller.state)
        kept = replace(self, state=_to_be_read(self.state), teller=teller, specializer=None)
        return RunResult, tuple(getattr(kept, each.name) for each in fields(kept))

    def __copy__(self) -> RunResult:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> RunResult:
        values = {each.name: deepcopy(getattr(self, each.name), memo) for each in fields(self)}
        return replace(self, **values)

    @property
    def story(self) -> Story:
        """What happened, as plain values: what all views are made from."""
        teller = self.teller
        if teller is None:
            teller = Teller(self.state)
        return story_of(teller, replace(self.facts, outcome=self.outcome))

    @property
    def outcome(self) -> Outcome:
        """What became of the search, as its story has it."""
        check = check_of(self.verdict) if self.is_final else NOT_CHECKED
        if not self.members:
            return Outcome(check=check, is_final=self.is_final, is_stopped=self.is_stopped)
        return Outcome(
            returned=self.returned,
            best=self.best,
            aggregates=self.aggregates,
            check=check,
            demonstrations=self.demonstrations,
            for_demonstrations=spending_of(self.demo_tally),
            routing="" if self.routing is None else str(self.routing),
            afterwards=spending_of(self.further_tally),
            is_stopped=self.is_stopped,
            is_final=self.is_final,
        )

    @property
    def members(self) -> Sequence[Member]:
        """The candidates in the pool, the seed first, each with its texts and lineage."""
        return self.state.members

    @property
    def proposals(self) -> Sequence[ProposalRecord]:
        """Every attempt at a new candidate, in order, with its verdict and what it cost."""
        return [each for each in self.state.history if isinstance(each.origin, Mutation | Merge)]

    @property
    def mean_scores(self) -> tuple[float, ...]:
        """Each member's mean score on the validation examples that it was run on."""
        return tuple(mean_scores(self.state.scores).tolist())

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How good each member is by everything that is known, with an interval."""
        return self.state.standings

    @property
    def best(self) -> int:
        """The id of the member that ranks highest, the oldest of those tied.

        By the aggregate metric where there is one, and of equals by the mean score; in the paper's
        search by the mean score; otherwise by the estimate, of the members whose lead over the seed
        is sure: see `dspy_gepa.core.caution.Cautious`.
        """
        if self.aggregates:
            ranked = zip(self.aggregates, self.mean_scores, strict=True)
            return max(enumerate(ranked), key=lambda member: (*member[1], -member[0]))[0]
        return self.state.best

    @property
    def returned(self) -> int:
        """The id of the member whose texts are handed over.

        The best; or the seed if the verdict says that the best is worse, or if it does not say that
        it is better and `if_no_evidence="seed"` was asked for.
        """
        return 0 if self.verdict.returned == "seed" else self.best

    @property
    def improved(self) -> bool:
        """Whether the texts that are handed over are not the seed's.

        Whether they are better, `verdict` says. Demonstrations do not count here, nor does routing
        to specialists.
        """
        return bool(self.state.members) and self.returned > 0

    @property
    def tally(self) -> Tally:
        """Everything that was done, in every unit."""
        return self.state.tally + self.demo_tally + self.further_tally

    @property
    def stop_reason(self) -> str:
        """Why the run ended, in words."""
        return self.state.ending

    def specialists(
        self,
        student: Any,
        most: int = 3,
        chooser: str | Callable[[Mapping[str, Any]], int] = "nearest",
    ) -> Any:
        """A program that sends each input to the member that does best on inputs like it.

        The single best program where that brings nothing; `routing` says so from then on. Nothing
        is run: it rests on the scores that the search left, and `GEPA(..., specialists=3)` fills
        those that are missing.

        Args:
            student: The program that was compiled.
            most: The most specialists.
            chooser: "nearest", "lm" or a function: see `Specialists`.

        Raises:
            SettingsError: the chooser names no specialist, or cannot be used; or the examples of
                the run are not at hand.
        """
        if self.specializer is None:
            raise SettingsError(
                "The examples of this run are not at hand, and specialists are told by their "
                "inputs: of a run that was loaded, load_run(log_dir).specialists(student, valset). "
                "A result that was pickled leaves them behind."
            )
        program, routing = self.specializer(student, most=most, chooser=chooser)
        # The one thing that may be added to a finished result.
        object.__setattr__(self, "routing", routing)
        return program

    @property
    def accepted(self) -> int:
        """How many proposals became members."""
        return self._count("accepted")

    @property
    def failed(self) -> int:
        """How many proposals ended because their reflection gave no usable text."""
        return self._count("failed")

    def _count(self, kind: str) -> int:
        return sum(proposal.verdict.kind == kind for proposal in self.proposals)


def _to_be_read(state: RunState) -> RunState:
    """The state without the strategies that only carry a search on, and with answers as fields."""
    known: PersistentMap[RolloutKey, Rollout] = PersistentMap()
    for key, rollout in state.known.items():
        items = getattr(rollout.output, "items", None)
        kept = replace(rollout, output=dict(items())) if callable(items) else rollout
        known = known.plus(key, kept)
    settings = replace(
        state.settings,
        sampler=epochs,
        selection=pareto,
        components=round_robin,
        gate=strict_improvement,
        text_merge=better_text,
    )
    return replace(state, settings=settings, known=known)


def check_of(verdict: Verdict) -> Check:
    """The verdict as a part of a story."""
    return Check(
        kind=verdict.kind,
        sentence=str(verdict),
        examples=verdict.n,
        before=verdict.seed_score,
        after=verdict.best_score,
        difference=verdict.difference,
        low=verdict.low,
        high=verdict.high,
        better=verdict.gained,
        worse=verdict.lost,
    )

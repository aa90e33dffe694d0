"""The state of a run: settings, what was paid for, the pool, and the proposals under way.

Everything else (frontier, means, best, outstanding work, minibatches) is computed from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dspy_gepa.core.budget import FREE, NOTHING, Limits, Tally, Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.columns import FrontierKind, columns, objective_names
from dspy_gepa.core.components import ComponentSelector, round_robin
from dspy_gepa.core.frontier import Scores, Vector, with_failures_assumed, with_failures_scored
from dspy_gepa.core.gate import Gate, strict_improvement
from dspy_gepa.core.ledger import PersistentList, PersistentMap
from dspy_gepa.core.merge import TextMerge, better_text
from dspy_gepa.core.proposal import Evaluation, Origin, Proposal, Verdict
from dspy_gepa.core.results import Results, all_scores, place_of
from dspy_gepa.core.rollout import Remark, RemarkKey, Rollout, RolloutKey
from dspy_gepa.core.sampling import Sampler, epochs
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.selection import PoolView, Ranking, Selection, by_mean, pareto
from dspy_gepa.core.standing import Scale, Standing, standings
from dspy_gepa.core.streaks import Streaks
from dspy_gepa.core.work import Fault, RequestKey

__all__ = ["Member", "ProposalRecord", "RunState", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run is asked to do. Checked by whoever makes it; the core takes it as it is."""

    train: tuple[int, ...]
    """Examples that proposals learn from; not empty."""
    validation: tuple[int, ...]
    """Examples that members are compared on; not empty. May share examples with `train`."""
    limits: Limits
    """What may be spent; in units that can be counted beforehand never exceeded."""
    anchors: tuple[int, ...] = ()
    """Examples on which no child may score lower than the seed."""
    frozen: tuple[str, ...] = ()
    """Components that are never rewritten."""
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For components that are not called themselves, those whose calls are theirs."""
    minimized: tuple[str, ...] = ()
    """Objectives of which less is better."""
    seed: int = 0
    sampler: Sampler = epochs
    """Which training examples a proposal looks at."""
    minibatch_sizes: tuple[int, ...] = ()
    """How many of those make a minibatch: one of these numbers, chosen by what each has gained. The
    parent is run on so many examples, and on more only if it gets all of them right. If no number
    is given, all examples that the sampler names make the minibatch."""
    contrasts: int = 0
    """How many rollouts of the parent that are known already, and did better than those of the
    minibatch, a reflection may be shown beside it."""
    remembers_rejected: bool = False
    """Whether texts that were rejected before are rejected again without being tried: each trial is
    another chance to pass by luck."""
    stops_early: bool = False
    """Whether a child is run on no more of the minibatch than it takes to decide the gate."""
    validation_schedule: ValidationSchedule | None = None
    """How validation is spread over a member's life; None if a member is run on all examples
    before it becomes one."""
    ranking: Ranking = by_mean
    """How good members are."""
    caution: Ranking | None = None
    """By what the member to return is chosen; None if by `ranking`."""
    window: int = 1
    """How many proposals are under way at once; 1 in the published algorithm."""
    selection: Selection = pareto
    components: ComponentSelector = round_robin
    gate: Gate = strict_improvement
    frontier: FrontierKind = "instance"
    skip_perfect_score: bool = True
    perfect_score: float = 1.0
    lowest_score: float = 0.0
    """With `perfect_score` the span of scores, by which a gate may be decided early."""
    assumed_failure_score: float | None = None
    """What a failure counts as wherever no score that it is compared with is lower; where one is, a
    failure has no score, and ranks below all. None if rollouts say themselves what it scores."""
    feedback_calls: int = 0
    """Of how many components a proposal may have the metric asked, for each example shown."""
    asked_about: tuple[str, ...] = ()
    """The components that the metric can be asked about."""
    reflection_calls: int = 2
    """The most calls of the reflection LM that a proposal makes, and as many again for each text
    that goes back: see `mends`."""
    use_merge: bool = True
    max_merge_invocations: int = 5
    merge_examples: int = 5
    """On how many validation examples a merge is compared with its parents."""
    writes_seed: bool = False
    """Whether the first texts are written by the reflection, before anything was run."""
    mends: int = 0
    """How often at most a text that does not run goes back to the reflection within its
    proposal."""
    mended: tuple[str, ...] = ()
    """The components whose texts may not run; empty for all."""
    tells_attempts: bool = False
    """Whether a reflection is told of all that was made from its parent before, with the texts and
    what came of them, and not only of what was rejected."""
    text_merge: TextMerge = better_text
    """What a merge says where both members changed the same component."""
    max_failures_in_a_row: int = 10
    """After so many reflections in a row without a usable text the run ends. It also ends if the
    program or the metric fails on each of the first so many validation examples, or on so many
    training examples: see `core/untaught.py`. After so many such failures in a row later, what had
    succeeded is tried again: see `core/streaks.py`. Our choice."""
    max_setbacks_in_a_row: int = 4
    """After so many vain attempts at a request the run ends, if no request of its kind was answered
    in between."""

    @property
    def validation_order(self) -> tuple[int, ...]:
        """The order in which the seed, and members further on, are run on validation examples."""
        if self.validation_schedule is None:
            return self.validation
        return self.validation_schedule.order(self.validation, seed=self.seed)

    @property
    def first_examples(self) -> tuple[int, ...]:
        """The validation examples that the seed is run on before any other member."""
        first = None if self.validation_schedule is None else self.validation_schedule.seed_examples
        return self.validation_order[:first][: self.limits.rollouts_at_most]


@dataclass(frozen=True, slots=True, repr=False)
class Member:
    """A candidate in the pool. Its id is its position there."""

    candidate: Candidate
    parents: tuple[int, ...]
    """Ids of older members; empty for the seed."""
    ticket: int
    """The proposal that made it."""
    rewrites_before: int
    """How many rewrites were tried along its lineage, those in vain included."""
    discovery_metric_calls: int
    """Metric calls charged up to its commit, without those of its own validation."""
    reflected_examples: frozenset[int]
    """Training examples that were shown to the reflections along its lineage. Its scores on these
    say less about others."""
    results: Results = field(compare=False)
    """What it scored. Kept beside the rollouts that it is read from, because a proposal reads all
    members' scores."""

    @property
    def scores(self) -> Vector:
        """One for every validation example, NaN if it was not run."""
        return self.results.scores

    def __repr__(self) -> str:
        """Without texts and scores, which may fill pages."""
        seen = int(np.count_nonzero(~np.isnan(self.scores)))
        return f"Member(parents={self.parents}, ticket={self.ticket}, {seen} examples scored)"


@dataclass(frozen=True, slots=True, repr=False)
class ProposalRecord:
    """A committed proposal. Its ticket is its position in the history."""

    origin: Origin
    candidate: Candidate
    """What was proposed; the parent's texts where nothing was."""
    verdict: Verdict
    charge: Tally
    """What it added to what was spent."""
    reflected_examples: tuple[int, ...] = ()
    """The minibatch that its reflection saw; empty if there was none."""
    evaluated: tuple[int, ...] = ()
    """The examples that it asked for what was proposed to be run on."""
    diagnosis: str = ""
    """What its reflection said goes wrong and why; empty if it did not say."""
    lesson: str = ""
    """What its reflection said of its change, in a sentence; empty if it did not say."""
    faults: tuple[Fault, ...] = ()
    """Why texts are missing that its reflection was to write."""
    naming: int = 0
    """As in `ReflectionAnswer`."""

    def __repr__(self) -> str:
        """Without texts, which may fill pages."""
        kind, parents = type(self.origin).__name__, self.origin.parents
        return f"ProposalRecord({kind} of {parents}, {self.verdict.kind}: {self.verdict.reason})"


@dataclass(frozen=True, slots=True)
class RunState:
    """A run at one moment, as a value: `evolve` makes the next one."""

    settings: Settings
    live: tuple[Proposal, ...]
    """Proposals under way, in ticket order."""
    history: PersistentList[ProposalRecord] = field(default_factory=PersistentList)
    """Proposals that are over, in ticket order."""
    members: tuple[Member, ...] = ()
    known: PersistentMap[RolloutKey, Rollout] = field(default_factory=PersistentMap)
    """Every rollout that was answered."""
    remarks: PersistentMap[RemarkKey, Remark] = field(default_factory=PersistentMap)
    """Everything that the metric was asked about single components."""
    charged: PersistentMap[RolloutKey | RemarkKey, int] = field(default_factory=PersistentMap)
    """Rollouts and remarks that a committed proposal used, with the ticket of the first that did;
    -1 for those that count as lost, which none is charged for."""
    spent: Tally = NOTHING
    """Charged to committed proposals. Unlike the tally it does not depend on the order in which
    answers came, so decisions may read it. spent + held + lost <= limit; only a loss may bring more
    than that, and then the run ends at once."""
    tally: Tally = NOTHING
    """What was really done, by live proposals too, and what was lost."""
    uncalled: int = 0
    """Rollouts that failed before the metric: each counts as a metric call, and none was made."""
    lost: Tally = NOTHING
    """What was paid for work that could not be carried out, or that no proposal asks for."""
    room: int = 0
    """As in `ReflectionRequest`: what a refusal cost to learn is known after a resume too."""
    dearest_rollout: Usage = FREE
    """The most that model calls cost in one rollout."""
    dearest_remark: Usage = FREE
    """The most that they cost where the metric was asked about a component."""
    dearest_reflection: Usage = FREE
    """The most that model calls cost in one reflection."""
    broken: int = 0
    """Rollouts in which the program or the metric itself failed."""
    streaks: Streaks = field(default_factory=Streaks)
    """How such failures follow on each other in what was charged."""
    failed_attempts: Mapping[RequestKey, int] = field(default_factory=dict)
    """Attempts at requests that could not be carried out since the last answer of their kind."""
    ending: str = ""
    """Why no more proposals are issued; empty while they are."""
    is_broken: bool = False
    """Whether it ends because work could not be carried out."""
    causes: tuple[str, ...] = ()
    """As in `Ended`."""

    @property
    def used(self) -> Tally:
        """What counts against the limits: the tally, with rollouts that failed before the metric.

        See `Rollout.charge`.
        """
        return self.tally + Tally(metric_calls=self.uncalled)

    @property
    def committed(self) -> Tally:
        """What is spent, held for live proposals, or lost: not to be had any more."""
        return sum((proposal.origin.hold for proposal in self.live), self.spent + self.lost)

    @property
    def scores(self) -> Scores:
        """The members' validation scores, shape (members, validation examples)."""
        return self._rows([member.results for member in self.members])[0]

    @property
    def training(self) -> Scores:
        """Their training scores, shape (members, training examples)."""
        return self._rows([member.results for member in self.members])[1]

    @property
    def columns(self) -> Scores:
        """What the members are compared on, shape (members, columns of the frontier)."""
        return self.pool(len(self.history)).columns

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives that the metric scores, as seen in validation; ascending."""
        return objective_names(member.results for member in self.members)

    def asks_apart(self, visible_proposals: int) -> bool:
        """Whether components are asked about one by one, because joint answers named none.

        Our choice: after n such answers in a row the next 2**n reflections ask one by one, and then
        one asks together again. So one slip costs little, and so does a model that never names.

        Args:
            visible_proposals: How many proposals were over when the one in question began: what
                others find meanwhile depends on timing.
        """
        in_a_row = since = 0
        later_began = visible_proposals
        for ticket in range(visible_proposals - 1, -1, -1):
            over = self.history[ticket]
            if over.naming > 0:
                break
            # Answers that were asked for side by side are one: none could be a consequence of
            # another.
            if over.naming < 0 and ticket < later_began:
                in_a_row += 1
                later_began = getattr(over.origin, "visible_proposals", ticket)
            since += not in_a_row and over.charge.reflection_calls > 0
        return in_a_row > 0 and since < 2**in_a_row

    def dearest(self, key: RequestKey) -> Usage:
        """What such work is expected to cost: the most that one of its kind did."""
        if isinstance(key, RolloutKey):
            return self.dearest_rollout
        return self.dearest_remark if isinstance(key, RemarkKey) else self.dearest_reflection

    def validated(self, candidate: Candidate) -> tuple[Rollout | None, ...]:
        """A candidate's rollouts on the validation examples; None if it was not run."""
        keys = Evaluation(candidate, self.settings.validation).keys
        return tuple(self.known.get(key) for key in keys)

    def candidate_of(self, member: int) -> Candidate:
        """A member's texts; those of the seed before it is a member too."""
        if self.members:
            return self.members[member].candidate
        return self.live[0].evaluations[0].candidate

    def pool(
        self, ticket: int, visible_proposals: int | None = None, beside: Scores | None = None
    ) -> PoolView:
        """The pool for a proposal, as it was when the first `visible_proposals` were over.

        At first it is the seed without scores.
        """
        if visible_proposals == 0:
            unknown = np.full((1, len(self.settings.validation)), np.nan)
            training = np.full((1, len(self.settings.train)), np.nan)
            return PoolView((self.candidate_of(0),), unknown, unknown, ticket, 0, training, ((),))
        over = len(self.history) if visible_proposals is None else visible_proposals
        members = [member for member in self.members if member.ticket < over]
        results, spent = [member.results for member in members], self.spent.metric_calls
        if over < len(self.history):
            results = [each.before(over) for each in results]
            spent = sum(record.charge.metric_calls for record in self.history[:over])
        scores, training = self._rows(results, beside)
        place = place_of(self.settings.train)
        for row, member in zip(training, members, strict=True):
            row[[place[example] for example in member.reflected_examples]] = np.nan
        return PoolView(
            tuple(member.candidate for member in members),
            scores,
            self._columns(results, scores),
            ticket,
            spent,
            training,
            tuple(member.parents for member in members),
        )

    def _rows(
        self, results: Sequence[Results], beside: Scores | None = None
    ) -> tuple[Scores, Scores]:
        """Scores on validation and on training examples, as they compare with each other."""
        width, assumed = len(self.settings.validation), self.settings.assumed_failure_score
        everything = all_scores(results, width + len(self.settings.train))
        known = with_failures_assumed(everything, assumed, beside)
        return known[:, :width], known[:, width:]

    def _columns(self, results: Sequence[Results], scores: Scores) -> Scores:
        if not results or self.settings.frontier == "instance":
            return scores
        results = [replace(one, scores=row) for one, row in zip(results, scores, strict=True)]
        minimized = self.settings.minimized
        return columns(self.settings.frontier, results, objective_names(results), minimized)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How good each member is by everything that is known, with an interval."""
        return standings(self.estimates, with_failures_scored(self.scores), self.scale)

    @property
    def estimates(self) -> Vector:
        """How good each member is by everything that is known."""
        return self.pool(len(self.history)).estimates().means

    @property
    def scale(self) -> Scale:
        """What scores there can be, as far as it is known."""
        return Scale.of(self.scores, self.settings.lowest_score, self.settings.perfect_score)

    @property
    def best(self) -> int:
        """The id of the member to return by what the search knows, the oldest of those tied.

        Raises:
            ValueError: there is no member yet.
        """
        choice = self.settings.caution or self.settings.ranking
        return int(np.argmax(choice(self.pool(len(self.history)))))

    def origins(self) -> Iterator[Origin]:
        """How each proposal began, the newest first."""
        yield from (proposal.origin for proposal in reversed(self.live))
        yield from (record.origin for record in reversed(self.history))

    def is_done(self, evaluation: Evaluation) -> bool:
        """Whether all rollouts of an evaluation are answered."""
        # Backwards, because answers come about in order: then the first look mostly settles it.
        return all(key in self.known for key in reversed(evaluation.keys))

    def rollouts(self, evaluation: Evaluation) -> tuple[Rollout, ...]:
        """The rollouts of an evaluation that is done, in its order."""
        return tuple(self.known[key] for key in evaluation.keys)

"""The story of a run: plain frozen values, nothing derived twice. Views only format them.

All texts are as they were written, by anybody: whoever shows them makes them harmless. Numbers of
members, proposals and examples are those of the run. `None` stands where something is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dspy_gepa.story.diff import Change
from dspy_gepa.story.parts import (
    NOT_CHECKED,
    NOTHING_SPENT,
    AnswerStory,
    Check,
    ComponentStory,
    ExampleStory,
    ExchangeStory,
    Moment,
    Session,
    Spending,
    Trouble,
    UsedLimit,
)

__all__ = ["Comparison", "MemberStory", "ObjectivePair", "Pair", "ProposalStory", "Shown", "Story"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two candidates on one example."""

    example: int
    """Its id: see `Story.examples`."""
    before: float | None
    """The score of the parent, or of the seed; None if it was not run, -inf if it failed and that
    is no score."""
    after: float | None
    """The score of the child; likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a reflection was shown of one example: the parent's rollout on it."""

    example: int
    answer: AnswerStory


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectivePair:
    """An objective of two members, over the examples on which both have a value of it."""

    name: str
    before: float
    """Its mean."""
    after: float
    examples: int
    """How many these are."""
    is_minimized: bool
    """Whether less of it is better."""

    @property
    def became(self) -> Literal["better", "worse", "the same"]:
        """What the mean of the later member is beside that of the other one."""
        if self.before == self.after:
            return "the same"
        return "better" if (self.after < self.before) == self.is_minimized else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two members on the validation examples that both were run on."""

    before: int
    """A member's number; mostly 0, the seed."""
    after: int
    better: tuple[int, ...]
    """The ids of the examples on which `after` scored higher."""
    worse: tuple[int, ...]
    """Those on which it scored lower."""
    same: tuple[int, ...]
    """Those on which they scored the same."""
    objectives: tuple[ObjectivePair, ...] = ()
    """By name; empty where the metric scores nothing beside the score."""

    @property
    def examples(self) -> int:
        """How many examples both were run on."""
        return len(self.better) + len(self.worse) + len(self.same)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MemberStory:
    """A candidate in the pool. Its number is its position; 0 is the seed."""

    number: int
    parents: tuple[int, ...]
    proposal: int
    """The number of the proposal that made it; 0 for the seed."""
    texts: Mapping[str, str]
    """Component to text."""
    seen: int
    """On how many validation examples it was run."""
    right: int | None
    """On how many of these it reached the perfect score; None if scores are not right or wrong
    (see `Story.is_right_or_wrong`), or where no score is perfect."""
    mean: float | None
    """Its mean score on what it was run on; None if nothing was scored."""
    estimate: float | None
    """Of its mean score over examples like the validation set's, on the scale of scores."""
    low: float | None
    """The lower end of the estimate's range, on the scale of scores: a 95 % interval for the seed,
    and an estimate for members that were chosen by the same scores."""
    high: float | None
    """The upper end."""
    aggregate: float | None
    """What the aggregate metric says of it; None if there is none."""
    tops: tuple[int, ...]
    """The validation examples on which it is the best, or one of them."""
    is_frontier: bool
    """Whether it is left when dominated members are pruned."""
    answers: Mapping[int, AnswerStory]
    """Example id to what it answered there: all validation examples that it was run on."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """Objective to its mean over the validation examples that it was run on."""
    children: tuple[int, ...] = ()
    """Members made from it."""

    def __repr__(self) -> str:
        """Without texts and answers, which may fill pages."""
        return f"MemberStory({self.number}, parents={self.parents}, {self.seen} examples scored)"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ProposalStory:
    """One attempt at a new candidate, over or under way. The seed's validation is number 0."""

    number: int
    kind: Literal["seed", "rewrite", "merge", "revalidation"]
    """A revalidation runs a member on more validation examples and makes no candidate."""
    parents: tuple[int, ...]
    """Members."""
    verdict: str
    """ "accepted", "rejected", "skipped", "failed", "measured", or "" while it is under way."""
    reason: str
    """In words; empty while it is under way."""
    phase: str
    """What it is at, in words, while it is under way: "reflecting"; empty afterwards."""
    member: int | None
    """The member that it became."""
    changes: tuple[Change, ...]
    """Against the first parent; empty if nothing was proposed."""
    spending: Spending
    """What it was charged for; nothing while it is under way."""
    began_at: float | None = None
    """When: seconds since the epoch."""
    ended_at: float | None = None
    shown: tuple[Shown, ...] = ()
    """What its reflection learned from."""
    components: tuple[str, ...] = ()
    """What its reflection was asked to rewrite."""
    diagnosis: str = ""
    """What its reflection said goes wrong and why."""
    lesson: str = ""
    """What its reflection said of its change, in a sentence."""
    faults: tuple[tuple[str, str], ...] = ()
    """Components and the reason, for texts that are missing."""
    exchanges: tuple[ExchangeStory, ...] = ()
    """Every prompt and reply, those that were refused too; empty where they were not kept."""
    gate: tuple[Pair, ...] = ()
    """Child beside parent on the minibatch; with two parents the higher score of both."""
    anchors: tuple[Pair, ...] = ()
    """Child beside seed on the examples that must pass."""
    validation: tuple[Pair, ...] = ()
    """Child beside parent on the validation examples that it was run on first."""
    seconds: float | None = None
    """From its beginning to its end."""

    def __repr__(self) -> str:
        """Without texts, prompts and replies, which may fill pages."""
        came = self.verdict or self.phase
        return f"ProposalStory({self.number}, {self.kind} of {self.parents}: {came})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Story:
    """All that people want to know of a run, at its end or at any moment before."""

    name: str = ""
    """The run directory's last name; empty if there is none."""
    status: Literal["under way", "finished", "stopped", "broke", "died"]
    """ "stopped" by somebody or by a limit in seconds; "broke": its work could not be carried out;
    "died": it neither ended nor is it running. A budget that is used up is an ordinary end:
    "finished"."""
    ending: str = ""
    """Why it ended, in words; empty while it is under way."""
    headline: str = ""
    """The verdict in one sentence, the same everywhere."""
    components: tuple[ComponentStory, ...]
    training_examples: int
    """How many."""
    validation_examples: int
    """How many."""
    is_right_or_wrong: bool
    """Whether every score that was seen is the lowest or the perfect one."""
    lowest_score: float
    """Of the scale, as the settings say it or as it was seen."""
    highest_score: float | None
    """Likewise; None if no score is known to be the highest."""
    seed: int
    """Of chance."""
    limits: tuple[UsedLimit, ...]
    """In the order of their use: the one that is most used first."""
    models: Mapping[str, str] = field(default_factory=dict)
    """What it is used for, to the model's name."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of this package, DSPy and Python."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """By name, in words."""
    members: tuple[MemberStory, ...] = ()
    proposals: tuple[ProposalStory, ...] = ()
    """By number, the seed's validation first, those under way last."""
    examples: Mapping[int, ExampleStory] = field(default_factory=dict)
    """By id: training and validation examples, and those that must pass."""
    best: int | None = None
    """The member that ranks highest; None if there is no member."""
    returned: int | None = None
    """The member whose texts are handed over: the best, or the seed; None if there is none."""
    has_outcome: bool = False
    """Whether the call came to its end, so that `returned` and all that follows is final."""
    comparison: Comparison | None = None
    """The seed and the returned member; None if that is the seed, or where there is none."""
    check: Check = NOT_CHECKED
    """On examples that the search did not choose on."""
    spending: Mapping[str, Spending] = field(default_factory=dict)
    """Purpose to what was spent for it, in the order of a run; those without any are left out. See
    `dspy_gepa.story.parts.PURPOSES`."""
    total: Spending = NOTHING_SPENT
    """Of all purposes."""
    troubles: tuple[Trouble, ...] = ()
    """What could not be carried out, by cause, the most frequent first."""
    uncalled: tuple[str, ...] = ()
    """Components that no training example led to, so that nothing was rewritten there."""
    curve: tuple[Moment, ...] = ()
    """Where the run stood after each proposal that changed the pool."""
    sessions: tuple[Session, ...] = ()
    """When it ran: more than one where it was carried on."""
    began_at: float | None = None
    """Seconds since the epoch."""
    ended_at: float | None = None
    """Of the last thing that happened."""
    seconds: float | None = None
    """How long it ran, pauses between sessions left out."""
    objectives: tuple[str, ...] = ()
    """What the metric scores beside the score."""
    minimized: tuple[str, ...] = ()
    """Those of the objectives of which less is better."""
    demonstrations: str = ""
    """What came of demonstrations, in words; empty if none were asked for."""
    routing: str = ""
    """What came of specialists, in words; empty if none were asked for."""

    def __repr__(self) -> str:
        """Without anything of the user's; its views show the rest."""
        counts = f"{len(self.members)} members, {len(self.proposals)} proposals"
        return f"Story({self.status}, {counts}, returned={self.returned})"

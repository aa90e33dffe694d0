"""A proposal: one attempt at a new candidate, from its issue to its verdict.

Its phase is a tagged union; each phase holds exactly what is known by then:

    mutation   EvaluatingParent -> Reflecting -> TextsReady -> EvaluatingChild -> CheckingMustPass
               -> Validating -> Settled
    merge      EvaluatingChild -> CheckingMustPass -> Validating -> Settled
    seed and revalidation
               Validating -> Settled

EvaluatingParent and EvaluatingChild may be entered several times, each time on more of their
examples. Remarking comes between EvaluatingParent and Reflecting if the metric can be asked about
single components. TextsReady may be followed by Repairing and a second TextsReady. EvaluatingChild
is followed by Reflecting if a text does not run and goes back. CheckingMustPass is left out if no
examples must keep passing. A seed that has to be written begins with Reflecting and TextsReady.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from dspy_gepa.core.budget import NOTHING, Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import RemarkKey, RolloutKey
from dspy_gepa.core.work import Fault, ReflectionAnswer

__all__ = [
    "CheckingMustPass",
    "EvaluatingChild",
    "EvaluatingParent",
    "Evaluation",
    "Merge",
    "Mutation",
    "Origin",
    "Phase",
    "Proposal",
    "Reflecting",
    "Remarking",
    "Repairing",
    "Revalidation",
    "Seed",
    "Settled",
    "TextsReady",
    "Validating",
    "Verdict",
    "evaluations_of",
]


@dataclass(frozen=True, slots=True)
class Seed:
    """The student's own texts, or the first ones that the reflection writes."""

    hold: Tally

    @property
    def parents(self) -> tuple[int, ...]:
        """None: it is the first."""
        return ()


@dataclass(frozen=True, slots=True)
class Mutation:
    """Texts rewritten by reflection."""

    hold: Tally
    """The most that it can need."""
    parent: int
    """A member's id."""
    drawn_examples: tuple[int, ...]
    """Training examples that the parent may be run on; the minibatch is taken from them."""
    mutation_index: int
    """How many mutations were issued before it."""
    rewrites_before: int
    """How many rewrites were tried along this lineage before, those in vain included."""
    visible_proposals: int
    """How many proposals were over when it was issued: what it may know of, at any time."""
    mends: int = 0
    """How often a text of it that does not run may go back to the reflection: what the budget had
    room for."""
    size: int = 0
    """How many of `drawn_examples` make its minibatch; 0 for all."""

    @property
    def parents(self) -> tuple[int, ...]:
        """The one member that it comes from."""
        return (self.parent,)


@dataclass(frozen=True, slots=True)
class Merge:
    """Texts taken from two members."""

    hold: Tally
    parents: tuple[int, int]
    """Ascending ids."""
    ancestor: int
    visible_proposals: int
    """As in `Mutation`."""


@dataclass(frozen=True, slots=True)
class Revalidation:
    """A member on more validation examples; makes no candidate."""

    hold: Tally
    member: int
    """Its id."""

    @property
    def parents(self) -> tuple[int, ...]:
        """The one member that it is about."""
        return (self.member,)


Origin: TypeAlias = Seed | Mutation | Merge | Revalidation


@dataclass(frozen=True)
class Evaluation:
    """A candidate on some examples."""

    candidate: Candidate
    examples: tuple[int, ...]

    @cached_property
    def keys(self) -> tuple[RolloutKey, ...]:
        """The rollouts that it consists of, in the examples' order."""
        digest = self.candidate.digest
        return tuple(RolloutKey(digest, example) for example in self.examples)


@dataclass(frozen=True, slots=True)
class EvaluatingParent:
    """The parent runs on training examples, with traces."""

    evaluation: Evaluation
    """As far as it has come."""
    drawn_examples: tuple[int, ...]
    """All examples that it may be run on, in order."""


@dataclass(frozen=True, slots=True)
class Remarking:
    """The metric is asked about single components' parts in the parent's rollouts."""

    evaluation: Evaluation
    """As in `Reflecting`."""
    components: tuple[str, ...]
    remarks: tuple[RemarkKey, ...]
    """What it is asked."""


@dataclass(frozen=True, slots=True)
class Reflecting:
    """The reflection LM writes new texts for these components."""

    evaluation: Evaluation
    """What it learns from: the parent on the minibatch; if a text of its own did not run, that text
    on the example on which it did not; nothing if first texts are written."""
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repairing:
    """The reflection LM is asked once more about what could not be used of its replies."""

    evaluation: Evaluation
    components: tuple[str, ...]
    reflection: ReflectionAnswer
    """The first answer."""


@dataclass(frozen=True, slots=True)
class TextsReady:
    """The reflection has answered."""

    evaluation: Evaluation
    components: tuple[str, ...]
    reflection: ReflectionAnswer


@dataclass(frozen=True, slots=True)
class EvaluatingChild:
    """The child runs on the examples on which its parents' scores are known."""

    evaluation: Evaluation
    """As far as it has come."""
    minibatch: tuple[int, ...]
    """All examples that it may be run on."""


@dataclass(frozen=True, slots=True)
class CheckingMustPass:
    """The child runs on the examples on which it must not be worse than the seed."""

    evaluation: Evaluation
    reference: tuple[Evaluation, ...]
    """The seed's, which all proposals share."""


@dataclass(frozen=True, slots=True)
class Validating:
    """The candidate runs on validation examples."""

    evaluation: Evaluation
    reference: tuple[Evaluation, ...] = ()
    """Its parents on the same examples, where it is compared with them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a proposal ended."""

    kind: Literal["accepted", "rejected", "skipped", "failed", "measured"]
    """Rejected: tried and no better, or nothing new. Skipped: nothing to learn from.
    Failed: the reflection gave no usable text. Measured: a member was run on more examples."""
    reason: str
    """In words, for people."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Decided; waits until all proposals with lower tickets are committed."""

    candidate: Candidate
    """What was proposed; the parent's texts where nothing was."""
    verdict: Verdict


Phase: TypeAlias = (
    EvaluatingParent
    | Remarking
    | Reflecting
    | Repairing
    | TextsReady
    | EvaluatingChild
    | CheckingMustPass
    | Validating
    | Settled
)


def evaluations_of(phase: Phase) -> tuple[Evaluation, ...]:
    """What a phase asks to be run, the candidate's own last."""
    match phase:
        case EvaluatingParent(evaluation) | EvaluatingChild(evaluation):
            return (evaluation,)
        case CheckingMustPass(evaluation, reference) | Validating(evaluation, reference):
            return (*reference, evaluation)
    return ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal under way."""

    ticket: int
    """Its number: tickets are issued and committed in ascending order, from 0, the seed."""
    origin: Origin
    phase: Phase
    evaluations: tuple[Evaluation, ...] = ()
    """All rollouts that it has asked for, in order."""
    remarks: tuple[RemarkKey, ...] = ()
    """All that it has had the metric asked about single components, in order."""
    reflected_examples: tuple[int, ...] = ()
    """The minibatch that its reflection sees; empty before."""
    mended: int = 0
    """How many of its texts did not run and were sent back."""
    reflection_charge: Tally = NOTHING
    """What its reflection cost."""
    diagnosis: str = ""
    """What its reflection said goes wrong and why; empty before, or where it did not say."""
    lesson: str = ""
    """What its reflection said of its change, in a sentence; empty likewise."""
    naming: int = 0
    """As in `ReflectionAnswer`."""
    faults: tuple[Fault, ...] = ()
    """Why texts are missing that its reflection was to write."""

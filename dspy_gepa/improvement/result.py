"""What a call of `optimize_anything` returns: a read-only view of its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dspy_gepa.artifact.evaluator import LONE
from dspy_gepa.core.budget import Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.standing import Standing
from dspy_gepa.core.state import Member, ProposalRecord, RunState
from dspy_gepa.result import RunResult
from dspy_gepa.story.story import Story
from dspy_gepa.verdict.finding import Verdict
from dspy_gepa.views.told import Told

__all__ = [
    "NOTHING_SCORED",
    "NO_TEST_SET",
    "AnythingResult",
    "Best",
    "has_scored",
    "nothing_scored",
]

_MOST_FAILED = 6
"""After so many artifacts, none of which ever scored, a run ends. Our choice: the first one may
fail and be mended, and what fails with every text has another cause than the text."""
NOTHING_SCORED = "none of the first"
"""How the reason of such an end begins."""
NO_TEST_SET = Verdict(
    kind="not checked",
    reason="there is no test set, and the scores are of problems that the search chose by. Give "
    "testset=",
)


class Best(NamedTuple):
    """The best artifact of one problem."""

    artifact: Any
    """A text, or a dict of named texts; None if nothing scored on this problem."""
    score: float | None
    """Its score on this problem; None if nothing scored."""


@dataclass(frozen=True, slots=True)
class AnythingResult(Told):
    """What a run found, what it cost and why it ended."""

    run: RunResult
    seed: Candidate
    """What it started from."""
    is_lone: bool
    """Whether an artifact is one text."""
    test: Verdict | None = None
    """How the first artifact and the best one do on the test set; None if there is none."""

    @property
    def story(self) -> Story:
        """What happened, as plain values: what every view of the run is made from."""
        return self.run.story

    @property
    def optimized_artifact(self) -> Any:
        """The best artifact: a text, or a dict of named texts in the order in which they came.

        None if a run ended before the first one was written.
        """
        if not self.members and not any(self.seed.values()):
            return None
        return self._artifact(self._best)

    @property
    def score(self) -> float | None:
        """Its mean score over the problems that artifacts are compared on.

        A failure on one of them counts as `failure_score`; where that is None, as something below
        the lowest score on that problem. None if nothing was scored.
        """
        if not self.members or not any(map(has_scored, self.run.state.known.values())):
            return None
        return self.run.mean_scores[self.run.best]

    @property
    def best_by_problem(self) -> tuple[Best, ...]:
        """The best artifact of each problem, in the data set's order, the oldest of those tied.

        Every artifact that was evaluated counts, those that were rejected as a whole too. The
        problems are those of the validation set where there is one.
        """
        state, best_of_each = self.run.state, []
        texts = _texts(state)
        for example in state.settings.validation:
            best = Best(None, None)
            for key, rollout in state.known.items():
                if key.example != example or not has_scored(rollout):
                    continue
                if best.score is None or rollout.score > best.score:
                    best = Best(self._artifact(texts[key.candidate]), rollout.score)
            best_of_each.append(best)
        return tuple(best_of_each)

    @property
    def tally(self) -> Tally:
        """What the search did, in every unit; evaluations are `metric_calls`.

        Those of a test set are beside it: see `test`.
        """
        return self.run.tally

    @property
    def members(self) -> Sequence[Member]:
        """The artifacts in the pool, the first one first, each with its texts and lineage."""
        return self.run.members

    @property
    def proposals(self) -> Sequence[ProposalRecord]:
        """Every attempt at a new artifact, in order, with its verdict and what it cost."""
        return self.run.proposals

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How good each member is by everything that is known, with an interval."""
        return self.run.standings

    @property
    def stop_reason(self) -> str:
        """Why the run ended, in words."""
        return self.run.stop_reason

    @property
    def accepted(self) -> int:
        """How many proposals became members."""
        return self.run.accepted

    @property
    def improved(self) -> bool:
        """Whether the best artifact is not the first one."""
        return self.run.improved

    @property
    def _best(self) -> Candidate:
        return self.members[self.run.best].candidate if self.members else self.seed

    def _artifact(self, candidate: Candidate) -> Any:
        return candidate[LONE] if self.is_lone else dict(candidate)

    def __repr__(self) -> str:
        return (
            f"AnythingResult(score={self.score}, improved={self.improved}, "
            f"evaluations={self.tally.metric_calls}, stop_reason={self.stop_reason!r})"
        )


def has_scored(rollout: Rollout) -> bool:
    """Whether an evaluation came to a score."""
    return not rollout.failure


def _texts(state: RunState) -> dict[str, Candidate]:
    """Digest to candidate, of all that were evaluated."""
    candidates = [record.candidate for record in state.history]
    candidates += [e.candidate for proposal in state.live for e in proposal.evaluations]
    return {candidate.digest: candidate for candidate in candidates}


def nothing_scored(state: RunState) -> str:
    """Why a run is to end in which nothing ever scored; empty if something did, or may yet."""
    if any(map(has_scored, state.known.values())):
        return ""
    artifacts = {key.candidate for key in state.known}
    if len(artifacts) < _MOST_FAILED:
        return ""
    return f"{NOTHING_SCORED} {len(artifacts)} artifacts came to a score"

"""The first artifact and the best one on examples that the search did not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import RolloutAnswer, RolloutRequest, Setback
from dspy_gepa.errors import WorkerError
from dspy_gepa.run.executor import Executor

__all__ = ["HeldOut", "compared", "evaluated"]

_SURE = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How the best artifact compares with the first one, example by example."""

    seed_score: float | None
    """The first artifact's mean over the examples on which it came to a score."""
    best_score: float | None
    """Likewise the best one's."""
    difference: float | None
    """The mean difference over the examples on which both came to a score."""
    low: float | None
    """The lower end of the difference's 95 % interval, by the normal approximation."""
    high: float | None
    """The upper end."""
    examples: int
    """How many there are."""
    seed_failures: int
    """On how many of them the first artifact failed, which is no score."""
    best_failures: int
    """Likewise the best one."""
    evaluations: int
    """How many evaluations this took, which are not part of the run's tally."""

    @property
    def shows_improvement(self) -> bool:
        """Whether the interval lies above zero."""
        return self.low is not None and self.low > 0

    def __str__(self) -> str:
        """For people."""
        if self.difference is None:
            return f"test: on none of {self.examples} examples did both come to a score"
        verdict = "" if self.shows_improvement else ", no evidence of improvement"
        span = "" if self.low is None else f" (95 %: {self.low:+.3g} to {self.high:+.3g})"
        failed = f", {self.best_failures} failures" if self.best_failures else ""
        return (
            f"test: {self.seed_score:.4g} before and {self.best_score:.4g} after on "
            f"{self.examples} examples, difference {self.difference:+.3g}{span}{failed}{verdict}"
        )


def compared(seed: Sequence[Rollout], best: Sequence[Rollout], *, evaluations: int) -> HeldOut:
    """The comparison, from rollouts on the same examples in the same order."""
    pairs = [
        (one.score, other.score)
        for one, other in zip(seed, best, strict=True)
        if not one.failure and not other.failure
    ]
    gains = [after - before for before, after in pairs]
    mean = fmean(gains) if gains else None
    margin = _SURE * stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else None
    ends = None if mean is None or margin is None else (mean - margin, mean + margin)
    return HeldOut(
        seed_score=_mean(seed),
        best_score=_mean(best),
        difference=mean,
        low=None if ends is None else ends[0],
        high=None if ends is None else ends[1],
        examples=len(seed),
        seed_failures=sum(bool(rollout.failure) for rollout in seed),
        best_failures=sum(bool(rollout.failure) for rollout in best),
        evaluations=evaluations,
    )


def _mean(rollouts: Sequence[Rollout]) -> float | None:
    scores = [rollout.score for rollout in rollouts if not rollout.failure]
    return fmean(scores) if scores else None


def evaluated(
    executor: Executor,
    wanted: Sequence[tuple[Candidate, int]],
    known: Mapping[tuple[str, int], Rollout],
    told: Callable[[tuple[str, int], Rollout], None],
) -> dict[tuple[str, int], Rollout]:
    """The rollouts of these candidates on these examples, by digest and example.

    Args:
        executor: Carries them out.
        wanted: Candidates and examples.
        known: What need not be carried out again.
        told: Is told of each new one.

    Raises:
        WorkerError: one cannot be carried out.
    """
    done = dict(known)
    waiting = {
        (candidate.digest, example): RolloutRequest(candidate, example, traced=False)
        for candidate, example in wanted
        if (candidate.digest, example) not in done
    }
    requests = list(waiting.values())
    while requests or executor.in_flight:
        while requests and executor.in_flight < executor.slots:
            executor.submit(requests.pop(0))
        answer = executor.next_answer()
        if isinstance(answer, Setback):
            raise WorkerError(f"The test set cannot be evaluated: {answer.cause}")
        if isinstance(answer, RolloutAnswer):
            key = (answer.key.candidate, answer.key.example)
            done[key] = answer.rollout
            told(key, answer.rollout)
    return done

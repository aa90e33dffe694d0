"""Evaluations of artifacts on examples that the search did not see."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import RequestFailure, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import WorkerError
from dspy_gepa.run.executor import Executor
from dspy_gepa.store.run_dir import RunDir

__all__ = ["evaluated", "store_rollouts", "stored_rollouts"]

_FILE = "test_scores.json"


def evaluated(
    executor: Executor,
    wanted: Sequence[tuple[Candidate, int]],
    known: Mapping[tuple[str, int], Rollout],
    on_rollout: Callable[[tuple[str, int], Rollout], None],
) -> dict[tuple[str, int], Rollout]:
    """The rollouts of these candidates on these examples, by digest and example.

    Args:
        executor: Carries them out.
        wanted: Candidates and examples.
        known: What need not be carried out again.
        on_rollout: Is told of each new one.

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
        if isinstance(answer, RequestFailure):
            raise WorkerError(f"The test set cannot be evaluated: {answer.cause}")
        if isinstance(answer, RolloutAnswer):
            key = (answer.key.candidate, answer.key.example)
            done[key] = answer.rollout
            on_rollout(key, answer.rollout)
    return done


def stored_rollouts(run_dir: RunDir | None) -> dict[tuple[str, int], Rollout]:
    """What was evaluated on the test set before, in this run."""
    stored = None if run_dir is None else run_dir.read_text(_FILE)
    rows = json.loads(stored) if stored else []
    return {
        (candidate, example): Rollout(score=score, failure=failure)
        for candidate, example, score, failure in rows
    }


def store_rollouts(run_dir: RunDir, known: Mapping[tuple[str, int], Rollout]) -> None:
    """Keep what was evaluated on the test set."""
    rows = [
        [*key, 0.0 if rollout.failure else rollout.score, rollout.failure]
        for key, rollout in known.items()
    ]
    run_dir.write_text(_FILE, json.dumps(rows))

"""The best artifact in a run directory."""

from __future__ import annotations

import json

from dspy_gepa.artifact.evaluator import LONE
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Committed, Event
from dspy_gepa.core.state import RunState
from dspy_gepa.store.run_dir import RunDir

__all__ = ["ArtifactKeeper"]


class ArtifactKeeper:
    """An observer that keeps the best artifact so far in the run directory."""

    def __init__(self, run_dir: RunDir, *, is_lone: bool) -> None:
        self._run_dir = run_dir
        self._is_lone = is_lone
        self._kept: Candidate | None = None

    def __call__(self, event: Event, state: RunState) -> None:
        """Save the best artifact where it is another one than before."""
        if not isinstance(event, Committed) or not state.members:
            return
        best = state.members[state.best].candidate
        if best == self._kept:
            return
        if self._is_lone:
            self._run_dir.write_text("best_artifact.txt", best[LONE])
        else:
            written = json.dumps(dict(best), indent=1, ensure_ascii=False)
            self._run_dir.write_text("best_artifact.json", written)
        self._kept = best

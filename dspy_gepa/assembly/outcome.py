"""What became of a search after its end, as a run directory keeps it: kept, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from dspy_gepa.core.budget import Tally
from dspy_gepa.observe.observer import attempted
from dspy_gepa.result import RunResult
from dspy_gepa.specialists.routing import Routing
from dspy_gepa.store.outcome import keep_fields, kept_fields
from dspy_gepa.store.run_dir import RunDir, StoredRun
from dspy_gepa.values.plain import dataclass_from
from dspy_gepa.verdict.finding import Verdict

__all__ = ["concluded", "with_outcome"]


def concluded(result: RunResult, run_dir: RunDir | None) -> RunResult:
    """The result as what it is from now on, kept where the run is."""
    result = replace(result, is_final=True)
    if run_dir is not None:
        problem = "%s takes no outcome, and tells less of this run than its result does"
        attempted(partial(_keep, run_dir, result), problem, run_dir.path)
    return result


def _keep(run_dir: RunDir, result: RunResult) -> None:
    routing = None if result.routing is None else asdict(result.routing)
    fields = {
        "aggregates": list(result.aggregates),
        "demonstrations": result.demonstrations,
        "demo_tally": asdict(result.demo_tally),
        "further_tally": asdict(result.further_tally),
        "is_stopped": result.is_stopped,
        "routing": routing,
        "verdict": asdict(result.verdict),
        "story": asdict(result.outcome),
    }
    keep_fields(run_dir, result.state, fields)


def with_outcome(result: RunResult, stored: StoredRun) -> RunResult:
    """The result with what was kept; as it is if nothing was, or the run was carried on since.

    Raises:
        JournalCorrupt: what was kept was changed.
    """
    fields: Mapping[str, Any] = kept_fields(stored, result.state)
    if not fields:
        return result
    routing = fields["routing"]
    return replace(
        result,
        aggregates=tuple(fields["aggregates"]),
        demonstrations=fields["demonstrations"],
        demo_tally=dataclass_from(Tally, fields["demo_tally"]),
        further_tally=dataclass_from(Tally, fields["further_tally"]),
        is_stopped=fields["is_stopped"],
        routing=None if routing is None else dataclass_from(Routing, routing),
        verdict=dataclass_from(Verdict, fields["verdict"]),
        is_final=True,
    )

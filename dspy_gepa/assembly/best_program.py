"""The best program in a run directory, and what tells a program and an example from others."""

from __future__ import annotations

from typing import Any

import dspy
import ujson
from dspy.utils.saving import get_dependency_versions

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Committed, Event
from dspy_gepa.core.state import RunState
from dspy_gepa.program.program import build
from dspy_gepa.store.files import write_whole
from dspy_gepa.store.manifest import digest, without_addresses
from dspy_gepa.store.run_dir import RunDir
from dspy_gepa.values.plain import dumps, packed

__all__ = ["BestKeeper", "described_program", "example_digest", "save_best", "sides_of"]

_PROGRAM = "best_program.json"


class BestKeeper:
    """An observer that keeps the best program so far in the run directory."""

    def __init__(self, run_dir: RunDir, student: dspy.Module) -> None:
        self._run_dir = run_dir
        self._student = student
        self._kept: Candidate | None = None

    def __call__(self, event: Event, state: RunState) -> None:
        """Save the best program where it is another one than before."""
        if isinstance(event, Committed) and state.members:
            best = state.members[state.best].candidate
            if best != self._kept:
                save_best(self._run_dir, build(self._student, best))
                self._kept = best


def save_best(run_dir: RunDir, program: dspy.Module) -> None:
    """Keep the program in the run directory, whole or not at all, and without secrets."""
    state, redact = program.dump_state(), run_dir.redact
    if redact.concerns(dumps(packed(state))):
        # As DSPy's `save` does it.
        metadata = {"dependency_versions": get_dependency_versions()}
        fields = redact.hidden({**state, "metadata": metadata})
        write_whole(run_dir.path / _PROGRAM, ujson.dumps(fields, indent=2).encode())
        return
    unfinished = run_dir.path / f"unfinished-{_PROGRAM}"
    try:
        program.save(str(unfinished))
        unfinished.replace(run_dir.path / _PROGRAM)
    finally:
        unfinished.unlink(missing_ok=True)


def sides_of(example: dspy.Example) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs of an example, and its other fields."""
    inputs = dict(example.inputs())
    return inputs, {name: value for name, value in example.items() if name not in inputs}


def example_digest(example: dspy.Example) -> str:
    """What tells an example from others."""
    return digest({"fields": dict(example.items()), "inputs": sorted(example.inputs().keys())})


def described_program(student: dspy.Module) -> dict[str, object]:
    """What a program's predictors are given and answer, and what else is in their prompts."""
    description: dict[str, object] = {}
    # By number: a setting whose name names a secret would be left out.
    for number, (name, predictor) in enumerate(student.named_predictors(), start=1):
        signature = predictor.signature
        sides = (signature.input_fields, signature.output_fields)
        shown = [", ".join(f"{f}: {_type(of.annotation)}" for f, of in s.items()) for s in sides]
        description[f"predictor {number}"] = f"{name}({' -> '.join(shown)})"
        described = [(f, of.json_schema_extra) for side in sides for f, of in side.items()]
        demos = [dict(demo.items()) for demo in getattr(predictor, "demos", ())]
        description[f"descriptions and demonstrations of predictor {number}"] = digest(
            [described, demos]
        )
    return description


def _type(annotation: object) -> str:
    is_class = isinstance(annotation, type)
    return annotation.__qualname__ if is_class else without_addresses(repr(annotation))  # type: ignore[attr-defined]

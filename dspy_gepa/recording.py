"""Where a run is kept: a run directory with the journal, or nowhere."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dspy

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.state import Settings
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.store.manifest import Manifest, digest
from dspy_gepa.store.run_dir import RunDir

__all__ = ["opened", "save_best"]

_PROGRAM = "best_program.json"


def opened(
    path: str,
    *,
    seed: Candidate,
    settings: Settings,
    table: ExampleTable,
    metric: str,
    models: Mapping[str, Any],
) -> RunDir:
    """The run directory at this path, for this run: a new one, or one to carry on from.

    Args:
        path: The directory; made where it is not there.
        seed: The student's texts.
        settings: What the search is asked to do.
        table: The examples.
        metric: The metric's name.
        models: What each model is used for, and the model.

    Raises:
        JournalMismatch: the directory holds another run. Lists the differences.
        JournalError: it cannot be used.
    """
    manifest = Manifest(
        candidate=seed,
        examples=tuple(_digest(example) for example in table.examples),
        train=table.train,
        validation=table.validation,
        max_metric_calls=settings.max_metric_calls,
        seed=settings.seed,
        settings={**_by_name(settings), "metric": metric},
        models={use: _described(model) for use, model in models.items()},
        versions={
            "dspy_gepa": version("dspy_gepa"),
            "dspy": version("dspy"),
            "python": platform.python_version(),
        },
    )
    return RunDir(path, manifest, adopt=["max_metric_calls"], secrets=_secrets(models))


def save_best(folder: Path, program: dspy.Module) -> None:
    """Keep the program in the run directory, whole or not at all."""
    unfinished = folder / f"unfinished-{_PROGRAM}"
    program.save(str(unfinished))
    unfinished.replace(folder / _PROGRAM)


def _digest(example: dspy.Example) -> str:
    return digest({"fields": dict(example.items()), "inputs": sorted(example.inputs().keys())})


def _by_name(settings: Settings) -> dict[str, object]:
    """Everything that decides what happens, functions by their names."""
    left_out = {"train", "validation", "max_metric_calls", "seed"}
    return {
        name: value if isinstance(value, (bool, int, float)) else _name(value)
        for name in settings.__dataclass_fields__
        if name not in left_out
        for value in [getattr(settings, name)]
    }


def _name(strategy: object) -> str:
    return str(getattr(strategy, "__qualname__", None) or repr(strategy))


def _described(model: Any) -> dict[str, object]:
    """A model by its name and how it answers; where it is served may change from run to run."""
    kwargs = getattr(model, "kwargs", {})
    kept = ("temperature", "max_tokens", "top_p", "reasoning_effort")
    return {
        "model": str(getattr(model, "model", None) or _name(model)),
        **{name: kwargs[name] for name in kept if kwargs.get(name) is not None},
    }


def _secrets(models: Mapping[str, Any]) -> Iterator[str]:
    for model in models.values():
        if key := getattr(model, "kwargs", {}).get("api_key"):
            yield str(key)
    yield from (value for name, value in os.environ.items() if name.endswith("_API_KEY"))

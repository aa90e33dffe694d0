"""What a config asks for, as a call of `GEPA` or of `optimize_anything`."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from dspy_gepa.anything import improvement_for, optimize_anything
from dspy_gepa.command.arguments import annotations_of, argument, check_known, is_none, program_of
from dspy_gepa.command.code import called, object_named, open_folders
from dspy_gepa.command.config_file import ConfigFile
from dspy_gepa.command.models import model_of
from dspy_gepa.core.forecast import forecast
from dspy_gepa.errors import JournalError, SettingsError
from dspy_gepa.gepa import GEPA
from dspy_gepa.improvement.config import AnythingArguments
from dspy_gepa.models.catching import Failed, catching
from dspy_gepa.observe.observer import Observer
from dspy_gepa.plan import Plan
from dspy_gepa.result import RunResult
from dspy_gepa.run.interruption import INTERRUPTED
from dspy_gepa.store.files import write_whole

__all__ = ["PlannedCall", "Ran", "call_of", "log_dir_of"]

_CONSTRUCTOR, _COMPILE = annotations_of(GEPA.__init__), annotations_of(GEPA.compile)
_ANYTHING = annotations_of(optimize_anything)
_ELSEWHERE = frozenset({"student", "seed_candidate", "test_set", "config", "batch_evaluator"})
"""Arguments that have another name in a config, or none."""
_OF_PROGRAM = frozenset({"program", "inputs", "lm", "save"})
_OF_ARTIFACT = frozenset({"lm", "save"})


@dataclass(frozen=True, slots=True)
class Ran:
    """What a call came to."""

    result: RunResult
    save: Callable[[Path], None]
    """Saves the program or the artifact. Raises JournalError if it cannot."""
    recipe: str
    """How what was saved is used."""

    @property
    def was_interrupted(self) -> bool:
        """Whether somebody pressed Ctrl-C, in the search or in what follows it."""
        words = (self.result.stop_reason, self.result.verdict.reason, self.result.demonstrations)
        return any(INTERRUPTED in each or "was interrupted" in each for each in words)


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that can be made, or planned."""

    what: str
    """What is improved, as the config names it."""
    plan: Callable[[], Plan]
    run: Callable[[str | None, Sequence[Observer]], Ran]
    """Given the run directory and who is told of events."""
    save: Path | None
    """Where what comes of it is saved."""


def call_of(config: ConfigFile) -> PlannedCall:
    """The call that a config asks for.

    Raises:
        SettingsError: a setting is wrong, or what it names cannot be found.
    """
    known_of_program = {*_CONSTRUCTOR, *_COMPILE, *_OF_PROGRAM} - _ELSEWHERE
    known_of_artifact = {*_ANYTHING, *_OF_ARTIFACT} - _ELSEWHERE
    has_program = "program" in config.values
    has_artifact = not {"artifact", "evaluator"}.isdisjoint(config.values)
    if has_program == has_artifact:
        check_known(config, sorted(known_of_program | known_of_artifact))
        both = "both a program and an artifact" if has_program else "neither"
        raise SettingsError(
            f'{config.name} names {both}. To improve a program: program = "file.py:name", metric '
            'and trainset. To improve a text: artifact = "prompt.txt" and evaluator.'
        )
    check_known(config, sorted(known_of_program if has_program else known_of_artifact))
    open_folders(config)
    return _of_program(config) if has_program else _of_artifact(config)


def log_dir_of(config: ConfigFile) -> Path | None:
    """The run directory; by default it stands beside the config. None if none is wanted."""
    given = config.values.get("log_dir", f"{config.path.stem}-run")
    if is_none(given) or given is False:
        return None
    if not isinstance(given, str) or not given.strip():
        raise SettingsError(
            f"{config.name}: log_dir = {given!r} was given; a path is needed, or false for none."
        )
    return config.beside(given)


def _of_program(config: ConfigFile) -> PlannedCall:
    for name, example in (("metric", "file.py:metric"), ("trainset", "train.jsonl")):
        if name not in config.values:
            raise SettingsError(f'{config.name} has no {name}. Name one: {name} = "{example}".')
    save = _save_path(config, ".json")
    program = program_of(config, "program", config.values["program"])
    metric = _metric(config)
    lm = _lm(config)
    given = {
        name: argument(config, name, annotation, of_program=True)
        for name, annotation in {**_COMPILE, **_CONSTRUCTOR}.items()
        if name in config.values and name not in ("metric", "log_dir")
    }
    only_compile = [name for name in _COMPILE if name in given and name not in _CONSTRUCTOR]
    for_compile = {name: given.pop(name) for name in only_compile}

    def optimizer(log_dir: str | None = None, observers: Sequence[Observer] = ()) -> GEPA:
        told = [*given.get("observers", ()), *observers]
        return GEPA(metric, **{**given, "log_dir": log_dir, "observers": told})

    def plan() -> Plan:
        beside = ("valset", "heldout")
        sets = {name: for_compile[name] for name in beside if name in for_compile}
        with dspy.context(**lm), contextlib.redirect_stdout(io.StringIO()):
            return optimizer().plan(program, for_compile["trainset"], **sets)

    def run(log_dir: str | None, observers: Sequence[Observer]) -> Ran:
        compiling = optimizer(log_dir, observers)
        with dspy.context(**lm):
            better = compiling.compile(program, **for_compile)
        return Ran(
            compiling.result,
            lambda path: _saved(path, lambda: better.save(str(path))),
            'program.load("{}")',
        )

    _check_has_model(config, program, lm)
    optimizer()
    return PlannedCall(str(config.values["program"]), plan, run, save)


def _of_artifact(config: ConfigFile) -> PlannedCall:
    save = _save_path(config, "")
    lm = _lm(config)
    given = {
        name: argument(config, name, annotation, of_program=False)
        for name, annotation in _ANYTHING.items()
        if name in config.values and name != "log_dir"
    }
    if not lm and given.get("reflection_lm") is None and dspy.settings.lm is None:
        raise SettingsError(
            f"{config.name} names no model that could write better texts: "
            'reflection_lm = "openai/gpt-5", for instance.'
        )

    def plan() -> Plan:
        with dspy.context(**lm):
            asked = AnythingArguments(artifact=None, evaluator=None).with_arguments(given)
            planned = improvement_for(asked)
        test = 2 * len(planned.table.anchors)
        return Plan(forecast(planned.settings), tuple(planned.asked.seed), verdict=test)

    def run(log_dir: str | None, observers: Sequence[Observer]) -> Ran:
        told = [*given.get("observers", ()), *observers]
        with dspy.context(**lm):
            made = optimize_anything(**{**given, "log_dir": log_dir, "observers": told})
        best = made.optimized_artifact
        text = best if isinstance(best, str) else json.dumps(best, indent=1, ensure_ascii=False)
        return Ran(
            made.run,
            lambda path: _saved(
                path, lambda: write_whole(path, text.encode("utf-8"), "name another file")
            ),
            "",
        )

    return PlannedCall(str(config.values.get("artifact", "an artifact"))[:80], plan, run, save)


def _lm(config: ConfigFile) -> dict[str, Any]:
    """What DSPy is told for the time of the call: the model that runs the program."""
    given = config.values.get("lm")
    return {} if is_none(given) else {"lm": model_of(config, "lm", given)}


def _metric(config: ConfigFile) -> Any:
    found = object_named(config, "metric", config.values["metric"])
    # The ready-made ones are classes.
    is_class = isinstance(found, type)
    return called(config, "metric", config.values["metric"], found) if is_class else found


def _check_has_model(config: ConfigFile, program: dspy.Module, lm: dict[str, Any]) -> None:
    predictors = program.predictors()
    has_own = bool(predictors) and all(getattr(each, "lm", None) for each in predictors)
    has_other = not is_none(config.values.get("task_model")) or dspy.settings.lm is not None
    if lm or has_own or has_other:
        return
    raise SettingsError(
        f'{config.name} names no model that runs the program: lm = "openai/gpt-4.1-mini", for '
        "instance."
    )


def _save_path(config: ConfigFile, ending: str) -> Path | None:
    """Where the result is saved; checked before anything is paid for.

    Raises:
        SettingsError: nothing can be saved there.
    """
    given = config.values.get("save")
    if is_none(given):
        return None
    shown = f"{config.name}: save = {given!r:.200}"
    if not isinstance(given, str) or not given.strip() or not given.endswith(ending):
        raise SettingsError(f"{shown} was given; the name of a {ending or 'text'} file is needed.")
    path = config.beside(given)
    if path.is_dir():
        raise SettingsError(f"{shown} is a folder; the name of a file is needed.")
    if not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(f"{shown}: {path} cannot be written. Name a folder that there is.")
    return path


def _saved(path: Path, save: Callable[[], object]) -> None:
    saved = catching(save)
    if isinstance(saved, Failed):
        raise JournalError(f"{path} cannot be saved: {' '.join(str(saved.error).split())}")

"""One optimizer on one task with one seed: carried out, scored, and kept in a file of its own."""

from __future__ import annotations

import contextvars
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import dspy
from mailbox_lm import waited_seconds
from report import surroundings, write_record
from search_efficiency import quiet
from task import Task
from task_source import Source
from tasks import load

from dspy_gepa.models.outages import outage_in
from rivals import AS_GIVEN, OPTIMIZERS
from rivals.contest import Contest, Limited, Missing, OverLimit, Unsuited, Watch
from rivals.lms import LMs, Meter, Spent

__all__ = ["Cell", "Sizes", "carried_out", "drawn", "without_score"]

_ERRORS_ALLOWED = 1_000_000
"""A model's unreadable answers score 0; they end no optimizer."""


@dataclass(frozen=True)
class Sizes:
    """At most so many examples of each split; None for all."""

    train: int | None = None
    validation: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class Cell:
    """One optimizer on one task with one seed, and the file of what came out."""

    task: str
    optimizer: str
    seed: int
    settings: dict[str, Any]
    """What the result depends on beside these, as far as the command line says it."""
    folder: Path

    @property
    def path(self) -> Path:
        """Its file; other settings have another one."""
        own = dict(self.settings)
        if not OPTIMIZERS[self.optimizer].reflects:
            del own["reflection_model"]
        if self.optimizer == AS_GIVEN:
            del own["budget"]
        digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]
        name = "-".join((self.task, self.optimizer.replace(" ", "_"), str(self.seed), digest))
        return self.folder / f"{name}.json"

    def kept(self) -> dict[str, Any] | None:
        """What came out, if it was carried out.

        Raises:
            SystemExit: its file holds something else.
        """
        if not self.path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(self.path.read_text("utf-8"))
        except ValueError as error:
            raise SystemExit(f"{self.path} cannot be read ({error}). Delete it.") from error
        return record

    def keep(self, found: dict[str, Any]) -> None:
        """Write what came out; the file appears whole."""
        heading = {"task": self.task, "optimizer": self.optimizer, "seed": self.seed}
        record = {**heading, "settings": self.settings, **found}
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        write_record(part, {**record, **surroundings("dspy_gepa", "dspy", "gepa", "litellm")})
        part.replace(self.path)


def drawn(name: str, source: Source, seed: int, sizes: Sizes) -> Task:
    """The task with as many examples as were asked for, which the seed draws."""
    task = load(name, source, seed)

    def some(split: str, rows: list[dspy.Example], count: int | None) -> list[dspy.Example]:
        if count is None or count >= len(rows):
            return rows
        chosen = Random(f"{name} {seed} {split}").sample(range(len(rows)), count)
        return [rows[place] for place in sorted(chosen)]

    return replace(
        task,
        train=some("train", task.train, sizes.train),
        validation=some("validation", task.validation, sizes.validation),
        test=some("test", task.test, sizes.test),
    )


def without_score(*, missing: str = "", problem: str = "") -> dict[str, Any]:
    """What a cell says that has none."""
    return {
        "missing": missing,
        "unsuited": "",
        "problem": problem,
        "notes": [],
        "metric_calls": 0,
        "refused": 0,
    }


def carried_out(cell: Cell, task: Task, lms: LMs, *, num_threads: int) -> dict[str, Any]:
    """What an optimizer made, what that scores on unseen examples, and what it cost.

    Whatever breaks it is told as "problem", and what is not here as "missing".
    """
    # No optimizer works with examples that another one had.
    task = replace(task, train=deepcopy(task.train), validation=deepcopy(task.validation))
    watch = Watch(task)
    metric = Limited(task.metric, cell.settings["budget"], watch)
    contest = Contest(task, lms.task, lms.reflection, metric, cell.seed, num_threads)
    row = without_score()
    try:
        OPTIMIZERS[cell.optimizer].check(len(task.program.predictors()))
        with _measured(lms, row):
            program = _made(cell.optimizer, contest, row["notes"])
        row |= _tested(program, contest, lms.task_meter)
    except Missing as error:
        row["missing"] = str(error)
    except Unsuited as error:
        row["unsuited"] = str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what breaks a rival is a result
        row["problem"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    _look_for_failures(row)
    return row | {"metric_calls": metric.calls, "refused": metric.refused}


def _made(name: str, contest: Contest, notes: list[str]) -> dspy.Module:
    """The optimizer's program; the best so far of one that went above the limit."""
    metric = contest.metric
    settings = {"lm": contest.task_lm, "callbacks": [metric.watch], "max_errors": _ERRORS_ALLOWED}
    try:
        with quiet(), dspy.context(**settings):
            program = OPTIMIZERS[name].compile(contest)
    except (Exception, OverLimit) as error:
        # Some optimizers make another error of the refusal.
        if not metric.refused:
            raise
        so_far = metric.watch.best()
        program = contest.student()
        if so_far.state is not None:
            program.load_state(so_far.state)
        raised = "" if isinstance(error, OverLimit) else f" (as {type(error).__name__})"
        notes.append(f"stopped at {metric.limit} metric calls{raised}; {so_far.why}")
    else:
        if metric.refused:
            notes.append(f"stopped at {metric.limit} metric calls; its own best so far")
    return program


@contextmanager
def _measured(lms: LMs, row: dict[str, Any]) -> Iterator[None]:
    """Put what the LMs were asked, and how long it took, into the row."""
    meters = {"task_lm": lms.task_meter, "reflection_lm": lms.reflection_meter}
    before = {role: meter.spent for role, meter in meters.items()}
    began, waited = time.perf_counter(), waited_seconds(lms.reflection)
    try:
        yield
    finally:
        seconds = time.perf_counter() - began - (waited_seconds(lms.reflection) - waited)
        row["minutes"] = seconds / 60
        for role, meter in meters.items():
            row[role] = meter.spent.since(before[role])._asdict()
            row[f"{role}_failure"] = meter.failure


def _tested(program: dspy.Module, contest: Contest, meter: Meter) -> dict[str, Any]:
    """The score of each test example, of the program as it is after saving and loading.

    Raises:
        Missing: no call of the model got through.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.json"
        program.save(path)
        state = json.loads(path.read_text("utf-8"))
        fresh = contest.student()
        with quiet():  # DSPy warns of other versions of itself
            fresh.load(path)
    fresh.set_lm(None)
    before = meter.spent
    with dspy.context(lm=contest.task_lm):
        scores, crash = _row_scores(fresh, contest)
    _check_model("task", meter.spent.since(before), meter.failure)
    notes = {"crash": crash} if crash else {}
    return {"scores": scores, "program": state, **notes}


def _row_scores(program: dspy.Module, contest: Contest) -> tuple[list[float], str]:
    """The score on each test example; an answer that cannot be read or used scores 0.

    What ended the last run that crashed comes beside.

    Raises:
        RuntimeError: all of them crashed.
        Exception: a model cannot be reached.
    """
    crashes: list[str] = []

    def score(example: dspy.Example) -> float:
        try:
            prediction = program(**example.inputs())
        except dspy.AdapterParseError:
            return 0.0
        except Exception as error:
            if outage_in(error) is not None:
                raise
            crashes.append(f"{type(error).__name__}: {error}".splitlines()[0][:200])
            return 0.0
        return float(contest.task.metric(example, prediction).score)

    with quiet(), ThreadPoolExecutor(contest.num_threads) as pool:
        # A pool's threads start without the caller's context, and DSPy keeps the LM in it.
        jobs = [
            pool.submit(contextvars.copy_context().run, score, each) for each in contest.task.test
        ]
        try:
            scores = [job.result() for job in jobs]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if len(crashes) == len(scores) > 0:
        # Something that the program needs is not here, or it is no program.
        raise RuntimeError(f"Every test run crashed: {crashes[-1]}")
    return scores, f"{len(crashes)} test runs crashed: {crashes[-1]}" if crashes else ""


def _look_for_failures(row: dict[str, Any]) -> None:
    """Say which calls of the models failed; where all did, the model is what is missing."""
    for role, name in (("task_lm", "task"), ("reflection_lm", "reflection")):
        failure = row.pop(f"{role}_failure", "")
        spent = Spent(**row[role]) if role in row else Spent()
        try:
            _check_model(name, spent, failure)
        except Missing as error:
            row["missing"], row["problem"] = str(error), ""
            row.pop("scores", None)
        else:
            if spent.failed:
                row["notes"].append(_failed_calls(name, spent, failure))
    if "crash" in row:
        row["notes"].append(row.pop("crash"))


def _check_model(name: str, spent: Spent, failure: str) -> None:
    if spent.failed == spent.calls > 0:
        raise Missing(_failed_calls(name, spent, failure))


def _failed_calls(name: str, spent: Spent, failure: str) -> str:
    return f"{spent.failed} of {spent.calls} calls of the {name} model failed: {failure}"

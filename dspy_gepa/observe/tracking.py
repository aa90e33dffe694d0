"""Runs written down in an experiment tracker: MLflow or Weights & Biases.

A run of the tracker's that the user has begun is used and left open. All calls come from the
thread from which our run was begun, because such runs belong to a thread or a process.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, fields
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.events import Committed, Ended, Event
from dspy_gepa.core.frontier import mean_scores
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.errors import MissingExtra, SettingsError

__all__ = ["MlflowTracker", "Table", "Tracker", "WandbTracker"]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_VERDICTS = ("accepted", "rejected", "skipped", "failed")


class Table(NamedTuple):
    """Rows under named columns."""

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


class Tracker(ABC):
    """An observer that follows a run from its first event on, and writes it down.

    The tracker's own run ends at `Ended`; or, where proposals are still under way then, and where
    a run ends by an exception, when `close` is called. It can follow one run after the other.
    """

    def __init__(self, key_prefix: str) -> None:
        self._prefix = key_prefix
        self._last: RunState | None = None

    def __call__(self, event: Event, state: RunState) -> None:
        """Write down what an event changes."""
        if self._last is None:
            if state.ending and not isinstance(event, Ended):
                return  # late news of a run that is closed already
            self._last = state
            self._begin(self._named(_settings(state.settings)))
        self._last = state
        match event:
            case Committed(ticket, verdict):
                self._note(ticket, verdict.kind, self._named(_numbers(state, ticket)))
            case Ended() if not state.live:
                self.close()

    def close(self) -> None:
        """Write down the outcome and end what was begun; nothing the second time.

        What the tracker's server or the disk refuses is logged, not raised.
        """
        state, self._last = self._last, None
        if state is None:
            return
        try:
            try:
                self._conclude(state)
            finally:
                self._end(state)
        except self._refusals() as error:
            logger.warning("%s could not close its run: %s", type(self).__name__, error)

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{self._prefix}{name}": value for name, value in values.items()}

    @abstractmethod
    def _begin(self, settings: Mapping[str, object]) -> None:
        """Find or begin a run, and write down the settings."""

    @abstractmethod
    def _note(self, ticket: int, verdict: str, numbers: Mapping[str, float]) -> None:
        """Write down where the run stands after a proposal."""

    @abstractmethod
    def _conclude(self, state: RunState) -> None:
        """Write down the outcome, where a run was begun."""

    @abstractmethod
    def _end(self, state: RunState) -> None:
        """End the run, where it is ours."""

    @abstractmethod
    def _refusals(self) -> tuple[type[Exception], ...]:
        """What the tracker raises when it cannot do its work."""


class MlflowTracker(Tracker):
    """Writes to the active MLflow run, or else to one of its own.

    Settings become parameters, every proposal a step of the metrics, and candidates and proposals
    tables among the artifacts.

    Args:
        tracking_uri: Where MLflow keeps its runs, set for the whole process as `dspy.GEPA` does
            it; not used where a run is active.
        experiment_name: The experiment of a run of its own, also set for the process.
        key_prefix: Stands before every name.

    Raises:
        MissingExtra: mlflow is not installed.
    """

    def __init__(
        self,
        *,
        tracking_uri: str | None = None,
        experiment_name: str | None = None,
        key_prefix: str = "gepa/",
    ) -> None:
        super().__init__(key_prefix)
        self._mlflow = _mlflow()
        self._tracking_uri = tracking_uri
        self._experiment_name = experiment_name
        self._run_id = ""
        self._is_own = False

    def _begin(self, settings: Mapping[str, object]) -> None:
        mlflow = self._mlflow
        self._run_id, self._is_own = "", False
        run = mlflow.active_run()
        if run is None:
            if self._tracking_uri is not None:
                mlflow.set_tracking_uri(self._tracking_uri)
            if self._experiment_name is not None:
                mlflow.set_experiment(self._experiment_name)
            run = mlflow.start_run()
            self._is_own = True
        self._run_id = run.info.run_id
        # A parameter is set once: a second compile in the same run must not fail for it.
        known = mlflow.get_run(self._run_id).data.params
        new = {name: value for name, value in settings.items() if name not in known}
        mlflow.log_params(new, run_id=self._run_id)

    def _note(self, ticket: int, verdict: str, numbers: Mapping[str, float]) -> None:  # noqa: ARG002 - metrics are numbers; the counts of verdicts are among them
        self._mlflow.log_metrics(dict(numbers), step=ticket, run_id=self._run_id)

    def _conclude(self, state: RunState) -> None:
        if not self._run_id:
            return
        for name, table in self._named(_tables(state)).items():
            cells = dict(zip(table.columns, zip(*table.rows, strict=True), strict=False))
            columns = {column: list(values) for column, values in cells.items()}
            if columns:
                self._mlflow.log_table(columns, f"{name}.json", run_id=self._run_id)
        for name, texts in self._named(_best(state)).items():
            self._mlflow.log_dict(texts, f"{name}.json", run_id=self._run_id)

    def _end(self, state: RunState) -> None:
        if not self._is_own:
            return
        mlflow, run_id, self._is_own = self._mlflow, self._run_id, False
        status = "FAILED" if _has_failed(state) else "FINISHED"
        active = mlflow.active_run()
        if active is not None and active.info.run_id == run_id:
            mlflow.end_run(status)
        else:
            # Another run was put on top of ours, and is not ours to end.
            mlflow.MlflowClient().set_terminated(run_id, status)

    def _refusals(self) -> tuple[type[Exception], ...]:
        return (self._mlflow.exceptions.MlflowException, OSError)


class WandbTracker(Tracker):
    """Writes to the active run of Weights & Biases, or else to one of its own.

    Settings go to the run's configuration, every proposal is a point on the axis
    `<key_prefix>proposal`, so that a step counter of the user's is left alone, and candidates and
    proposals become tables.

    Args:
        wandb_api_key: Logs this process in, at once. It is kept nowhere: not here, not in the
            run, and not in the user's netrc file.
        wandb_init_kwargs: What `wandb.init` is given where no run is active.
        key_prefix: Stands before every name.

    Raises:
        MissingExtra: wandb is not installed.
        SettingsError: the key cannot be one.
    """

    def __init__(
        self,
        *,
        wandb_api_key: str | None = None,
        wandb_init_kwargs: Mapping[str, Any] | None = None,
        key_prefix: str = "gepa/",
    ) -> None:
        super().__init__(key_prefix)
        self._wandb = _wandb()
        self._init_kwargs = dict(wandb_init_kwargs or {})
        self._run: Any = None
        self._is_own = False
        if wandb_api_key is not None and self._wandb.run is None:
            try:
                # Not `wandb.login(key=...)`, which writes the key to a file.
                self._wandb.setup(settings=self._wandb.Settings(api_key=wandb_api_key))
            except self._wandb.Error as error:
                raise SettingsError(f"wandb refuses the wandb_api_key: {error}") from error

    def _begin(self, settings: Mapping[str, object]) -> None:
        self._is_own = self._wandb.run is None
        # Forgotten first: where `init` raises there is no run to write to.
        self._run = None
        self._run = self._wandb.init(**self._init_kwargs) if self._is_own else self._wandb.run
        self._run.config.update(dict(settings), allow_val_change=True)
        axis = f"{self._prefix}proposal"
        self._run.define_metric(axis)
        for name in self._named(dict.fromkeys((*_NUMBERS, "verdict"))):
            self._run.define_metric(name, step_metric=axis)

    def _note(self, ticket: int, verdict: str, numbers: Mapping[str, float]) -> None:
        point = self._named({"proposal": ticket, "verdict": verdict})
        self._run.log({**point, **numbers})

    def _conclude(self, state: RunState) -> None:
        if self._run is None:
            return
        tables = {
            name: self._wandb.Table(list(table.columns), [list(row) for row in table.rows])
            for name, table in _tables(state).items()
        }
        self._run.log(self._named(tables))
        for name, texts in self._named(_best(state)).items():
            self._run.summary[name] = texts

    def _end(self, state: RunState) -> None:
        run, self._run = self._run, None
        if run is not None and self._is_own:
            run.finish(exit_code=int(_has_failed(state)))

    def _refusals(self) -> tuple[type[Exception], ...]:
        return (self._wandb.Error, OSError)


_NUMBERS = (
    "best_score",
    "metric_calls",
    "rollouts",
    "reflection_calls",
    "members",
    "member_score",
    *(f"proposals_{kind}" for kind in _VERDICTS),
)
"""The names that `_numbers` gives."""


def _mlflow() -> Any:
    try:
        import mlflow  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415 - an extra, which takes seconds to import
    except ImportError as error:
        raise MissingExtra("mlflow", "mlflow") from error
    return mlflow


def _wandb() -> Any:
    try:
        import wandb  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("wandb", "wandb") from error
    return wandb


def _settings(settings: Settings) -> dict[str, object]:
    """The settings as plain values; of the sets, their sizes."""
    plain: dict[str, object] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, Limits):
            given = {f"max_{unit}": limit for unit, limit in asdict(value).items()}
            plain |= {name: limit for name, limit in given.items() if limit is not None}
        elif isinstance(value, tuple):
            plain[f"{field.name}_examples"] = len(value)
        elif isinstance(value, (bool, int, float, str)) or value is None:
            plain[field.name] = value
        else:
            # A strategy, by its name alone: what it holds may be examples.
            named = value if isinstance(value, FunctionType) else type(value)
            plain[field.name] = named.__name__
    return plain


def _numbers(state: RunState, ticket: int) -> dict[str, float]:
    """Where the run stands after this proposal; scores only if there is something scored."""
    tally = state.tally
    counts: Counter[str] = Counter(settlement.verdict.kind for settlement in state.history[1:])
    numbers: dict[str, float] = {
        "metric_calls": tally.metric_calls,
        "rollouts": tally.rollouts,
        "reflection_calls": tally.reflection_calls,
        "total_tokens": tally.total_tokens,
        "usd": tally.usd,
        "members": len(state.members),
        **{f"proposals_{kind}": counts[kind] for kind in _VERDICTS},
    }
    if state.members:
        means = mean_scores(state.scores)
        numbers["best_score"] = float(means[state.best])
        if state.members[-1].ticket == ticket:
            numbers["member_score"] = float(means[-1])
    return {name: value for name, value in numbers.items() if np.isfinite(value)}


def _tables(state: RunState) -> dict[str, Table]:
    """The members with their texts, and all proposals with their verdicts."""
    components = tuple(state.members[0].candidate) if state.members else ()
    means = mean_scores(state.scores).tolist()
    candidates = Table(
        (
            *("member", "is_best", "parents", "score", "scored_examples", "proposal"),
            *(f"text.{component}" for component in components),
        ),
        [
            (
                position,
                position == state.best,
                ", ".join(map(str, member.parents)),
                means[position],
                int(np.count_nonzero(~np.isnan(member.scores))),
                member.ticket,
                *member.candidate.values(),
            )
            for position, member in enumerate(state.members)
        ],
    )
    proposals = Table(
        ("proposal", "origin", "parents", "verdict", "reason", "metric_calls"),
        [
            (
                ticket,
                type(settlement.origin).__name__.lower(),
                ", ".join(map(str, settlement.origin.parents)),
                settlement.verdict.kind,
                settlement.verdict.reason,
                settlement.charge.metric_calls,
            )
            for ticket, settlement in enumerate(state.history)
        ],
    )
    return {"candidates": candidates, "proposals": proposals}


def _best(state: RunState) -> dict[str, dict[str, str]]:
    """The best member's texts; empty if there is no member."""
    if not state.members:
        return {}
    return {"best_candidate": dict(state.members[state.best].candidate)}


def _has_failed(state: RunState) -> bool:
    """Whether work broke down, or the run was left without an end."""
    return state.is_broken or not state.ending

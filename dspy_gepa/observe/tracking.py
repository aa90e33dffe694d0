"""The story of a run in an experiment tracker: MLflow or Weights & Biases.

Numbers come after every proposal, tables and the verdict when the call is over, so that they hold
what came after the search as well. What is sent is settings, texts of the program, scores, reasons
of verdicts and what was spent; no example, no answer and no word of a metric, unless such a text or
reason quotes it. In all of it references stand in place of known secrets: of those that a run
directory would not hold either. All calls come from the thread from which our run was begun,
because such runs belong to a thread or a process.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dspy_gepa.core.events import Committed, Event
from dspy_gepa.core.state import RunState
from dspy_gepa.errors import MissingExtra, SettingsError
from dspy_gepa.observe.telling import Telling
from dspy_gepa.story.now import Now
from dspy_gepa.story.parts import Moment
from dspy_gepa.story.story import Story
from dspy_gepa.views.page.shortening import without_middle
from dspy_gepa.views.tables import rows_of
from dspy_gepa.views.text import summary_of

__all__ = ["MlflowTracker", "Tracker", "WandbTracker"]

_LONGEST_PARAMETER = 5_900
"""Characters. MLflow takes 6,000, and what is left out has to be said."""
_VERDICTS = ("accepted", "rejected", "skipped", "failed")

Rows = Sequence[Mapping[str, Any]]


class Tracker(ABC):
    """An observer that writes a run down, from before its first model call to its end.

    It can follow one run after the other.

    Args:
        telling: Knows the story so far, and gives it whole once the call is over.
        key_prefix: Stands before every name.
    """

    def __init__(self, telling: Telling, key_prefix: str) -> None:
        self._telling = telling
        self._prefix = key_prefix

    def begun(self, state: RunState) -> None:  # noqa: ARG002 - an observer's
        """Begin a run with its settings, and with the course so far where it is carried on."""
        story = self._telling.story
        assert story is not None
        # Before it is begun: if that fails half way, what there is of it is ended too.
        self._telling.tell_at_end(self)
        self._begin(self._named(self._hidden(_settings(story))))
        for moment in story.curve:
            self._told(moment.proposal, _numbers_then(moment))

    def __call__(self, event: Event, state: RunState) -> None:  # noqa: ARG002 - an observer's
        """Write down where the run stands after a proposal."""
        if not isinstance(event, Committed):
            return
        if (now := self._telling.current(self._telling.now())) is not None:
            self._told(event.ticket, _numbers(event.ticket, now))

    def over(self, story: Story, *, has_failed: bool) -> None:
        """Write down how the call ended, and end what was begun."""
        try:
            rows = rows_of(story)
            tables = {
                "members": _plain(rows.members),
                "proposals": _plain(rows.proposals),
                "spending": _plain(rows.spending),
            }
            self._conclude(self._hidden(_outcome(story)), self._named(self._hidden(tables)))
        finally:
            self._end(has_failed=has_failed)

    def _told(self, proposal: int, numbers: Mapping[str, float]) -> None:
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self._note(proposal, self._named(finite))

    def _hidden(self, values: dict[str, Any]) -> dict[str, Any]:
        """The same without secrets: it leaves the process, and a server's words may quote a key."""
        hidden: dict[str, Any] = self._telling.without_secrets(values)
        return hidden

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{self._prefix}{name}": value for name, value in values.items()}

    @abstractmethod
    def _begin(self, settings: Mapping[str, object]) -> None:
        """Begin a run, or use the user's, and write down the settings."""

    @abstractmethod
    def _note(self, proposal: int, numbers: Mapping[str, float]) -> None:
        """Write down where the run stands after a proposal."""

    @abstractmethod
    def _conclude(self, outcome: Mapping[str, Any], tables: Mapping[str, Rows]) -> None:
        """Write down the outcome: "headline", "summary", and "returned" if there is a member."""

    @abstractmethod
    def _end(self, *, has_failed: bool) -> None:
        """End the run, if it is ours."""


class MlflowTracker(Tracker):
    """Writes to a run of MLflow's: nested in the active one, if there is one.

    Settings become parameters, every proposal a step of the metrics, and members, proposals and
    spending tables among the artifacts.

    Args:
        telling: Knows the story.
        tracking_uri: Where MLflow keeps its runs, set for the whole process as `dspy.GEPA` does
            it; not used where a run is active.
        experiment_name: The experiment, also set for the process; not used where a run is active,
            because a nested run is in the experiment of the one around it.
        key_prefix: Stands before every name.

    Raises:
        MissingExtra: mlflow is not installed.
    """

    def __init__(
        self,
        telling: Telling,
        *,
        tracking_uri: str | None = None,
        experiment_name: str | None = None,
        key_prefix: str = "gepa/",
    ) -> None:
        super().__init__(telling, key_prefix)
        self._mlflow = _mlflow()
        self._tracking_uri = tracking_uri
        self._experiment_name = experiment_name
        self._run_id = ""

    def _begin(self, settings: Mapping[str, object]) -> None:
        mlflow, self._run_id = self._mlflow, ""
        around = mlflow.active_run()
        if around is None:
            if self._tracking_uri is not None:
                mlflow.set_tracking_uri(self._tracking_uri)
            if self._experiment_name is not None:
                mlflow.set_experiment(self._experiment_name)
            run = mlflow.start_run()
        else:
            run = mlflow.start_run(nested=True, experiment_id=around.info.experiment_id)
        self._run_id = run.info.run_id
        texts = {name: str(value) for name, value in settings.items()}
        mlflow.log_params(
            {name: without_middle(text, _LONGEST_PARAMETER).text for name, text in texts.items()},
            run_id=self._run_id,
        )

    def _note(self, proposal: int, numbers: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(numbers), step=proposal, run_id=self._run_id)

    def _conclude(self, outcome: Mapping[str, Any], tables: Mapping[str, Rows]) -> None:
        if not self._run_id:
            return
        mlflow, run_id = self._mlflow, self._run_id
        mlflow.MlflowClient().set_tag(run_id, "mlflow.note.content", outcome["summary"])
        for name, rows in tables.items():
            columns = {each: [row.get(each) for row in rows] for each in _columns(rows)}
            if columns:
                mlflow.log_table(columns, f"{name}.json", run_id=run_id)
        if "returned" in outcome:
            mlflow.log_dict(outcome["returned"], f"{self._prefix}returned.json", run_id=run_id)

    def _end(self, *, has_failed: bool) -> None:
        if not self._run_id:
            return
        mlflow, run_id, self._run_id = self._mlflow, self._run_id, ""
        status = "FAILED" if has_failed else "FINISHED"
        active = mlflow.active_run()
        if active is not None and active.info.run_id == run_id:
            mlflow.end_run(status)
        else:
            # Another run was put on top of ours, and is not ours to end.
            mlflow.MlflowClient().set_terminated(run_id, status)


class WandbTracker(Tracker):
    """Writes to the active run of Weights & Biases, or else to one of its own.

    Runs cannot be nested there. Settings go to the run's configuration, every proposal is a point
    on the axis `<key_prefix>proposal`, so that a step counter of the user's is left alone, and
    members, proposals and spending become tables.

    Args:
        telling: Knows the story.
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
        telling: Telling,
        *,
        wandb_api_key: str | None = None,
        wandb_init_kwargs: Mapping[str, Any] | None = None,
        key_prefix: str = "gepa/",
    ) -> None:
        super().__init__(telling, key_prefix)
        self._wandb = _wandb()
        self._init_kwargs = dict(wandb_init_kwargs or {})
        self._run: Any = None
        self._is_own = False
        self._axis = f"{key_prefix}proposal"
        self._on_axis: set[str] = set()
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
        self._run.define_metric(self._axis)
        self._on_axis = set()

    def _note(self, proposal: int, numbers: Mapping[str, float]) -> None:
        for name in numbers.keys() - self._on_axis:
            self._run.define_metric(name, step_metric=self._axis)
            self._on_axis.add(name)
        self._run.log({self._axis: proposal, **numbers})

    def _conclude(self, outcome: Mapping[str, Any], tables: Mapping[str, Rows]) -> None:
        if self._run is None:
            return
        self._run.log({name: self._table(rows) for name, rows in tables.items() if rows})
        for name, value in self._named(outcome).items():
            self._run.summary[name] = value

    def _table(self, rows: Rows) -> Any:
        columns = _columns(rows)
        cells = [[row.get(each) for each in columns] for row in rows]
        # Whole and broken numbers in one column are two types there.
        return self._wandb.Table(columns, cells, allow_mixed_types=True)

    def _end(self, *, has_failed: bool) -> None:
        run, self._run = self._run, None
        if run is not None and self._is_own:
            run.finish(exit_code=int(has_failed))


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


def _settings(story: Story) -> dict[str, object]:
    """What was asked for, as plain values; of the sets, their sizes."""
    return {
        **story.settings,
        **{f"{use} model": model for use, model in story.models.items()},
        **{f"{name} version": version for name, version in story.versions.items()},
        **{f"max_{each.unit}": each.limit for each in story.limits},
        "seed": story.seed,
        "training_examples": story.training_examples,
        "validation_examples": story.validation_examples,
    }


def _numbers(proposal: int, now: Now) -> dict[str, float]:
    """Where the run stands after this proposal; scores only where there is something scored."""
    moment = now.moment
    return {
        # Its own seconds are those of work, also side by side.
        **asdict(now.spent),
        "seconds": now.seconds,
        "members": now.members,
        **{f"proposals_{kind}": now.verdicts.get(kind, 0) for kind in _VERDICTS},
        **({} if moment is None else _estimates(moment, joined=moment.proposal == proposal)),
    }


def _numbers_then(moment: Moment) -> dict[str, float]:
    """Where the run stood at an earlier moment, as far as that is known."""
    spent = ("metric_calls", "total_tokens", "usd", "seconds")
    amounts = {name: getattr(moment, name) for name in spent}
    known = {name: amount for name, amount in amounts.items() if amount is not None}
    return {**known, **_estimates(moment, joined=True)}


def _estimates(moment: Moment, *, joined: bool) -> dict[str, float]:
    estimates = {"best_estimate": moment.best_estimate, "seed_estimate": moment.seed_estimate}
    if joined and moment.member_estimate is not None:
        estimates["member_estimate"] = moment.member_estimate
    return estimates


def _outcome(story: Story) -> dict[str, Any]:
    """How it ended, with the texts that are handed over; none where there is no member."""
    outcome: dict[str, Any] = {"headline": story.headline, "summary": summary_of(story)}
    if story.returned is not None:
        outcome["returned"] = dict(story.members[story.returned].texts)
    return outcome


def _columns(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _plain(rows: Rows) -> list[dict[str, object]]:
    """The rows with values that every tracker can show in a table."""
    return [
        {
            name: ", ".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in row.items()
        }
        for row in rows
    ]

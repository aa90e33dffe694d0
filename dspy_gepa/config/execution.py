"""How a run is carried out, where it is kept, and who is told of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dspy_gepa.config.checks import are, check_type, folder, positive_number, set_checked, whole
from dspy_gepa.errors import SettingsError
from dspy_gepa.observe.display import MODES
from dspy_gepa.observe.observer import Observer
from dspy_gepa.run.pooled import check_pool

__all__ = ["Execution", "Tracking"]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Threads, processes, patience and the run directory.

    Raises:
        SettingsError: an argument is wrong.
    """

    num_threads: int | None = None
    executor: Any = None
    timeout_seconds: float | str | None = "auto"
    log_dir: str | os.PathLike[str] | None = None
    """As a text with the home directory in place of "~", once it is checked."""
    log_examples: bool = True
    """Whether examples stand in the run directory too, to be read by people."""

    def __post_init__(self) -> None:
        set_checked(
            self,
            num_threads=whole("num_threads", self.num_threads, 1),
            log_dir=folder("log_dir", self.log_dir),
        )
        if self.executor is not None:
            check_pool(self.executor)
        if not isinstance(self.timeout_seconds, str) or self.timeout_seconds != "auto":
            set_checked(
                self, timeout_seconds=positive_number("timeout_seconds", self.timeout_seconds)
            )

    @property
    def directory(self) -> str | None:
        """The run directory; None if nothing is kept."""
        return None if self.log_dir is None else os.fspath(self.log_dir)


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Who is told of the run, and what the returned program carries of it.

    Raises:
        SettingsError: an argument is wrong.
    """

    observers: Sequence[Observer] = ()
    callbacks: Sequence[Any] = ()
    stop_callbacks: Sequence[Callable[[Any], bool]] = ()
    track_stats: bool | None = None
    track_best_outputs: bool = False
    use_wandb: bool = False
    wandb_api_key: str | None = None
    wandb_init_kwargs: Mapping[str, Any] | None = None
    use_mlflow: bool = False
    mlflow_tracking_uri: str | None = None
    mlflow_experiment_name: str | None = None
    tracking_key_prefix: str = "gepa/"
    progress: str = "auto"

    def __post_init__(self) -> None:
        check_type(
            "observers",
            self.observers,
            "a list of functions",
            is_right=are(Callable, self.observers),
        )
        if self.progress not in MODES:
            raise SettingsError(f"progress={self.progress!r} was given; allowed: {list(MODES)}.")
        if self.track_best_outputs and self.track_stats is False:
            raise SettingsError("track_best_outputs=True needs track_stats=True to keep them in.")

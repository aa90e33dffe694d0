"""Who is told of every event of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dspy_gepa.config.config import Config
from dspy_gepa.observe.observer import Observer
from dspy_gepa.observe.progress import Progress
from dspy_gepa.observe.scores import RangeCheck
from dspy_gepa.observe.tracking import MlflowTracker, WandbTracker
from dspy_gepa.observe.uncalled import CallCheck

__all__ = ["observers_for"]


def observers_for(
    config: Config,
    callbacks: Iterable[Observer],
    progress: Progress,
    *,
    has_range: bool = True,
) -> Iterator[Observer]:
    """Our own observers, those of the user and the trackers that are asked for.

    Args:
        config: What was asked for.
        callbacks: What was written for another package, as observers.
        progress: Says what happens while it runs, and knows the story.
        has_range: Whether the lowest score is known.

    Raises:
        MissingExtra: a tracker is not installed.
    """
    scores, tracking = config.scores, config.tracking
    yield progress
    if has_range:
        yield RangeCheck(perfect_score=scores.perfect_score, failure_score=scores.failure_score)
    yield CallCheck(progress.telling)
    yield from tracking.observers
    yield from callbacks
    if tracking.use_mlflow:
        yield MlflowTracker(
            progress.telling,
            tracking_uri=tracking.mlflow_tracking_uri,
            experiment_name=tracking.mlflow_experiment_name,
            key_prefix=tracking.tracking_key_prefix,
        )
    if tracking.use_wandb:
        yield WandbTracker(
            progress.telling,
            wandb_api_key=tracking.wandb_api_key,
            wandb_init_kwargs=tracking.wandb_init_kwargs,
            key_prefix=tracking.tracking_key_prefix,
        )

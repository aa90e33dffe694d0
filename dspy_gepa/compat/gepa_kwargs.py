"""The keys of dspy.GEPA's `gepa_kwargs`, mapped to arguments of ours or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dspy_gepa.compat.names import nearest
from dspy_gepa.core.gate import Gate, at_least_as_good, strict_improvement
from dspy_gepa.errors import SettingsError

__all__ = ["GATES", "KEYS", "mapped_gepa_kwargs", "one_or_several"]

GATES: dict[str, Gate] = {
    "strict_improvement": strict_improvement,
    "improvement_or_equal": at_least_as_good,
}
"""By the names that gepa gives them."""

_RENAMED = {
    "run_dir": "log_dir",
    "module_selector": "component_selector",
    "candidate_selection_strategy": "candidate_selection_strategy",
    "reflection_minibatch_size": "reflection_minibatch_size",
    "skip_perfect_score": "skip_perfect_score",
    "perfect_score": "perfect_score",
    "use_merge": "use_merge",
    "max_merge_invocations": "max_merge_invocations",
    "max_metric_calls": "max_metric_calls",
    "seed": "seed",
    "track_best_outputs": "track_best_outputs",
    "use_wandb": "use_wandb",
    "wandb_api_key": "wandb_api_key",
    "wandb_init_kwargs": "wandb_init_kwargs",
    "use_mlflow": "use_mlflow",
    "frontier_type": "frontier_type",
}
"""Keys of `gepa_kwargs` that say what an argument says."""

_TRACKING = ("mlflow_tracking_uri", "mlflow_experiment_name", "tracking_key_prefix")

_ONLY = {
    "val_evaluation_policy": (None, "full_eval"),
    "batch_sampler": (None, "epoch_shuffled"),
    "cache_evaluation": (True, False, None),
    "use_cloudpickle": (True, False),
    "merge_val_overlap_floor": None,
    "display_progress_bar": (True, False),
    "raise_on_exception": (True, False),
    "max_reflection_cost": (None,),
}
"""Keys that are taken if they ask for what is done anyway, with the values that do so. None in
place of the values stands for any value."""

KEYS = (*_RENAMED, *_TRACKING, *_ONLY, "acceptance_criterion", "callbacks", "stop_callbacks")
"""All keys of `gepa_kwargs`."""


def mapped_gepa_kwargs(gepa_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments of ours that `gepa_kwargs` stands for; they go before the constructor's own.

    Names among them that the constructor does not have: `callbacks`, `stop_callbacks`, and what a
    tracker needs.

    Raises:
        SettingsError: a key that there is not, or a value that cannot be honoured.
    """
    mapped: dict[str, Any] = {}
    for key, value in (gepa_kwargs or {}).items():
        if key in _RENAMED:
            mapped[_RENAMED[key]] = value
        elif key == "acceptance_criterion":
            mapped["gate"] = _only(key, value, GATES)
        elif key in ("callbacks", "stop_callbacks"):
            mapped[key] = one_or_several(value)
        elif key in _TRACKING:
            mapped[key] = value
        elif key not in _ONLY:
            raise SettingsError(f"gepa_kwargs[{key!r}] is not supported. {nearest(key, KEYS)}")
        elif (allowed := _ONLY[key]) is not None and value not in allowed:
            raise SettingsError(
                f"gepa_kwargs[{key!r}]={value!r} is not supported; "
                f"allowed: {', '.join(map(repr, allowed))}."
            )
    return mapped


def one_or_several(value: Any) -> tuple[Any, ...]:
    """What may be given alone or in a list."""
    if isinstance(value, (list, tuple)):
        return tuple(value)
    return () if value is None else (value,)


def _only(key: str, value: Any, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if value not in known:
        raise SettingsError(
            f"gepa_kwargs[{key!r}]={value!r} is not supported; allowed: {', '.join(known)}."
        )
    return known[value]

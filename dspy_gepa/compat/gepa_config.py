"""gepa's configuration of `optimize_anything`, mapped to arguments of ours or refused by name.

It is read and never written to. What is left as gepa has it by default says nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dspy_gepa.compat.gepa_kwargs import GATES, one_or_several
from dspy_gepa.compat.names import nearest
from dspy_gepa.errors import SettingsError, WrongType

__all__ = ["mapped_config"]


class _Named(NamedTuple):
    """A key that says what an argument of ours says."""

    argument: str


class _Refused(NamedTuple):
    """A key that cannot be honoured, and what to do instead."""

    instead: str


class _Only(NamedTuple):
    """A key that is taken where it asks for what is done anyway."""

    allowed: tuple[Any, ...]
    instead: str = ""


class _Meaningless(NamedTuple):
    """A key that changes nothing here, whatever its value."""


class _Read(NamedTuple):
    """A key whose value has to be looked at."""

    arguments: Callable[[Any], dict[str, Any]]


_Rule = _Named | _Refused | _Only | _Meaningless | _Read


def _gate(value: Any) -> dict[str, Any]:
    if value not in GATES:
        raise SettingsError(
            f"config.engine.acceptance_criterion={value!r} is not supported; allowed: "
            f"{', '.join(GATES)}. A function can be given as gate=."
        )
    return {"gate": GATES[value]}


def _callbacks(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: one_or_several(value)}


def _stopper(score: float) -> dict[str, Any]:
    def reached(view: Any) -> bool:
        return bool(max(view.program_full_scores_val_set) >= score)

    return {"stop_callbacks": (reached,)}


_ENGINE: dict[str, _Rule] = {
    "run_dir": _Named("log_dir"),
    "seed": _Named("seed"),
    "capture_stdio": _Named("capture_stdio"),
    "frontier_type": _Named("frontier_type"),
    "candidate_selection_strategy": _Named("candidate_selection_strategy"),
    "max_metric_calls": _Named("max_evals"),
    "max_candidate_proposals": _Named("max_proposals"),
    "max_reflection_cost": _Refused("max_cost=, which counts everything that models cost"),
    "acceptance_criterion": _Read(_gate),
    "parallel": _Read(lambda value: {} if value else {"num_threads": 1}),
    "max_workers": _Named("num_threads"),
    # Every text is evaluated once, and in log_dir that is kept.
    "cache_evaluation": _Meaningless(),
    "cache_evaluation_storage": _Meaningless(),
    "raise_on_exception": _Meaningless(),
    "track_best_outputs": _Meaningless(),
    "use_cloudpickle": _Meaningless(),
    "display_progress_bar": _Meaningless(),
    "write_agent_state": _Meaningless(),
    # Nothing is handed to an evaluator; one that asks for it is refused itself.
    "best_example_evals_k": _Meaningless(),
    "val_evaluation_policy": _Only((None, "full_eval")),
    "sampling_strategy": _Only((None,), "window= for several proposals at once"),
    "selection_strategy": _Only((None,), "candidate_selection_strategy="),
}
_REFLECTION: dict[str, _Rule] = {
    "reflection_lm": _Named("reflection_lm"),
    "reflection_minibatch_size": _Named("reflection_minibatch_size"),
    "skip_perfect_score": _Named("skip_perfect_score"),
    "perfect_score": _Named("perfect_score"),
    "module_selector": _Named("component_selector"),
    "reflection_prompt_template": _Named("reflection_template"),
    "reflection_lm_kwargs": _Only((None, {}), "reflection_lm=dspy.LM(name, **kwargs)"),
    "custom_candidate_proposer": _Only((None,), "reflection_lm= with a function, and guidance="),
    "reflection_strategy": _Only((None,), "reflection_template= and guidance="),
    "batch_sampler": _Only((None, "epoch_shuffled"), "reflection_minibatch_size="),
}
_TRACKING: dict[str, _Rule] = {
    **{
        name: _Named(name)
        for name in (
            "use_wandb",
            "wandb_api_key",
            "wandb_init_kwargs",
            "use_mlflow",
            "mlflow_tracking_uri",
            "mlflow_experiment_name",
        )
    },
    "key_prefix": _Named("tracking_key_prefix"),
    "logger": _Only((None,), 'the logger "dspy.teleprompt.dspy_gepa" of Python\'s logging'),
    **{
        name: _Only((None, False), "observers= with a tracker of your own")
        for name in ("wandb_attach_existing", "wandb_step_metric", "mlflow_attach_existing")
    },
}
_SECTIONS: dict[str, dict[str, _Rule]] = {
    "engine": _ENGINE,
    "reflection": _REFLECTION,
    "tracking": _TRACKING,
    "merge": {
        "max_merge_invocations": _Named("max_merge_invocations"),
        "merge_val_overlap_floor": _Refused("use_merge= and max_merge_invocations="),
    },
    "refiner": {
        "refiner_lm": _Refused("reflection_lm=, which also repairs what does not run"),
        "max_refinements": _Named("repairs"),
    },
}
_TOP: dict[str, _Rule] = {
    "stop_callbacks": _Read(_callbacks("stop_callbacks")),
    "callbacks": _Read(_callbacks("callbacks")),
}
_FLAT: dict[str, _Rule] = {
    "engine": _Only(("gepa",), "the one engine that there is here"),
    "name": _Meaningless(),
    "max_evals": _Named("max_evals"),
    "max_token_cost": _Refused("max_cost=, which counts everything that models cost"),
    "max_concurrency": _Named("num_threads"),
    "run_dir": _Named("log_dir"),
    "output_dir": _Refused("log_dir=: nothing is written elsewhere"),
    "stop_at_score": _Read(_stopper),
    "sandbox": _Only((True, None), 'isolation="process", which is about evaluations'),
    "engine_config": _Only((None, {}), "arguments of optimize_anything"),
}
"""Of gepa's newer configuration, which has no sections."""


def mapped_config(
    config: Any, arguments: Mapping[str, Any], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of ours that a configuration of gepa's stands for.

    Args:
        config: The configuration.
        arguments: Our arguments as they were given.
        usual: The defaults of the same arguments.

    Raises:
        SettingsError: a key that there is not, or one that cannot be honoured, or one whose
            argument was given as well.
        WrongType: it is neither gepa's object nor a dict.
    """
    mapped: dict[str, Any] = {}
    for name, (key, value) in _arguments(config).items():
        if arguments[name] not in (usual[name], value):
            raise SettingsError(f"{name}= and {key} were both given, and they mean the same.")
        mapped[name] = value
    return mapped


def _arguments(config: Any) -> dict[str, tuple[str, Any]]:
    """Argument of ours to the key that says it, and its value."""
    stated = _stated("config", config)
    is_flat = isinstance(stated.get("engine"), str) or not {
        "max_evals",
        "engine_config",
    }.isdisjoint(stated)
    if is_flat:
        return _mapped("config", stated, _FLAT)
    mapped: dict[str, tuple[str, Any]] = {}
    for name, value in stated.items():
        if name in _SECTIONS:
            rows = _stated(f"config.{name}", value)
            mapped |= _mapped(f"config.{name}", rows, _SECTIONS[name])
            if name == "merge" and value is not None:
                mapped["use_merge"] = ("config.merge", True)
        else:
            mapped |= _mapped(
                "config", {name: value}, {**_TOP, **dict.fromkeys(_SECTIONS, _Only(()))}
            )
    return mapped


def _mapped(
    path: str, stated: Mapping[str, Any], rules: Mapping[str, _Rule]
) -> dict[str, tuple[str, Any]]:
    mapped: dict[str, tuple[str, Any]] = {}
    for key, value in stated.items():
        name = f"{path}.{key}"
        match rules.get(key):
            case None:
                raise SettingsError(f"{name} is not supported. {nearest(key, list(rules))}")
            case _Named(argument):
                mapped[argument] = (name, value)
            case _Read(arguments):
                mapped |= {argument: (name, each) for argument, each in arguments(value).items()}
            case _Only(allowed, instead) if value not in allowed:
                raise _refusal(name, value, instead)
            case _Refused(instead) if value is not None:
                raise _refusal(name, value, instead)
    return mapped


def _refusal(name: str, value: Any, instead: str) -> SettingsError:
    hint = f" Give {instead}." if instead else ""
    return SettingsError(f"{name}={value!r:.200} is not supported.{hint}")


def _stated(path: str, config: Any) -> dict[str, Any]:
    """What a configuration says: of an object's fields those that differ from its defaults."""
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return dict(config)
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise WrongType(
            f"{path}={config!r:.200} was given; gepa's object or a dict of dicts is needed."
        )
    return {
        field.name: value
        for field in dataclasses.fields(config)
        for value in [getattr(config, field.name)]
        if not _is_usual(field, value)
    }


def _is_usual(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(value is field.default or value == field.default)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return False

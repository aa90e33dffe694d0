"""What arguments are called in other optimizers, and which one a wrong name may mean."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter
from types import MappingProxyType
from typing import Any

from dspy_gepa.errors import WrongType

__all__ = ["check_attribute", "check_names", "keywords_of", "nearest"]

_ELSEWHERE = {
    "max_proposals": (
        "max_iterations", "iterations", "num_iterations", "max_iters", "max_steps", "num_steps",
        "steps", "generations", "num_generations", "epochs", "depth", "rounds", "max_rounds",
        "num_rounds", "num_search_iterations", "max_candidate_proposals", "n_trials",
    ),
    "max_metric_calls": (
        "budget", "max_budget", "max_calls", "max_evals", "max_evaluations", "num_evals",
        "eval_budget", "evaluation_budget", "num_evaluations", "max_eval_calls",
    ),
    "max_evals": (
        "budget", "max_budget", "max_calls", "max_metric_calls", "max_evaluations", "num_evals",
        "eval_budget", "evaluation_budget", "num_evaluations", "max_eval_calls",
    ),
    "max_reflection_calls": ("max_llm_calls", "max_lm_calls", "max_reflections"),
    "max_usd": (
        "max_cost", "max_cost_usd", "max_dollars", "cost_limit", "max_reflection_cost",
        "max_litellm_cost",
    ),
    "max_cost": ("max_usd", "max_cost_usd", "max_dollars", "cost_limit", "max_litellm_cost"),
    "max_total_tokens": ("max_tokens", "token_budget", "token_limit"),
    "max_seconds": ("max_time", "time_limit", "time_budget", "max_runtime"),
    "timeout_seconds": ("timeout", "eval_timeout", "straggler_limit", "timeout_s"),
    "reflection_lm": (
        "reflection_model", "reflector", "optimizer_lm", "optimizer_model", "proposer_lm",
        "teacher_lm", "meta_lm", "critic_lm", "mutation_lm",
    ),
    "task_model": ("task_lm", "lm", "model", "student_lm", "eval_lm", "target_model"),
    "num_threads": (
        "n_threads", "threads", "max_workers", "num_workers", "workers", "n_jobs", "parallelism",
        "parallel_evaluations", "concurrency",
    ),
    "seed": ("rng", "random_seed", "random_state", "rng_seed"),
    "log_dir": (
        "run_dir", "checkpoint_dir", "output_dir", "save_dir", "out_dir", "logdir", "work_dir",
        "output_path", "checkpoint_path",
    ),
    "seed_instructions": (
        "seed_candidate", "initial_instructions", "initial_prompt", "seed_prompt",
    ),
    "reflection_minibatch_size": ("bsize", "batch_size", "minibatch", "minibatch_size"),
    "max_bootstrapped_demos": ("max_demos", "num_demos", "max_examples", "k"),
    "component_selector": ("module_selector", "predictor_selector"),
    "candidate_selection_strategy": ("candidate_selector", "selection", "parent_selection"),
    "instruction_proposer": ("custom_proposer", "custom_candidate_proposer", "proposer"),
    "reflection_template": ("reflection_prompt_template", "reflection_prompt", "prompt_template"),
    "guidance": ("additional_instructions", "instructions", "background", "objective"),
    "references": ("skills",),
    "gate": ("acceptance_criterion", "gate_tolerance"),
    "perfect_score": ("stop_at_score", "max_score", "target_score"),
    "failure_score": ("format_failure_score", "error_score", "min_score"),
    "observers": ("callbacks", "logger"),
    "optimize": ("enable_tool_optimization", "optimize_tools"),
    "num_candidates": ("breadth", "population_size", "num_prompts"),
    "trainset": ("train_set", "train", "train_data", "dataset"),
    "valset": ("devset", "dev_set", "val_set", "validation_set", "evalset", "eval_set"),
    "metric": ("metric_fn", "evaluator", "eval_fn", "scorer"),
    "evaluator": ("metric", "metric_fn", "eval_fn", "scorer", "fitness"),
    "dataset": ("trainset", "train_set", "train", "train_data"),
    "artifact": ("seed_instructions", "initial_prompt", "seed_prompt", "candidate", "text"),
}  # fmt: skip
"""Our names, and what the same or the nearest to it is called in other optimizers."""


_ALIKE = 0.7
"""How much a name is like another one that may be meant; at 0.6 `patience` is like `price`."""
_NEARLY_THE_SAME = 0.85
"""Likewise where the name may be somebody's own; at 0.7 `examples` is like `log_examples`."""


def keywords_of(function: Callable[..., Any]) -> list[str]:
    """The arguments that can be given by name."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind in kinds and each.name != "self"]


def check_names(
    given: Iterable[str],
    known: Iterable[str],
    owner: str,
    beside: Mapping[str, Iterable[str]] = MappingProxyType({}),
) -> None:
    """Nothing, where all names are known.

    Args:
        given: The names that were used.
        known: Those that there are.
        owner: What has them.
        beside: Another place that takes arguments, such as "GEPA(...)", to the names that it takes.

    Raises:
        WrongType: one is not. Says what is meant by it elsewhere, and the nearest that are known.
    """
    names = list(known)
    others = _owners(names, beside)
    for name in given:
        if name not in names:
            raise WrongType(f"{owner} has no argument {name!r}. {meant(name, names, others)}")


def check_attribute(
    name: str, known: Iterable[str], owner: str, beside: Mapping[str, Iterable[str]]
) -> None:
    """Nothing, where a name that is no argument is like none either: it may be an own attribute.

    Raises:
        WrongType: an argument may be meant, which would be left as it is. Arguments as above.
    """
    names = list(known)
    if words := likely_meant(name, names, _owners(names, beside), may_be_own=True):
        raise WrongType(
            f"{owner} has no argument {name!r}, so that setting it would change nothing. {words}"
        )


def _owners(names: Sequence[str], beside: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {name: other for other, its in beside.items() for name in its if name not in names}


def meant(name: str, known: Sequence[str], others: Mapping[str, str] = MappingProxyType({})) -> str:
    """What may be meant by a name that there is not, in words. `others`: name to what has it."""
    nothing = "No name is like it. See help(dspy_gepa.GEPA) or help(dspy_gepa.optimize_anything)."
    return likely_meant(name, known, others) or nothing


def likely_meant(
    name: str, known: Sequence[str], others: Mapping[str, str], *, may_be_own: bool = False
) -> str:
    """What may be meant by a name that there is not, in words; empty if no name is like it.

    If the name `may_be_own`, only what is nearly the same name, or means an argument that there is.
    """
    there_are = {*known, *others}
    called_so = [each for each in _ELSEWHERE if name in _ELSEWHERE[each]]
    ours = next((each for each in called_so if each in there_are), "")
    if not ours and name not in others and not may_be_own:
        ours = next(iter(called_so), "")
    if ours:
        whose = f" It is an argument of {others[ours]}." if ours in others else ""
        return f"What other optimizers call so is, or comes nearest to, {ours!r} here.{whose}"
    if name in others:
        return f"{others[name]} has it: give it there."
    cutoff = _NEARLY_THE_SAME if may_be_own else _ALIKE
    if near := difflib.get_close_matches(name.casefold(), [*known, *others], n=3, cutoff=cutoff):
        nearest_names = [
            f"{each!r}{f' of {others[each]}' if each in others else ''}" for each in near
        ]
        return f"The nearest names: {', '.join(nearest_names)}."
    return ""


def nearest(key: str, known: Sequence[str]) -> str:
    """Which of the known keys may be meant, and all of them, in words."""
    return f"{meant(key, known)} Supported: {', '.join(sorted(known))}."

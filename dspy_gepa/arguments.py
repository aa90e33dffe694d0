"""What `GEPA` is given: checked before anything is spent, under the names of two classes.

Its own names are those of dspy.GEPA. MIPROv2's names are mapped to them; what has no meaning here
is said in one warning, what cannot be honoured is refused by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias, TypedDict

from dspy_gepa.checking import allowed, amount, folder, whole
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.columns import FRONTIERS, FrontierKind
from dspy_gepa.core.gate import Gate
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.judging.feedback import finite
from dspy_gepa.models.asking import check_language_model
from dspy_gepa.models.usage import MEASURED, Price
from dspy_gepa.observe.display import MODES
from dspy_gepa.observe.observer import Observer
from dspy_gepa.planning import CANDIDATES, trials
from dspy_gepa.reflect.rules import check_predicates
from dspy_gepa.reflect.templates import Template
from dspy_gepa.specialists.pool import check_chooser

__all__ = ["SEARCHES", "Arguments", "MIPROv2Arguments"]

SEARCHES = ("default", "paper")
DIRECTIONS = ("max", "min")
EDIT_MODES = ("rewrite", "append")
REFLECTION_STYLES = ("diagnose", "transcribe")

Frozen: TypeAlias = (
    "Sequence[str] | Mapping[str, bool | str | re.Pattern[str] | Sequence[str | re.Pattern[str]]]"
)
"""Components that stay as they are; or for each True, or the parts of its text that must stay."""


class MIPROv2Arguments(TypedDict, total=False):
    """Names of MIPROv2's constructor that dspy.GEPA does not have."""

    prompt_model: Any
    """Reflects, where `reflection_lm` is not given."""
    task_model: Any
    """Runs the program, where its predictors have no model of their own."""
    teacher_settings: dict[str, Any] | None
    """For bootstrapping demonstrations."""
    max_bootstrapped_demos: int | None
    """Above 0, asked for explicitly: demonstrations are tried after the instructions."""
    max_labeled_demos: int | None
    """Likewise, with demonstrations taken from the training set as they are."""
    num_candidates: int | None
    """With `num_trials` a budget, by MIPROv2's own formula."""
    metric_threshold: float | None
    """The score from which on a bootstrapped demonstration is taken."""
    max_errors: int | None
    init_temperature: float | None
    verbose: bool | None


_MEANINGLESS: dict[str, Any] = {
    "max_errors": None,
    "init_temperature": None,
    "verbose": None,
    "minibatch": True,
    "minibatch_size": 35,
    "minibatch_full_eval_steps": 5,
    "program_aware_proposer": True,
    "data_aware_proposer": True,
    "view_data_batch_size": 10,
    "tip_aware_proposer": True,
    "fewshot_aware_proposer": True,
}
"""MIPROv2's names for what this search does not have, with the values that ask for nothing."""

_LOWEST = {
    "max_full_evals": 1,
    "max_metric_calls": 1,
    "max_rollouts": 1,
    "max_reflection_calls": 0,
    "max_proposals": 0,
    "max_total_tokens": 1,
    "max_instruction_tokens": 1,
    "reflection_minibatch_size": 1,
    "max_merge_invocations": 0,
    "repairs": 0,
    "num_threads": 1,
    "window": 1,
    "specialists": 2,
    "rollouts_per_example": 1,
    "seed": 0,
    "max_bootstrapped_demos": 0,
    "max_labeled_demos": 0,
    "num_candidates": 1,
    "num_trials": 1,
}

_ALLOWED: dict[str, tuple[Any, ...]] = {
    "auto": (None, *CANDIDATES),
    "search": SEARCHES,
    "prefer": ("calls", "time"),
    "frontier_type": FRONTIERS,
    "edit_mode": EDIT_MODES,
    "reflection_style": REFLECTION_STYLES,
    "if_no_evidence": ("best", "seed"),
    "progress": MODES,
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Everything that `GEPA` and its `compile` were given, checked.

    Raises:
        SettingsError: an argument is wrong.
        WrongType: an argument has a type that cannot be used.
    """

    metric: Callable[..., Any]
    auto: str | None = None
    max_full_evals: int | None = None
    max_metric_calls: int | None = None
    max_rollouts: int | None = None
    max_reflection_calls: int | None = None
    max_proposals: int | None = None
    max_total_tokens: int | None = None
    max_usd: float | None = None
    max_seconds: float | None = None
    price: Price | None = None
    timeout_seconds: float | str | None = "auto"
    search: str = "default"
    reflection_minibatch_size: int | None = None
    candidate_selection_strategy: Any = None
    reflection_lm: Any = None
    skip_perfect_score: bool = True
    add_format_failure_as_feedback: bool = True
    instruction_proposer: Any = None
    code_proposer: Any = None
    repairs: int = 1
    component_selector: Any = None
    use_merge: bool = True
    max_merge_invocations: int | None = 5
    num_threads: int | None = None
    failure_score: float = 0.0
    perfect_score: float | None = 1.0
    log_dir: str | None = None
    """As a text, whatever kind of path was given."""
    track_stats: bool | None = None
    use_wandb: bool = False
    wandb_api_key: str | None = None
    wandb_init_kwargs: Mapping[str, Any] | None = None
    track_best_outputs: bool = False
    warn_on_score_mismatch: bool = True
    use_mlflow: bool = False
    seed: int | None = 0
    window: int | None = None
    prefer: str = "calls"
    rollouts_per_example: int = 1
    progress: str = "auto"
    log_examples: bool = True
    observers: Sequence[Observer] = ()

    optimize: Sequence[str] = ("instructions", "code")
    seed_instructions: Mapping[str, str] | None = None
    frozen: Frozen = ()
    constraints: str | Sequence[str] = ()
    invariants: Sequence[Callable[[str, str, str], Any]] = ()
    max_instruction_tokens: int | None = None
    must_pass: Sequence[Any] = ()
    guidance: str = ""
    references: Mapping[str, str] | Sequence[str | os.PathLike[str]] = ()
    reflection_template: Any = None
    reflection_style: str = "diagnose"
    edit_mode: str = "rewrite"
    objectives: Mapping[str, str] | Sequence[str] = ()
    aggregate_metric: Callable[[Sequence[tuple[Any, Any]]], float] | None = None
    if_no_evidence: str = "best"
    specialists: int | None = None
    chooser: Any = "nearest"

    gate: Gate | None = None
    frontier_type: FrontierKind = "instance"
    callbacks: Sequence[Any] = ()
    stop_callbacks: Sequence[Callable[[Any], bool]] = ()
    mlflow_tracking_uri: str | None = None
    mlflow_experiment_name: str | None = None
    tracking_key_prefix: str = "gepa/"

    prompt_model: Any = None
    task_model: Any = None
    teacher_settings: Mapping[str, Any] | None = None
    max_bootstrapped_demos: int | None = None
    max_labeled_demos: int | None = None
    num_candidates: int | None = None
    metric_threshold: float | None = None
    max_errors: int | None = None
    init_temperature: float | None = None
    verbose: bool | None = None
    num_trials: int | None = None
    minibatch: bool = True
    minibatch_size: int = 35
    minibatch_full_eval_steps: int = 5
    program_aware_proposer: bool = True
    data_aware_proposer: bool = True
    view_data_batch_size: int = 10
    tip_aware_proposer: bool = True
    fewshot_aware_proposer: bool = True

    def __post_init__(self) -> None:
        budgets = {
            name: getattr(self, name)
            for name in ("auto", "max_full_evals", "max_metric_calls")
            if getattr(self, name) is not None
        }
        if len(budgets) > 1:
            raise SettingsError(
                f"{len(budgets)} budgets were given: {budgets}. At most one is allowed: auto, "
                "max_full_evals or max_metric_calls, beside limits in other units. With none, "
                'auto="light".'
            )
        for name, lowest in _LOWEST.items():
            self._set(name, whole(name, getattr(self, name), lowest))
        for name in ("max_usd", "max_seconds"):
            self._set(name, amount(name, getattr(self, name)))
        if not isinstance(self.timeout_seconds, str) or self.timeout_seconds != "auto":
            self._set("timeout_seconds", amount("timeout_seconds", self.timeout_seconds))
        self._set("log_dir", folder("log_dir", self.log_dir))
        for name, choices in _ALLOWED.items():
            allowed(name, getattr(self, name), choices)
        self._check_texts()
        self._check_specialists()
        for name, direction in self.directions.items():
            allowed(f"objectives[{name!r}]", direction, DIRECTIONS)
        self._check_scores()
        if self.track_best_outputs and self.track_stats is False:
            raise SettingsError("track_best_outputs=True needs track_stats=True to keep them in.")
        for name in ("code_proposer", "gate", "price", "aggregate_metric"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise WrongType(f"{name}={value!r} was given; a function is needed.")

    def _set(self, name: str, value: Any) -> None:
        """Keep an argument in plain Python, wherever its value came from."""
        object.__setattr__(self, name, value)

    def _check_scores(self) -> None:
        """Nothing, where scores can be compared with the one of a failure and the perfect one."""
        self._set("failure_score", finite("failure_score", self.failure_score))
        if self.perfect_score is not None:
            self._set("perfect_score", finite("perfect_score", self.perfect_score))
            if self.failure_score > self.perfect_score:
                raise SettingsError(
                    f"failure_score={self.failure_score:g} is above perfect_score="
                    f"{self.perfect_score:g}: a crash would count for more than the best answer. "
                    "Give the lowest and the highest score of the metric."
                )
        elif self.skip_perfect_score:
            raise SettingsError("perfect_score=None needs skip_perfect_score=False.")

    def _check_specialists(self) -> None:
        """Nothing, where it can be said how they are chosen."""
        check_chooser(self.chooser)
        if self.specialists and (self.max_bootstrapped_demos or self.max_labeled_demos):
            raise SettingsError(
                "specialists and demonstrations cannot both be asked for: take one of them."
            )

    def _check_texts(self) -> None:
        """Nothing, where what is said to the reflection LM, or of its texts, has usable types."""
        wanted = {
            "guidance": ("a text", isinstance(self.guidance, str)),
            "constraints": ("a text or a list of texts", _are(str, self.constraints, alone=True)),
            "invariants": ("a list of functions", _are(Callable, self.invariants)),
            "observers": ("a list of functions", _are(Callable, self.observers)),
            "frozen": (
                "a list of components, or a dict from component to True or to the parts that stay,",
                isinstance(self.frozen, Collection),
            ),
            "references": (
                "a list of paths, or a dict from title to text,",
                _are((str, os.PathLike), self.references, alone=True),
            ),
            "seed_instructions": (
                "a dict from component to text",
                self.seed_instructions is None or isinstance(self.seed_instructions, Mapping),
            ),
            "objectives": (
                'a list of names, or a dict from name to "max" or "min",',
                _are(str, self.objectives),
            ),
        }
        for name, (needed, is_right) in wanted.items():
            if not is_right:
                given = f"{name}={getattr(self, name)!r:.200}"
                raise WrongType(f"{given} was given; {needed} is needed.")
        check_predicates("invariants", self.invariants)
        for model in filter(lambda each: each is not None, (self.reflection_lm, self.prompt_model)):
            check_language_model(model)
        asked = self.reflection_template
        for template in asked.values() if isinstance(asked, Mapping) else [asked]:
            if template is not None and not isinstance(template, Template):
                Template(template)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """What may be given, under any of the names."""
        return tuple(field.name for field in fields(cls))

    @property
    def directions(self) -> Mapping[str, str]:
        """Objective to whether more of it is better, "max", or less, "min"."""
        if isinstance(self.objectives, Mapping):
            return self.objectives
        return {name: "min" if name in MEASURED else "max" for name in self.objectives}

    @property
    def is_for_mipro(self) -> bool:
        """Whether an argument was set that only MIPROv2 has."""
        names = {*MIPROv2Arguments.__annotations__, "num_trials"}
        return any(getattr(self, name) is not None for name in names)

    @property
    def keeps_stats(self) -> bool:
        """Whether the returned program carries statistics. MIPROv2 does so by default."""
        if self.track_stats is None:
            return self.is_for_mipro or self.track_best_outputs
        return self.track_stats

    @property
    def without_meaning(self) -> tuple[str, ...]:
        """Which of MIPROv2's arguments were set to something and change nothing here."""
        names = [name for name in _MEANINGLESS if getattr(self, name) != _MEANINGLESS[name]]
        if self.num_trials is not None or self.num_candidates is not None:
            # They shape the budget then, unless another one was given.
            sizes = {"minibatch", "minibatch_size", "minibatch_full_eval_steps"}
            names = [name for name in names if name not in sizes]
            if self.auto or self.max_full_evals or self.max_metric_calls:
                names += [n for n in ("num_trials", "num_candidates") if getattr(self, n)]
        return tuple(names)

    @property
    def other_limits(self) -> Limits:
        """What is limited in other units than metric calls."""
        return Limits(
            rollouts=self.max_rollouts,
            reflection_calls=self.max_reflection_calls,
            proposals=self.max_proposals,
            total_tokens=self.max_total_tokens,
            usd=self.max_usd,
            seconds=self.max_seconds,
        )

    def limits(self, *, components: int, examples: int, validation: int) -> Limits | None:
        """The budget, for a program and data of these sizes, in all units that were given.

        None where it is a budget by size, beside `other_limits`: see `size`. `examples` counts
        training and validation examples together.
        """
        others = self.other_limits
        if self.auto is not None:
            return None
        if self.max_metric_calls is not None:
            return replace(others, metric_calls=self.max_metric_calls)
        if self.max_full_evals is not None:
            return replace(others, metric_calls=self.max_full_evals * examples)
        count = self.num_trials
        if count is None and self.num_candidates is not None:
            count = trials(components, self.num_candidates)
        if count is not None:
            return replace(others, metric_calls=self._mipro_limit(count, validation))
        return None  # other limits may never be reached: a model may be free

    @property
    def size(self) -> str:
        """The size of the budget, where it is one by size."""
        return self.auto or "light"

    def _mipro_limit(self, trials: int, validation: int) -> int:
        """The metric calls that MIPROv2 makes for so many trials."""
        size, steps = self.minibatch_size, self.minibatch_full_eval_steps
        if not self.minibatch or validation <= size:
            return validation * (trials + 1)
        return trials * size + validation * (1 + trials // steps + (trials % steps > 0))


def _are(kind: Any, given: Any, *, alone: bool = False) -> bool:
    """Whether all items are of this kind, or alone the one that was given."""
    if isinstance(given, (str, os.PathLike)):
        return alone and isinstance(given, kind)
    items = given.values() if isinstance(given, Mapping) else given
    return isinstance(given, (Mapping, Sequence)) and all(isinstance(i, kind) for i in items)

"""What `optimize_anything` is given, checked before anything is spent.

What it has in common with `GEPA` is checked there: see `Arguments`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, TypedDict, get_args

from dspy_gepa.arguments import Arguments
from dspy_gepa.artifact.checks import CarryOut, as_predicates
from dspy_gepa.artifact.evaluator import LONE, Evaluator
from dspy_gepa.artifact.isolated import MOST_PROCESSES, check_isolation
from dspy_gepa.artifact.reading import Kind
from dspy_gepa.checking import check_names, nearest
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.columns import FrontierKind
from dspy_gepa.core.gate import Gate
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.models.usage import Price

__all__ = ["AnythingArguments", "Mode", "SharedArguments"]

Mode = Literal["single_task", "multi_task", "generalization"]
_MODES: tuple[str, ...] = get_args(Mode)
_KINDS: tuple[str, ...] = get_args(Kind)
_DEFAULT_EVALS = 100


class SharedArguments(TypedDict, total=False):
    """Names that mean what they mean in `GEPA`."""

    max_rollouts: int | None
    max_reflection_calls: int | None
    max_proposals: int | None
    max_total_tokens: int | None
    price: Price | None
    frozen: Any
    constraints: str | Sequence[str]
    invariants: Sequence[Callable[[str, str, str], Any]]
    guidance: str
    references: Any
    reflection_template: Any
    objectives: Mapping[str, str] | Sequence[str]
    frontier_type: FrontierKind
    perfect_score: float | None
    skip_perfect_score: bool
    reflection_minibatch_size: int | None
    candidate_selection_strategy: Any
    component_selector: Any
    gate: Gate | None
    use_merge: bool
    max_merge_invocations: int | None
    callbacks: Sequence[Any]
    stop_callbacks: Sequence[Callable[[Any], bool]]
    use_wandb: bool
    wandb_api_key: str | None
    wandb_init_kwargs: Mapping[str, Any] | None
    use_mlflow: bool
    mlflow_tracking_uri: str | None
    mlflow_experiment_name: str | None
    tracking_key_prefix: str
    progress: str
    log_examples: bool


@dataclass(frozen=True, kw_only=True)
class AnythingArguments:
    """Everything that `optimize_anything` was given, checked.

    Raises:
        SettingsError: an argument is wrong.
        WrongType: an argument has a type that cannot be used.
    """

    artifact: Any
    evaluator: Any
    objective: str | None = None
    background: str | None = None
    mode: Mode | None = None
    dataset: Iterable[Any] | None = None
    valset: Iterable[Any] | None = None
    testset: Iterable[Any] | None = None
    max_evals: int | None = None
    max_cost: float | None = None
    isolation: str | None = None
    memory_mb: int | None = None
    max_processes: int | None = MOST_PROCESSES
    capture_stdio: bool = False
    failure_score: float | None = None
    repairs: int = 1
    checks: Sequence[Callable[[str], Any]] = ()
    kind: Kind | Mapping[str, Kind] = "text"
    given: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that `GEPA` has as well."""

    def __post_init__(self) -> None:
        self._check_texts()
        for name in ("max_evals", "memory_mb", "max_processes"):
            _check_count(name, getattr(self, name))
        _check_count("repairs", self.repairs, lowest=0)
        _check_cost(self.max_cost)
        if self.isolation not in (None, "process"):
            raise SettingsError(
                f'isolation={self.isolation!r} was given; allowed: None, "process".'
            )
        if self.memory_mb is not None and self.isolation is None:
            raise SettingsError('memory_mb needs isolation="process": a thread has no such limit.')
        if self.isolation is not None:
            check_isolation(self.memory_mb, self.max_processes)
        own = [each.name for each in fields(self) if each.name != "given"]
        known = [*own, *_DIRECT, *SharedArguments.__annotations__]
        check_names(self.given, known, "optimize_anything")
        self._check_mode()
        _ = self.seed, self.kinds, self.shared, self.bound_evaluator, self.predicates()

    @cached_property
    def seed(self) -> Candidate:
        """The texts to start from; an empty one where the first is to be written."""
        artifact = self.artifact
        if artifact is None:
            if not (self.objective or "").strip():
                raise SettingsError(
                    "Neither an artifact nor an objective was given. Give the text to start from, "
                    "or say in objective= what is to be achieved, and the first text is written."
                )
            return Candidate.of({LONE: ""})
        texts = artifact if isinstance(artifact, Mapping) else {LONE: artifact}
        for name, text in texts.items():
            if not isinstance(name, str) or not isinstance(text, str):
                raise WrongType(
                    f"artifact={artifact!r:.200} was given; a text is needed, or a dict from name "
                    "to text."
                )
        if not any(text.strip() for text in texts.values()):
            raise SettingsError(
                f"artifact={artifact!r:.200} has no text that could be improved. Give a first "
                "attempt, however poor."
            )
        return Candidate.of(texts)

    @property
    def is_lone(self) -> bool:
        """Whether the artifact is one text."""
        return not isinstance(self.artifact, Mapping)

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """What each component is."""
        given, names = self.kind, tuple(self.seed)
        if not isinstance(given, (str, Mapping)):
            raise WrongType(
                f"kind={given!r:.200} was given, and a name is needed, or a dict from component to "
                "name."
            )
        kinds = dict.fromkeys(names, given) if isinstance(given, str) else dict(given)
        if unknown := [name for name in kinds if name not in names]:
            raise SettingsError(f"kind names {unknown}; the components are {list(names)}.")
        for kind in kinds.values():
            if kind not in _KINDS:
                raise SettingsError(f"kind={given!r} was given. {nearest(str(kind), _KINDS)}")
        return kinds

    @cached_property
    def shared(self) -> Arguments:
        """What `GEPA` has as well, under its names."""
        given = dict(self.given)
        # A score has no highest value, unless one is named.
        given.setdefault("skip_perfect_score", given.get("perfect_score") is not None)
        given.setdefault("perfect_score", None)
        evals = _DEFAULT_EVALS if self.is_without_limit else self.max_evals
        given |= {"max_metric_calls": evals, "max_usd": self.max_cost}
        if self.failure_score is not None:
            given["failure_score"] = self.failure_score
        return Arguments(metric=self.evaluator, **given)

    def predicates(self, carry_out: CarryOut | None = None) -> tuple[Callable[..., Any], ...]:
        """What refuses a new text before it is evaluated; checks are carried out there."""
        return (*as_predicates(self.checks, carry_out), *self.shared.invariants)

    @property
    def is_without_limit(self) -> bool:
        """Whether nothing says how much may be spent."""
        names = ("max_rollouts", "max_reflection_calls", "max_proposals", "max_total_tokens")
        others = [self.given.get(name) for name in (*names, "max_seconds")]
        return all(limit is None for limit in (self.max_evals, self.max_cost, *others))

    @cached_property
    def sets(self) -> tuple[list[Any], list[Any], list[Any]]:
        """The data set, the validation set and the test set; empty where none was given."""
        dataset, valset, testset = (
            _listed(name, getattr(self, name)) for name in ("dataset", "valset", "testset")
        )
        return dataset, valset, testset

    @property
    def inferred_mode(self) -> Mode:
        """What the data say that is to be done."""
        if self.dataset is None:
            return "single_task"
        return "multi_task" if self.valset is None else "generalization"

    @cached_property
    def bound_evaluator(self) -> Evaluator:
        """The evaluator, which can be called."""
        if self.evaluator is None:
            raise SettingsError(
                "No evaluator was given: a function from an artifact, and where there is a dataset "
                "an example, to a score."
            )
        has_examples = self.dataset is not None
        return Evaluator(self.evaluator, takes_example=has_examples, is_lone=self.is_lone)

    def _check_texts(self) -> None:
        for name in ("objective", "background"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise WrongType(f"{name}={value!r:.200} was given, and a text is needed.")

    def _check_mode(self) -> None:
        if self.mode is not None and self.mode not in _MODES:
            raise SettingsError(f"mode={self.mode!r} was given. {nearest(str(self.mode), _MODES)}")
        if self.valset is not None and self.dataset is None:
            raise SettingsError(
                "A valset was given and no dataset to learn from. Give both, or the valset as "
                "dataset."
            )
        _ = self.sets
        if self.testset is not None and self.dataset is None:
            raise SettingsError("A testset was given and no dataset: there is but one task.")
        if self.mode is not None and self.mode != self.inferred_mode:
            wanted = {
                "single_task": "no dataset and no valset",
                "multi_task": "a dataset and no valset",
                "generalization": "a dataset and a valset",
            }
            raise SettingsError(
                f"mode={self.mode!r} needs {wanted[self.mode]}; what was given is "
                f"{wanted[self.inferred_mode]}, which is {self.inferred_mode!r}."
            )


_DIRECT = (
    "reflection_lm",
    "max_seconds",
    "num_threads",
    "timeout_seconds",
    "log_dir",
    "seed",
    "window",
    "observers",
)
"""Names in the signature that mean what they mean in `GEPA`."""


def _listed(name: str, examples: Any) -> list[Any]:
    """The examples, gone through once."""
    if examples is None:
        return []
    if isinstance(examples, (str, bytes, Mapping)) or not isinstance(examples, Iterable):
        raise WrongType(f"{name}={examples!r:.200} was given, and a list of examples is needed.")
    listed = list(examples)
    if not listed:
        raise SettingsError(f"{name} is empty. Give examples, or leave it out.")
    return listed


def _check_count(name: str, value: Any, lowest: int = 1) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType(f"{name}={value!r} was given, and a whole number is needed.")
    if value < lowest:
        raise SettingsError(f"{name}={value} was given; {lowest} is the lowest allowed.")


def _check_cost(value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongType(f"max_cost={value!r} was given, and a number of USD is needed.")
    if not 0 < value < math.inf:
        raise SettingsError(f"max_cost={value} was given; a finite number above 0 is needed.")

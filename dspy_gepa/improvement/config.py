"""What `optimize_anything` is given, checked before anything is spent.

What it has in common with `GEPA` is a `Config`, which is checked when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

from dspy_gepa.artifact.checks import CheckText, as_predicates
from dspy_gepa.artifact.evaluator import LONE, Evaluator
from dspy_gepa.artifact.isolated import MOST_PROCESSES, check_isolation
from dspy_gepa.artifact.reading import ArtifactKind
from dspy_gepa.config.checks import allowed, positive_number, whole
from dspy_gepa.config.config import Config
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import SettingsError, WrongType

__all__ = ["AnythingArguments", "Mode", "example_list"]

Mode = Literal["single_task", "multi_task", "generalization"]
_MODES: tuple[str, ...] = get_args(Mode)
_KINDS: tuple[str, ...] = get_args(ArtifactKind)
_DEFAULT_EVALS = 100


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
    dataset: list[Any] | None = None
    valset: list[Any] | None = None
    testset: list[Any] | None = None
    max_evals: int | None = None
    max_cost: float | None = None
    isolation: str | None = None
    memory_mb: int | None = None
    max_processes: int | None = MOST_PROCESSES
    capture_stdio: bool = False
    failure_score: float | None = None
    perfect_score: float | None = None
    skip_perfect_score: bool | None = None
    checks: Sequence[Callable[[str], Any]] = ()
    kind: ArtifactKind | Mapping[str, ArtifactKind] = "text"
    config: Config = field(default_factory=Config)
    """What `GEPA` is given as well, under its names."""

    def __post_init__(self) -> None:
        self._check_texts()
        for name in ("max_evals", "memory_mb", "max_processes"):
            whole(name, getattr(self, name), 1)
        positive_number("max_cost", self.max_cost)
        if self.isolation not in (None, "process"):
            raise SettingsError(
                f'isolation={self.isolation!r} was given; allowed: None, "process".'
            )
        if self.isolation is not None and self.config.execution.executor is not None:
            raise SettingsError(
                'isolation="process" and executor= were both given: evaluations run in processes '
                "of their own here, or in those of the executor. Give one of the two."
            )
        if self.memory_mb is not None and self.isolation is None:
            raise SettingsError('memory_mb needs isolation="process": a thread has no such limit.')
        if self.isolation is not None:
            check_isolation(self.memory_mb, self.max_processes)
        self._check_mode()

    @property
    def arguments(self) -> dict[str, Any]:
        """Every argument by its name, those that `GEPA` has as well among them."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return self.config.arguments | {name: own[name] for name in own if name != "config"}

    def with_arguments(self, arguments: Mapping[str, Any]) -> AnythingArguments:
        """The same with other values for some arguments.

        Raises:
            SettingsError: a value is wrong.
        """
        names = [each.name for each in fields(self) if each.name != "config"]
        own = {name: value for name, value in arguments.items() if name in names}
        others = {name: value for name, value in arguments.items() if name not in names}
        return replace(self, **own, config=self.config.with_arguments(others))

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

    @property
    def descriptions(self) -> dict[str, str]:
        """What each component is, in words, if that is to be known."""
        return {
            name: f"{'The text' if self.is_lone else name} is code. It is run as it stands."
            for name, kind in self.kinds.items()
            if kind == "code"
        }

    @cached_property
    def kinds(self) -> dict[str, ArtifactKind]:
        """What each component is."""
        asked, names = self.kind, tuple(self.seed)
        if not isinstance(asked, (str, Mapping)):
            raise WrongType(
                f"kind={asked!r:.200} was given, and a name is needed, or a dict from component to "
                "name."
            )
        kinds = dict.fromkeys(names, asked) if isinstance(asked, str) else dict(asked)
        if unknown := [name for name in kinds if name not in names]:
            raise SettingsError(f"kind names {unknown}; the components are {list(names)}.")
        for each in kinds.values():
            allowed("kind", each, _KINDS)
        return kinds

    @cached_property
    def shared(self) -> Config:
        """What `GEPA` has as well, under its names."""
        config = self.config
        # A score has no highest value, unless one is named.
        has_highest, skips = self.perfect_score is not None, self.skip_perfect_score
        evals = _DEFAULT_EVALS if self.is_without_limit else self.max_evals
        return replace(
            config,
            budget=replace(config.budget, max_metric_calls=evals, max_usd=self.max_cost),
            scores=replace(
                config.scores,
                failure_score=self.failure_score,
                perfect_score=self.perfect_score,
                skip_perfect_score=has_highest if skips is None else skips,
            ),
        )

    def predicates(self, carry_out: CheckText | None = None) -> tuple[Callable[..., Any], ...]:
        """What refuses a new text before it is evaluated.

        Checks are carried out by `carry_out`; in this process if it is None.
        """
        return (*as_predicates(self.checks, carry_out), *self.shared.texts.invariants)

    @property
    def is_without_limit(self) -> bool:
        """Whether nothing says how much may be spent."""
        has_others = self.config.budget.other_limits != Limits()
        return not has_others and self.max_evals is None and self.max_cost is None

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
        allowed("mode", self.mode, (None, *_MODES))
        if self.valset is not None and self.dataset is None:
            raise SettingsError(
                "A valset was given and no dataset to learn from. Give both, or the valset as "
                "dataset."
            )
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


def example_list(name: str, examples: Any) -> list[Any] | None:
    """The examples, gone through once; None if none were given.

    Raises:
        WrongType: it is no list of examples.
        SettingsError: it is an empty one.
    """
    if examples is None:
        return None
    if isinstance(examples, (str, bytes, Mapping)) or not isinstance(examples, Iterable):
        raise WrongType(f"{name}={examples!r:.200} was given, and a list of examples is needed.")
    gone_through = list(examples)
    if not gone_through:
        raise SettingsError(f"{name} is empty. Give examples, or leave it out.")
    return gone_through

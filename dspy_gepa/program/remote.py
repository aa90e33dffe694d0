"""What is sent of a program, so that its rollouts can be carried out in another process."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import dspy

from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest, RolloutRequest
from dspy_gepa.models.surroundings import Surroundings, tracked
from dspy_gepa.program.components.kinds import KINDS
from dspy_gepa.program.copying import reachable
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.program.worker import ProgramWorker, WorkerSettings
from dspy_gepa.run.parcel import CarryOut, Parcel, ParcelOutcome, sendable_recipe, serialized

__all__ = ["ProgramRecipe", "keys_in", "program_parcel"]


class _Example(NamedTuple):
    """What a rollout needs of the process that asks for it."""

    example: dspy.Example
    name: str


_current: ContextVar[_Example] = ContextVar("current_example")
"""What each task is about. Threads that a rollout begins take it over."""


@dataclass(frozen=True)
class ProgramRecipe:
    """Makes a worker for a program's rollouts; see `ProgramWorker`."""

    student: dspy.Module
    metric: Any
    settings: WorkerSettings
    kinds: tuple[str, ...]
    """By name, because a kind is known by its identity."""
    surroundings: Surroundings

    def __call__(self) -> CarryOut:
        """What carries out rollouts."""
        metric = Metric(self.metric)
        # It is asked about single components by the process that reflects.
        metric.only_score()
        settings = replace(
            self.settings,
            kinds=tuple(kind for kind in KINDS if kind.name in self.kinds),
            name_of=lambda _: _current.get().name,
        )
        worker = ProgramWorker(self.student, metric, _Current(), _reflects_elsewhere, settings)

        def carry_out(request: RolloutRequest, needed: _Example) -> ParcelOutcome:
            _current.set(needed)
            with self.surroundings.entered() as tracker:
                return ParcelOutcome(worker(request), dict(tracker.usage_data))

        return carry_out


class _Current(Sequence[dspy.Example]):
    """In place of all examples the one that the caller is about."""

    def __getitem__(self, _: Any) -> Any:
        return _current.get().example

    def __len__(self) -> int:
        return 1


def program_parcel(
    student: dspy.Module, metric: Any, settings: WorkerSettings, examples: Sequence[dspy.Example]
) -> Parcel:
    """What a pool is sent to carry out rollouts of a program.

    Args:
        student: As for `ProgramWorker`.
        metric: The user's, as it was given.
        settings: As for `ProgramWorker`.
        examples: An example's id is its position.

    Raises:
        SettingsError: something of it cannot be sent. Names it.
    """
    kinds = tuple(kind.name for kind in settings.kinds)
    surroundings = Surroundings.here()
    serialized(examples[0], "trainset[0]")
    own = replace(settings, kinds=(), name_of=str)
    recipe = sendable_recipe(
        ProgramRecipe(student, metric, own, kinds, surroundings),
        {
            "The program": student,
            "The metric": metric,
            "price": settings.price,
            "dspy.settings": surroundings.settings,
        },
    )

    def needs(request: RolloutRequest) -> _Example:
        return _Example(examples[request.example], settings.name_of(request.example))

    def failure(_: RolloutRequest, text: str) -> Rollout:
        return Rollout(score=settings.failure_score, failure=text, metric_calls=1)

    return Parcel(recipe, needs, failure, tracked)


def keys_in(student: dspy.Module) -> list[str]:
    """The models whose API keys are sent with the program, as the LM objects hold those keys."""
    models = [each for each in reachable(student) if isinstance(each, dspy.BaseLM)]
    if dspy.settings.lm is not None:
        models.append(dspy.settings.lm)
    named = [str(lm.model) for lm in models if getattr(lm, "kwargs", {}).get("api_key")]
    return list(dict.fromkeys(named))


def _reflects_elsewhere(request: ReflectionRequest, *_: Any) -> ReflectionAnswer:
    raise AssertionError(f"proposal {request.ticket} reflects where the search is")

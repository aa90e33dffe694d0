"""Questions to a reflection that stay the same: a parent, what it did, and what its line learned.

They come from the house tasks and from the three scripted steps of `blame_world.py`, and from two
states of a run: the program as given, and one that knows half of the facts, with the lesson of the
change that brought them. A file keeps them, so that every wording answers the same ones on any day.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import blame_world
import dspy
from house_tasks import HOUSE_TASKS, house_task

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import Evidence, Lesson, ReflectionRequest, RolloutAnswer, RolloutRequest
from dspy_gepa.program.program import components_of, describe
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.program.worker import ProgramWorker
from dspy_gepa.store.codec import RECORDS

__all__ = ["REPORT", "STATES", "TASKS", "TUNE", "Place", "Question", "frozen", "place_of"]

STEPS = "steps"
TASKS = (*HOUSE_TASKS, STEPS)
TUNE = ("codes", "bookings")
"""Tasks on which wordings may be tuned; the others are for the report."""
REPORT = tuple(name for name in TASKS if name not in TUNE)
STATES = ("given", "half")
_LOOKS = 16
"""Training rows that the parent is run on."""
_MOST = 3
"""Failures that are shown, and as many rollouts that went well."""


@dataclass(frozen=True)
class Place:
    """A task for one seed and state: the program before the reflection, and what judges it."""

    task: str
    seed: int
    state: str
    program: dspy.Module
    before: Candidate | None
    """The texts of the parent's own parent, where it has one."""
    metric: Callable[..., Any]
    train: Sequence[dspy.Example]
    unseen: Sequence[dspy.Example]
    """Rows of other sentence patterns."""
    lm: Any
    num_threads: int = 1
    """How many rows are run at once."""

    @cached_property
    def parent(self) -> Candidate:
        """The texts that are to be improved."""
        return components_of(self.program)

    @property
    def descriptions(self) -> dict[str, str]:
        """What each component is for, as a run tells it."""
        return describe(self.program)

    def rollouts(self, texts: Candidate, examples: Sequence[dspy.Example]) -> list[Rollout]:
        """What these texts do, as in a run."""
        worker = ProgramWorker(self.program, Metric(self.metric), examples, _unasked)

        def rollout(place: int) -> Rollout:
            with dspy.context(lm=self.lm):
                said = worker(RolloutRequest(texts, place, traced=True))
            if not isinstance(said, RolloutAnswer):
                raise RuntimeError(f"the task model cannot be asked: {said}")  # noqa: TRY004
            return said.rollout

        with ThreadPoolExecutor(self.num_threads) as threads:
            return list(threads.map(rollout, range(len(examples))))


@dataclass(frozen=True)
class Question:
    """What every wording answers."""

    task: str
    seed: int
    state: str
    request: ReflectionRequest

    @property
    def name(self) -> str:
        """Tells it from all others."""
        return f"{self.task}, {self.seed}, {self.state}"


def place_of(
    task: str, seed: int, state: str, student: Any, rows: int, *, num_threads: int = 1
) -> Place:
    """The place that a question comes from. The steps have a scripted model, whatever is given."""
    if task == STEPS:
        case = blame_world.question(2 * seed + STATES.index(state))
        # They are in the order of the things that they are about.
        unseen = case.unseen[:: max(1, len(case.unseen) // rows)][:rows]
        metric, lm = _plain(blame_world.graded), blame_world.StepsLM(case.tables)
        return Place(task, seed, state, case.program, None, metric, case.train, unseen, lm)
    house = house_task(task, seed, test=rows)
    program, before = house.task.program.deepcopy(), None
    (predictor,) = program.predictors()
    if state == "half":
        before = components_of(program)
        lines = house.good.split("\n")
        text = "\n".join(lines[: (len(lines) + 1) // 2])
        predictor.signature = predictor.signature.with_instructions(text)
    splits = house.task.splits
    return Place(
        task,
        seed,
        state,
        program,
        before,
        _plain(house.task.metric),
        splits.train,
        splits.test[:rows],
        student,
        num_threads,
    )


def frozen(places: Sequence[Place], path: Path | None) -> list[Question]:
    """The questions of these places; those that the file has are read, the others are added."""
    kept = json.loads(path.read_text("utf-8")) if path is not None and path.exists() else {}
    questions = []
    for place in places:
        name = f"{place.task}, {place.seed}, {place.state}"
        if name not in kept:
            kept[name] = _packed(asked_at(place))
            if path is not None:
                path.write_text(json.dumps(kept, ensure_ascii=False, indent=1), "utf-8")
        request = _unpacked(kept[name])
        if request is not None:
            questions.append(Question(place.task, place.seed, place.state, request))
    return questions


def asked_at(place: Place) -> ReflectionRequest | None:
    """The question; None where the parent makes no mistake that could be shown."""
    examples = place.train[:_LOOKS]
    rollouts = place.rollouts(place.parent, examples)
    shown = [Evidence(number, rollout) for number, rollout in enumerate(rollouts)]
    failing = [each for each in shown if each.rollout.score < 1][:_MOST]
    passing = [each for each in shown if each.rollout.score == 1][:_MOST]
    if not failing:
        return None
    return ReflectionRequest(
        1,
        place.parent,
        tuple(place.parent),
        tuple(failing),
        tuple(passing),
        _lessons(place, examples, rollouts),
    )


def _lessons(
    place: Place, examples: Sequence[dspy.Example], rollouts: Sequence[Rollout]
) -> tuple[Lesson, ...]:
    """What came of the change that led to the parent, measured as the engine does."""
    if place.before is None:
        return ()
    older = place.rollouts(place.before, examples)
    gains = [new.score - old.score for new, old in zip(rollouts, older, strict=True)]
    words = "The facts of the house decide, and nobody can guess them"
    gained, lost = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return (Lesson(1, tuple(place.parent), words, True, gained, lost, len(gains)),)


def _packed(request: ReflectionRequest | None) -> dict[str, Any] | None:
    if request is None:
        return None

    def rolled(evidence: Sequence[Evidence]) -> list[Any]:
        return [[each.example, RECORDS[Rollout].pack(each.rollout)] for each in evidence]

    return {
        "texts": dict(request.candidate),
        "evidence": rolled(request.evidence),
        "contrasts": rolled(request.contrasts),
        "lessons": [[one.words, one.gained, one.lost, one.examples] for one in request.lessons],
    }


def _unpacked(stored: dict[str, Any] | None) -> ReflectionRequest | None:
    if stored is None:
        return None
    evidence, contrasts = (
        tuple(Evidence(example, RECORDS[Rollout].unpack(each)) for example, each in stored[name])
        for name in ("evidence", "contrasts")
    )
    texts = Candidate.of(stored["texts"])
    lessons = tuple(
        Lesson(1, tuple(texts), words, True, *numbers) for words, *numbers in stored["lessons"]
    )
    return ReflectionRequest(1, texts, tuple(texts), evidence, contrasts, lessons)


def _plain(metric: Callable[..., Any]) -> Callable[[dspy.Example, Any], Any]:
    """The metric without the parameters that would ask for every step's own feedback."""

    def plain(gold: dspy.Example, pred: Any) -> Any:
        return metric(gold, pred)

    return plain


def _unasked(*given: object) -> Any:
    raise AssertionError(f"nothing is to be reflected on: {given}")

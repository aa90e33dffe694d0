"""Worlds drawn from wide priors, carried out in the core of the search, without DSPy.

One draw is one kind of task with one task of it: how many rules there are and how they are spread
over components, what the metric says and how surely, what a model does of itself, and what a
reflection makes of the examples that it is shown. Nothing of it is known to a search. A run of 800
rollouts takes a fraction of a second, so that a claim can rest on hundreds of draws.

    draw(seed)                   a world
    Worker(world)                what carries out requests of our search in it
    by_ours, by_reference        the score of what would be returned, by what was spent

A text is one line a statement: `r3` states rule 3, `q17` is a remedy for case 17 that breaks
others, `x5` is a defect that breaks some; the first line is a wording. All chance is a function of
(world, text, case), and for reflections of (world, how many there were).

What holds here need not hold for a language model.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple

import numpy as np
from gepa import optimize
from gepa.core.adapter import EvaluationBatch

from dspy_gepa.config.config import Config
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Committed, Event
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.search import decisions, evolve, requests, start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.core.work import (
    Answer,
    ReflectionAnswer,
    ReflectionRequest,
    Request,
    RolloutAnswer,
    RolloutRequest,
)
from dspy_gepa.presets import settings_for
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.run.loop import run_loop
from dspy_gepa.testing.orders import VirtualTimeExecutor

__all__ = [
    "SHAPES",
    "Pace",
    "Point",
    "Simulated",
    "World",
    "by_our_clock",
    "by_ours",
    "by_reference",
    "committed",
    "draw",
    "score_at",
    "settings_in",
]

UNSEEN = 400
"""Cases on which what is returned is judged by default."""
SHAPES = ("binary", "share", "rubric", "fine", "rouge", "negative", "percent")
"""What a metric makes of what was met: right or wrong; the share; in tenths; 0.37 + 0.02 for each;
0.15 to 0.5 with an offset of the case's own; minus what is missing; 0 to 100."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A kind of task."""

    seed: int
    shape: str = "binary"
    feedback: str = "rule"
    """rule: names what was missed; value: the expected value, from which it can be guessed;
    number: no more than the score."""
    told: float = 1.0
    """How probably feedback that names rules names a given one."""
    rules: int = 24
    tail: float = 0.0
    """Rule r is needed in proportion to (r + 1) ** -tail."""
    needs: tuple[int, int] = (1, 4)
    """The least and the most rules that a case needs."""
    components: int = 1
    is_one_at_fault: bool = False
    """Whether all rules belong to one component, so that the others are right as they are."""
    train: int = 50
    validation: int = 50
    luck: tuple[float, float] = (0.2, 0.4)
    """How probably unstated rules are met, from the hardest to the easiest cases."""
    hopeless: float = 0.0
    """The share of cases that no text gets right."""
    follow: float = 0.96
    """How probably a stated rule is followed."""
    crowding: float = 0.004
    """How much that falls with each statement beyond eight."""
    steady: float = 0.5
    """The share of chance that is a case's own, whatever the wording."""
    noise: float = 0.0
    """How far the metric errs: the chance of a wrong verdict, or a standard deviation in shares."""
    keep: float = 0.97
    """How probably a rewrite keeps what was stated."""
    learn: float = 0.8
    """How probably a reflection sees a rule in one case in which it was missed."""
    drown: float = 0.0
    """By how much that falls with each further failure that is shown beyond three."""
    dilute: float = 0.0
    """By how much that falls with each further component that is rewritten at once."""
    overfit: float = 0.1
    """How probably a case that is shown gets a remedy of its own."""
    overfit_power: float = 0.0
    """That changes with the number of cases shown to this power: below 0 many generalize."""
    harm: float = 0.1
    """The share of other cases that such a remedy breaks."""
    breaks: float = 0.05
    """How probably a rewritten text gets a defect."""
    damage: float = 0.2
    """The share of cases that a defect breaks."""
    heed: float = 0.0
    """By how much a case that is right and shown lowers the chance of remedies and defects."""
    repeat: float = 0.0
    """How probably a reflection gives the current text back."""

    @property
    def names(self) -> tuple[str, ...]:
        """The components."""
        return tuple(f"c{number}" for number in range(self.components))

    @property
    def perfect_score(self) -> float:
        """What the user says is the best score."""
        return {"negative": 0.0, "percent": 100.0}.get(self.shape, 1.0)


def draw(seed: int) -> World:
    """A world from wide priors."""
    random = Random(f"world {seed}")

    def between(low: float, high: float) -> float:
        return random.uniform(low, high)

    def whole(low: int, high: int) -> int:  # evenly in the logarithm
        return round(math.exp(random.uniform(math.log(low), math.log(high))))

    def sometimes(share: float, low: float, high: float) -> float:
        return random.uniform(low, high) if random.random() < share else 0.0

    shape = random.choices(SHAPES, (7, 3, 2, 1, 2, 1, 1))[0]
    components = random.choice((1, 1, 1, 2, 2, 3, 4, 6))
    most = {"rubric": 10, "fine": 8}.get(shape, random.choice((1, 2, 3, 4, 5)))
    low = between(0.0, 0.5)
    return World(
        seed=seed,
        shape=shape,
        feedback=random.choices(("rule", "value", "number"), (5, 3, 1))[0],
        told=random.choice((1.0, 1.0, between(0.3, 1.0))),
        rules=max(whole(4, 60), most + 2),
        tail=between(0.0, 1.2),
        needs=(random.randint(1, most), most),
        components=components,
        is_one_at_fault=components > 1 and random.random() < 0.4,
        train=whole(10, 500),
        validation=whole(10, 500),
        luck=(low, min(0.9, low + between(0.0, 0.5))),
        hopeless=sometimes(0.4, 0.0, 0.3),
        follow=between(0.85, 0.99),
        crowding=sometimes(0.7, 0.0, 0.012),
        steady=random.choice((0.0, 1.0, between(0.0, 1.0))),
        noise=sometimes(0.4, 0.0, 0.25),
        keep=between(0.85, 1.0),
        learn=between(0.2, 1.0),
        drown=sometimes(0.4, 0.0, 0.3),
        dilute=sometimes(0.5, 0.0, 0.3),
        overfit=between(0.0, 0.35),
        overfit_power=random.choice((-1.0, -0.5, 0.0, 0.0, 0.5)),
        harm=between(0.0, 0.25),
        breaks=sometimes(0.7, 0.0, 0.3),
        damage=between(0.05, 0.5),
        heed=sometimes(0.6, 0.0, 0.5),
        repeat=sometimes(0.4, 0.0, 0.2),
    )


class Said(NamedTuple):
    """What a text states, by its kind."""

    r: frozenset[int]
    q: frozenset[int]
    x: frozenset[int]


def said_in(text: str) -> Said:
    """What a text states."""
    words = text.split()
    return Said(*(frozenset(int(w[1:]) for w in words if w[0] == kind) for kind in "rqx"))


def text_of(said: Said, wording: str) -> str:
    """A text that states this; another wording is another text."""
    lines = [f"{kind}{n}" for kind, each in zip("rqx", said, strict=True) for n in sorted(each)]
    return "\n".join([f"w{wording}", *lines])


def uniform(*labels: object) -> float:
    """A number in [0, 1) that is the same for the same labels in every process."""
    digest = blake2b(repr(labels).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass
class Simulated:
    """One task of a world, and the models that work on it."""

    world: World
    nothing_helps: bool = False
    """Whether reflections change the wording and no more."""
    unseen: int = UNSEEN
    """On so many further cases what is returned is judged."""
    reflections: int = 0
    _outcomes: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def student(self) -> Candidate:
        """Texts that state nothing."""
        return Candidate.of(dict.fromkeys(self.world.names, "w"))

    @cached_property
    def cases(self) -> int:
        """How many cases there are: training, validation, unseen."""
        return self.world.train + self.world.validation + self.unseen

    @cached_property
    def needed(self) -> np.ndarray[Any, Any]:
        """Shape (cases, most needed): the rules, -1 for none."""
        world, random = self.world, self._generator("needed")
        weights = np.arange(1, world.rules + 1) ** -world.tail
        low, high = world.needs
        # The rules with the highest weighted keys are a draw without putting back.
        keys = np.log(random.random((self.cases, world.rules))) / weights
        ranked = np.argsort(-keys, axis=1)[:, :high]
        counts = random.integers(low, high + 1, size=self.cases)
        return np.where(np.arange(high) < counts[:, None], ranked, -1)

    @cached_property
    def luck(self) -> np.ndarray[Any, Any]:
        """For every case how probably an unstated rule is met."""
        low, high = self.world.luck
        random = self._generator("luck")
        likely = low + (high - low) * random.random(self.cases)
        return np.where(random.random(self.cases) < self.world.hopeless, 0.0, likely)

    @cached_property
    def offsets(self) -> np.ndarray[Any, Any]:
        """What some metrics add for the case itself."""
        return 0.06 * self._generator("offset").random(self.cases)

    def component_of(self, rule: int) -> str:
        """The component whose text has to state a rule."""
        world = self.world
        if world.is_one_at_fault:
            return world.names[world.seed % world.components]
        return world.names[rule % world.components]

    def likelihood(self, candidate: Candidate) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """How probably each needed rule is met, and which cases are broken by what is stated."""
        world, needed = self.world, self.needed
        said = {name: said_in(text) for name, text in candidate.items()}
        likely = np.broadcast_to(self.luck[:, None], needed.shape).copy()
        per_rule = np.zeros(world.rules + 1)
        for name, each in said.items():
            size = max(0, sum(map(len, each)) - 8)
            follow = max(0.0, world.follow - world.crowding * size)
            for rule in each.r:
                if self.component_of(rule) == name:
                    per_rule[rule] = follow
        stated = per_rule[needed]
        possible = (self.luck > 0) | (world.luck[1] == 0)
        likely = np.where(possible[:, None], np.maximum(likely, stated), likely)
        broken = np.zeros(self.cases, dtype=bool)
        for kind, share in (("q", world.harm), ("x", world.damage)):
            for number in sorted(set().union(*(getattr(each, kind) for each in said.values()))):
                broken |= self._generator(kind, number).random(self.cases) < share
        for case in sorted(set().union(*(each.q for each in said.values()))):
            likely[case], broken[case] = world.follow, False
        likely[needed < 0] = 1.0
        return likely, broken

    def expected(self, candidate: Candidate) -> float:
        """The mean value of a candidate on unseen cases, from 0 to 1, over all wordings."""
        likely, broken = (each[-self.unseen :] for each in self.likelihood(candidate))
        is_own = self._is_own[-self.unseen :]
        average = np.where(is_own, self._own[-self.unseen :] < likely, likely)
        needed = self.needed[-self.unseen :] >= 0
        if self.world.shape == "binary":
            value = np.where(broken, 0.0, average.prod(axis=1))
        else:
            share = (average * needed).sum(axis=1) / needed.sum(axis=1)
            value = np.where(broken, np.maximum(0.0, share - 0.5), share)
        return float(value.mean())

    def outcome(self, candidate: Candidate) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """For every case its score, and which needed rules were met."""
        if candidate.digest not in self._outcomes:
            likely, broken = self.likelihood(candidate)
            random = self._generator("text", candidate.digest)
            drawn = np.where(self._is_own, self._own, random.random(self.needed.shape))
            met = drawn < likely
            needed = self.needed >= 0
            count = (met & needed).sum(axis=1)
            share = count / needed.sum(axis=1)
            share = np.where(broken, np.maximum(0.0, share - 0.5), share)
            self._outcomes[candidate.digest] = (self._scores(share, random), met | ~needed)
        return self._outcomes[candidate.digest]

    def rollout(self, candidate: Candidate, case: int) -> Rollout:
        """What a candidate gets on a case."""
        scores, met = self.outcome(candidate)
        world = self.world
        missed = [
            int(rule)
            for rule, was_met in zip(self.needed[case], met[case], strict=True)
            if not was_met
        ]
        steps = tuple(Step(name, {"case": case}, {"missed": missed}) for name in world.names)
        return Rollout(float(scores[case]), trace=Trace(steps=steps))

    def rewritten(
        self,
        candidate: Candidate,
        components: Sequence[str],
        shown: Sequence[tuple[int, float, Sequence[int]]],
        *,
        is_selective: bool = True,
    ) -> dict[str, str]:
        """What a reflection makes of some components, given cases, scores and missed rules.

        A selective one leaves a component alone of which the feedback says that nothing was missed.
        """
        self.reflections += 1
        world, random = self.world, Random(f"{self.world.seed} reflection {self.reflections}")
        texts: dict[str, str] = {}
        failed = [(case, missed) for case, score, missed in shown if score < world.perfect_score]
        passed = len(shown) - len(failed)
        calm = (1 - world.heed) ** min(passed, 4)
        sight = world.learn * max(0.2, 1 - world.drown * max(0, len(failed) - 3))
        sight *= max(0.2, 1 - world.dilute * (len(components) - 1))
        sight *= {"rule": 1.0, "value": 0.5, "number": 0.12}[world.feedback]
        overfit = world.overfit * calm * max(1, len(failed)) ** world.overfit_power
        for name in components:
            before = said_in(candidate[name])
            own = [
                (case, rule)
                for case, missed in failed
                for rule in missed
                if self.component_of(rule) == name
                and (world.feedback != "rule" or uniform(world.seed, case, rule) < world.told)
            ]
            is_clear = world.feedback == "rule" and is_selective
            leaves = is_clear or random.random() < 0.5
            if len(components) > 1 and is_selective and not own and leaves:
                continue
            wording = f"{self.reflections}"
            if self.nothing_helps:
                texts[name] = text_of(before, wording)
                continue
            if random.random() < world.repeat:
                continue
            rules = {rule for rule in sorted(before.r) if random.random() < world.keep}
            rules |= {rule for _, rule in own if random.random() < sight}
            quirks = {case for case in sorted(before.q) if random.random() < 0.9 * world.keep}
            quirks |= {case for case, _ in failed if random.random() < min(0.9, overfit)}
            mended = [
                number
                for number in sorted(before.x)
                if any(self._generator("x", number).random(self.cases)[c] < world.damage
                       for c, _ in failed)
            ]  # fmt: skip
            defects = {
                number
                for number in sorted(before.x)
                if random.random() < (1 - world.learn if number in mended else world.keep)
            }
            if random.random() < world.breaks * calm:
                defects.add(random.randrange(10_000))
            said = Said(frozenset(rules), frozenset(quirks), frozenset(defects))
            texts[name] = text_of(said, wording)
        return texts

    def _scores(  # noqa: PLR0911 - one for each shape
        self, share: np.ndarray[Any, Any], random: np.random.Generator
    ) -> np.ndarray[Any, Any]:
        """What the metric says to shares of what was needed."""
        world = self.world
        if world.shape == "binary":
            wrong = random.random(self.cases) < world.noise
            return ((share > 0.999) != wrong).astype(float)
        share = share + world.noise * random.standard_normal(self.cases)
        most = world.needs[1]
        match world.shape:
            case "rubric":
                return np.round(np.clip(share, 0, 1), 1)
            case "fine":
                return 0.37 + 0.02 * np.round(most * share)
            case "rouge":
                return 0.15 + 0.35 * share + self.offsets
            case "negative":
                return -np.round(most * np.clip(1 - share, 0, None))
            case "percent":
                return np.round(100 * np.clip(share, 0, 1))
        return np.clip(share, 0, 1)

    @cached_property
    def _own(self) -> np.ndarray[Any, Any]:
        return self._generator("own").random(self.needed.shape)

    @cached_property
    def _is_own(self) -> np.ndarray[Any, Any]:
        drawn: np.ndarray[Any, Any] = self._generator("is own").random(self.needed.shape)
        return drawn < self.world.steady

    def _generator(self, *labels: object) -> np.random.Generator:
        written = repr((self.world.seed, *labels)).encode()
        return np.random.default_rng(
            int.from_bytes(blake2b(written, digest_size=8).digest(), "big")
        )


_SHOWN_CONTRASTS = 3
"""As many as `Reflector` shows of those that it is given."""


@dataclass
class Worker:
    """Carries out what our search asks for."""

    task: Simulated

    def __call__(self, request: Request) -> Answer:
        """The answer, with one call of the reflection LM for all components."""
        if isinstance(request, RolloutRequest):
            key = request.key
            return RolloutAnswer(key, self.task.rollout(request.candidate, request.example))
        return self.reflection(request)

    def reflection(self, request: ReflectionRequest) -> ReflectionAnswer:
        """New texts where something was missed; known runs that did better are shown too."""
        items = [*request.evidence, *getattr(request, "contrasts", ())[:_SHOWN_CONTRASTS]]
        shown = [
            (item.example, item.rollout.score, item.rollout.trace.steps[0].outputs["missed"])
            for item in items
        ]
        texts = self.task.rewritten(request.candidate, request.components, shown)  # type: ignore[arg-type]
        return ReflectionAnswer(request.ticket, texts, lm_calls=1)


class Point(NamedTuple):
    """What would be returned at a moment."""

    metric_calls: int
    reflections: int
    score: float
    """Its expected value on unseen cases."""
    candidate: Candidate
    seconds: float = 0.0
    """When that is, where time is simulated."""


def score_at(points: Sequence[Point], cost: float, factor: float) -> float:
    """The score of what is returned where so much may be spent: metric calls and reflections."""
    found = points[0].score
    for point in points:
        if point.metric_calls + factor * point.reflections <= cost:
            found = point.score
    return found


def united(component: str, origin: str, better: str, other: str) -> str:  # noqa: ARG001
    """What either of two texts states, and both kept of what their origin stated."""
    one, two, old = (set(text.splitlines()) for text in (better, other, origin))
    lost = (old - one) | (old - two)
    added = [line for line in other.splitlines() if line in two - one and line not in lost]
    return "\n".join(
        [*(line for line in better.splitlines() if line not in lost),
         *(line for line in added if not line.startswith("w"))]
    )  # fmt: skip


def settings_in(world: World, *, metric_calls: int, seed: int, **given: Any) -> Settings:
    """What the search is asked to do, as `GEPA` would ask it."""
    numbers = tuple(range(world.train + world.validation))
    return settings_for(
        Config().with_arguments({"seed": seed, "perfect_score": world.perfect_score, **given}),
        ExampleTable((), numbers[: world.train], numbers[world.train :]),
        Limits(metric_calls=metric_calls),
        feedback_calls=0,
        reflection_calls=2,
        text_merge=united,
    )


def by_ours(
    world: World,
    *,
    cost: float,
    factor: float = 10.0,
    seed: int = 0,
    task: Simulated | None = None,
    change: Callable[[Settings], Settings] = lambda settings: settings,
    metric_calls: int | None = None,
    **given: Any,
) -> list[Point]:
    """What our search would return, by what it had spent, until so much was."""
    task = task or Simulated(world)
    limit = int(cost) if metric_calls is None else metric_calls
    settings = change(settings_in(world, metric_calls=limit, seed=seed, **given))
    points = [Point(0, 0, task.expected(task.student), task.student)]
    for state in committed(settings, task, cost=cost, factor=factor):
        points.append(_point(task, state, points))
    return points


def committed(
    settings: Settings, task: Simulated, *, cost: float, factor: float
) -> Iterator[RunState]:
    """The state after every commit of our search, until so much was spent."""
    worker, state = Worker(task), start(settings, task.student)
    answers: list[Answer | None] = [None]
    while answers:
        for answer in answers:
            for event in decisions(state, answer):
                state = evolve(state, event)
                if isinstance(event, Committed):
                    yield state
        tally = state.tally
        if tally.metric_calls + factor * tally.reflection_calls > cost:
            break
        answers = [worker(request) for request in requests(state)]


def _point(task: Simulated, state: RunState, points: Sequence[Point]) -> Point:
    best, last = state.members[state.best].candidate, points[-1]
    score = last.score if best == last.candidate else task.expected(best)
    return Point(state.tally.metric_calls, state.tally.reflection_calls, score, best)


@dataclass(frozen=True)
class Pace:
    """How long work takes in simulated time, lognormal; the median of a rollout is 1."""

    slots: int
    """How many rollouts run at once."""
    reflection: float = 10.0
    spread: float = 1.0

    def rollout(self, candidate: Candidate, case: int) -> float:
        """Of a candidate on a case: the same in both systems."""
        return self._drawn(candidate.digest, case)

    def reflecting(self, *labels: object) -> float:
        """Of one call of the reflection LM."""
        return self.reflection * self._drawn("reflection", *labels)

    def together(self, seconds: Sequence[float]) -> float:
        """Of work that is begun in this order, as slots become free, and waited for."""
        free = [0.0] * self.slots
        for each in seconds:
            heapq.heapreplace(free, free[0] + each)
        return max(free)

    def _drawn(self, *labels: object) -> float:
        return Random(repr(("seconds", *labels))).lognormvariate(0, self.spread)


def by_our_clock(
    world: World,
    pace: Pace,
    *,
    metric_calls: int,
    seed: int = 0,
    change: Callable[[Settings], Settings] = lambda settings: settings,
    **given: Any,
) -> list[Point]:
    """What our search would return, by the simulated time that has passed; at last when it ends."""
    task = Simulated(world)
    settings = change(settings_in(world, metric_calls=metric_calls, seed=seed, **given))
    points = [Point(0, 0, task.expected(task.student), task.student)]

    def duration(request: Request) -> float:
        if isinstance(request, RolloutRequest):
            return pace.rollout(request.candidate, request.example)
        return pace.reflecting(seed, request.ticket)

    executor = VirtualTimeExecutor(Worker(task), pace.slots, duration)

    def listen(event: Event, state: RunState) -> None:
        if isinstance(event, Committed):
            found = _point(task, state, points)
            points.append(found._replace(seconds=executor.now_seconds))

    state = run_loop(start(settings, task.student), executor, [listen]).state
    points.append(_point(task, state, points)._replace(seconds=executor.now_seconds))
    return points


class Adapter:
    """A task as the gepa package wants to see it."""

    def __init__(self, task: Simulated, pace: Pace | None = None) -> None:
        self.task = task
        self.pace = pace
        self.metric_calls = 0
        self.seconds = 0.0

    def evaluate(
        self,
        batch: list[int],
        candidate: Mapping[str, str],
        capture_traces: bool = False,  # noqa: FBT001, FBT002 - gepa's signature
    ) -> Any:
        """Rollouts."""
        self.metric_calls += len(batch)
        rollouts = [self.task.rollout(Candidate.of(candidate), case) for case in batch]
        if self.pace is not None:  # each batch is waited for
            own = Candidate.of(candidate)
            self.seconds += self.pace.together([self.pace.rollout(own, case) for case in batch])
        pairs = list(zip(batch, rollouts, strict=True)) if capture_traces else None
        return EvaluationBatch(rollouts, [rollout.score for rollout in rollouts], pairs)

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, Any]:
        """What a reflection is shown."""
        del candidate
        records = [
            {"shown": (case, rollout.score, rollout.trace.steps[0].outputs["missed"])}
            for case, rollout in eval_batch.trajectories
        ]
        return dict.fromkeys(components_to_update, records)

    def propose_new_texts(
        self,
        candidate: Mapping[str, str],
        reflective_dataset: Mapping[str, Any],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """New texts, by one call of the reflection LM a component."""
        texts = {}
        for name in components_to_update:
            shown = [record["shown"] for record in reflective_dataset[name]]
            new = self.task.rewritten(Candidate.of(candidate), [name], shown, is_selective=False)
            texts[name] = new.get(name, candidate[name])
            if self.pace is not None:
                self.seconds += self.pace.reflecting(self.task.reflections)
        return texts


class _Watch:
    """Told by gepa of every validated candidate; ends it when so much was spent."""

    def __init__(self, adapter: Adapter, *, cost: float, factor: float) -> None:
        task = adapter.task
        self.adapter, self.cost, self.factor = adapter, cost, factor
        self.points = [Point(0, 0, task.expected(task.student), task.student)]
        self.best = -math.inf

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """Note the candidate where its mean is above all earlier ones."""
        if event["average_score"] > self.best:
            self.best = event["average_score"]
            candidate, task = Candidate.of(event["candidate"]), self.adapter.task
            spent, seconds = (self.adapter.metric_calls, task.reflections), self.adapter.seconds
            self.points.append(Point(*spent, task.expected(candidate), candidate, seconds))

    def __call__(self, state: Any) -> bool:
        """Whether to stop."""
        del state
        spent = self.adapter.metric_calls + self.factor * self.adapter.task.reflections
        return spent >= self.cost


class _Silent:
    def log(self, message: str) -> None:
        """Say nothing."""


def by_reference(
    world: World,
    *,
    cost: float,
    factor: float = 10.0,
    seed: int = 0,
    pace: Pace | None = None,
) -> list[Point]:
    """The same for the engine of dspy.GEPA with dspy.GEPA's settings: the gepa package itself.

    Calls of the metric for feedback on single steps, which dspy.GEPA makes besides, are not
    counted. Its merge raises where an ancestor's mean is 0 or negative; then it goes without.
    The last point is when it ended.
    """
    try:
        return _by_reference(world, cost, factor, seed, pace, use_merge=True)
    except ValueError as error:
        if "weights" not in str(error):
            raise
    return _by_reference(world, cost, factor, seed, pace, use_merge=False)


def _by_reference(
    world: World, cost: float, factor: float, seed: int, pace: Pace | None, *, use_merge: bool
) -> list[Point]:
    adapter = Adapter(Simulated(world), pace)
    watch = _Watch(adapter, cost=cost, factor=factor)
    optimize(
        seed_candidate=dict(adapter.task.student),
        trainset=list(range(world.train)),
        valset=list(range(world.train, world.train + world.validation)),
        adapter=adapter,
        candidate_selection_strategy="pareto",
        skip_perfect_score=True,
        reflection_minibatch_size=3,
        module_selector="round_robin",
        perfect_score=world.perfect_score,
        use_merge=use_merge,
        max_merge_invocations=5,
        max_metric_calls=int(cost),
        stop_callbacks=watch,
        callbacks=[watch],
        logger=_Silent(),
        raise_on_exception=True,
        seed=seed,
    )
    last = watch.points[-1]
    if pace is None:
        return watch.points
    spent = adapter.metric_calls, adapter.task.reflections
    return [*watch.points, Point(*spent, last.score, last.candidate, adapter.seconds)]

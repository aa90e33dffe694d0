"""The default search climbs whatever the scale of the metric's scores, and whatever its steps."""

import math
from dataclasses import dataclass

import pytest

from dspy_gepa.config.config import Config
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.search import decide, evolve, requests, start
from dspy_gepa.core.streams import stream
from dspy_gepa.core.work import ReflectionAnswer, RolloutAnswer, RolloutRequest
from dspy_gepa.presets import settings_for
from dspy_gepa.program.examples import ExampleTable

LESSONS, TRAIN, VALIDATION = 10, 20, 20


def case_ease(example):
    """Something of the example's own, from 0 to 1."""
    return stream(0, "ease", example).random()


@dataclass
class Lessons:
    """A task on which every reflection learns one more lesson of ten; a score is made from how many
    the text holds."""

    score: object

    def __call__(self, request):
        if isinstance(request, RolloutRequest):
            key = request.key
            learned = len(request.candidate["only"].split()) - 1
            score = float(self.score(learned, request.example))
            return RolloutAnswer(key, Rollout(score, trace=Trace(steps=(Step("only", {}, {}),))))
        text = request.candidate["only"]
        learned = len(text.split()) - 1
        if learned == LESSONS:
            return ReflectionAnswer(request.ticket, is_unchanged=True, lm_calls=1)
        texts = {"only": f"{text} lesson{request.ticket}"}
        return ReflectionAnswer(request.ticket, texts, lm_calls=1)


def lessons_kept(score, *, metric_calls=400, **given):
    """How many lessons the text holds that is returned."""
    numbers = tuple(range(TRAIN + VALIDATION))
    settings = settings_for(
        Config().with_arguments(given),
        ExampleTable((), numbers[:TRAIN], numbers[TRAIN:]),
        Limits(metric_calls=metric_calls),
        feedback_calls=0,
        reflection_calls=2,
    )
    world, state = Lessons(score), start(settings, Candidate.of({"only": "do"}))
    said = [None]
    while said:
        for answer in said:
            for event in decide(state, answer):
                state = evolve(state, event)
        said = [world(request) for request in requests(state)]
    assert state.tally.metric_calls <= metric_calls
    return len(state.members[state.best].candidate["only"].split()) - 1


SHAPES = {
    "0.08 a lesson": (lambda n, _: 0.1 + 0.08 * n, {}),
    "0.37 + 0.02 a lesson": (lambda n, _: 0.37 + 0.02 * n, {}),
    "a rubric of ten criteria": (lambda n, _: n / 10, {}),
    "like ROUGE": (lambda n, e: 0.15 + 0.02 * n + 0.1 * case_ease(e), {}),
    "negative, best 0": (lambda n, _: n - 10, {}),
    "negative, best 0, and that is told": (lambda n, _: n - 10, {"perfect_score": 0.0}),
    "0 to 100, and that is told": (lambda n, _: 10 * n, {"perfect_score": 100.0}),
    "0 to 100": (lambda n, _: 3 + 9.7 * n, {}),
    "logarithms of probabilities": (lambda n, e: -123.4 + 1.7 * n - 9 * case_ease(e), {}),
    "tiny steps": (lambda n, _: 0.5 + 1e-5 * n, {}),
    "huge scores": (lambda n, e: 1e6 * (n + case_ease(e)), {}),
    "less and less": (lambda n, _: 1 - 0.7**n, {}),
    "more and more": (lambda n, _: 2.0**n / 2**12, {}),
    "a sixth of the examples at a time": (lambda n, e: 0.5 + 0.05 * ((n + e % 6) // 6 * 6), {}),
    "three quarters are perfect": (lambda n, e: 1.0 if e % 4 else 0.05 * n, {}),
    "beyond what is said to be perfect": (lambda n, _: 0.85 + 0.1 * n, {}),
    "a failure costs much": (lambda n, e: -1.0 if e % 5 == 4 else 0.1 + 0.05 * n, {}),
    "steps of the case's own size": (lambda n, e: n * (0.01 + 0.07 * case_ease(e)), {}),
    "infinitely many steps": (lambda n, _: math.atan(n), {}),
}

LEAST = {"a sixth of the examples at a time": 6}
"""Where a lesson shows on few examples, or only once there are several."""


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_metric_that_rises_with_every_lesson_climbs(name, seed):
    """Ten of ten lessons are kept of 400 metric calls, as by the published algorithm; of twice as
    many where three of four examples teach nothing."""
    score, given = SHAPES[name]
    calls = 800 if name == "three quarters are perfect" else 400
    assert lessons_kept(score, metric_calls=calls, seed=seed, **given) >= LEAST.get(name, LESSONS)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_is_kept_where_nothing_gets_better(seed):
    """A metric that no lesson changes gives the seed back."""
    assert lessons_kept(lambda _, e: 0.3 + 0.5 * case_ease(e), seed=seed) == 0

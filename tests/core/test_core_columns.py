"""The columns of the frontier that are made of objectives, in runs that validate in steps."""

from dataclasses import dataclass, field, replace
from operator import attrgetter

import numpy as np
import pytest
from test_core_choices import STUDENT, Task

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.columns import FRONTIERS, columns, objective_names
from dspy_gepa.core.results import Results
from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.sampling import EpochSampler
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.search import start
from dspy_gepa.core.selection import by_estimate
from dspy_gepa.core.state import Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.testing.orders import VirtualTimeExecutor, durations
from dspy_gepa.testing.witness import outcome

SCHEDULE = ValidationSchedule(seed_examples=3, first=2, step=2, pace=1.0, head_start=0)
VALIDATION = tuple(range(100, 112))


@dataclass(frozen=True)
class Scored(Task):
    """A task whose rollouts have objectives, by a function of the texts and the example."""

    objectives: object = field(default=lambda texts, example: {"even": float(example % 2 == 0)})

    def __call__(self, request):
        answer = super().__call__(request)
        if (rollout := getattr(answer, "rollout", None)) is None:
            return answer
        own = self.objectives(request.candidate, request.example)
        failure = "" if own is not None else "it crashed"
        rollout = replace(rollout, objectives=own or {}, failure=failure)
        return replace(answer, rollout=rollout)


def settings(frontier="objective", **others):
    """A run that validates in small steps."""
    given = {
        "train": tuple(range(20)),
        "validation": VALIDATION,
        "limits": Limits(metric_calls=120),
        "sampler": EpochSampler(2),
        "use_merge": False,
        "validation_schedule": SCHEDULE,
        "ranking": by_estimate,
        "frontier": frontier,
    }
    return Settings(**{**given, **others})


def ended(task, **others):
    """The final state of such a run."""
    return run_loop(start(settings(**others), STUDENT), SerialExecutor(task)).state


def by_length(texts, example):
    """A score that rises with every rewrite."""
    return sum(map(len, texts.values())) / 100 + (example % 7) / 1000


def lately(texts, example):
    """An objective that only some examples have, none of which the seed is run on at first."""
    first = set(settings().validation_order[: SCHEDULE.seed_examples + 2])
    return {"all": 0.5, **({} if example in first else {"some": len(texts["a"]) / 10})}


def after_a_crash(texts, example):
    """Objectives that the seed, which crashes, never has."""
    return None if texts == STUDENT else {"all": 0.5}


@pytest.mark.parametrize("frontier", sorted(set(FRONTIERS) - {"instance"}))
@pytest.mark.parametrize(
    "objectives",
    [
        Scored.objectives,
        lately,
        lambda texts, example: {"a": example / 100, "b": -example / 100},
        lambda texts, example: {"a": 1.0} if example % 2 else {"b": 2.0},
        after_a_crash,
    ],
)
def test_a_row_is_made_of_all_that_a_member_was_run_on(frontier, objectives):
    """Also of what it was run on after it joined, and of objectives that are seen late."""
    state = ended(Scored(by_length, objectives=objectives), frontier=frontier)
    counts = [int(np.count_nonzero(~np.isnan(member.scores))) for member in state.members]
    assert max(counts) > SCHEDULE.seed_examples
    names = state.objectives
    for row, member in zip(state.columns, state.members, strict=True):
        scored = ~np.isnan(member.scores)
        own = [objectives(member.candidate, e) or {} for e in state.settings.validation]
        known = [values if was_run else {} for values, was_run in zip(own, scored, strict=True)]
        matrix = np.array([[values.get(name, np.nan) for name in names] for values in known])
        means = [np.mean(c[~np.isnan(c)]) if (~np.isnan(c)).any() else np.nan for c in matrix.T]
        expected = {
            "objective": means,
            "hybrid": [*member.scores, *means],
            "cartesian": matrix.reshape(-1),
        }[frontier]
        np.testing.assert_allclose(row, expected)


@pytest.mark.parametrize("frontier", FRONTIERS)
@pytest.mark.parametrize("window", [1, 3])
def test_the_order_of_answers_changes_nothing(frontier, window):
    """What a proposal sees of objectives are proposals that were over when it began."""

    def objectives(texts, example):
        longest = max(len(text) for text in texts.values())
        return {"long": longest / 10, **({"odd": 1 / longest} if example % 3 == 0 else {})}

    task = Scored(by_length, objectives=objectives)
    given = settings(frontier, window=window)
    expected = outcome(run_loop(start(given, STUDENT), SerialExecutor(task)).state)
    for seed in range(2):
        executor = VirtualTimeExecutor(task, 7, durations(seed))
        assert outcome(run_loop(start(given, STUDENT), executor).state) == expected


def test_what_was_known_before_a_proposal_has_only_its_objectives():
    """By the ticket that brought them, as scores."""
    by = {"training": {}, "score_of": attrgetter("score")}
    first = Results.none(train=1, validation=3).plus(
        1, validation={0: Rollout(0.5, objectives={"a": 1.0})}, **by
    )
    more = {0: Rollout(0.1), 2: Rollout(0.7, objectives={"a": 3.0, "b": 4.0})}
    both = first.plus(4, validation=more, **by)
    assert both.objectives["a"].tolist()[::2] == [1.0, 3.0]
    for ticket, expected in ((5, 2.0), (4, 1.0), (2, 1.0)):
        (row,) = columns("objective", [both.before(ticket)], ("a",))
        assert row.tolist() == [expected]
    assert np.isnan(columns("objective", [both.before(1)], ("a",))).all()
    assert objective_names([both.before(4)]) == ("a",)
    assert objective_names([both]) == ("a", "b")
    left = both.without(validation=np.array([True, False, False]), train=np.array([False]))
    assert columns("objective", [left], ("a",)).tolist() == [[3.0]]


def test_a_metric_without_objectives_is_told_to_have_none():
    """If the seed's answers were scored; not if it crashed on all of them."""
    assert "the metric scored none" in ended(Task(by_length), frontier="objective").ending
    crashing = Scored(by_length, objectives=after_a_crash)
    assert "the metric scored none" not in ended(crashing, frontier="objective").ending

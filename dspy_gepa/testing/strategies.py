"""Hypothesis strategies for the values of the search, for tests of your own strategies.

The only module that needs `hypothesis`, which the extras `test` and `dev` install.
"""

from __future__ import annotations

import numpy as np

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.caution import Cautious
from dspy_gepa.core.columns import FRONTIERS
from dspy_gepa.core.components import ComponentView, every, round_robin
from dspy_gepa.core.frontier import Scores
from dspy_gepa.core.gate import Gate, Margin, at_least_as_good, strict_improvement
from dspy_gepa.core.merge import Lineage, TextMerge, better_text
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.sampling import EpochSampler, FailureFirstSampler
from dspy_gepa.core.schedule import ValidationSchedule
from dspy_gepa.core.selection import (
    SELECTIONS,
    PoolView,
    ProbablyBest,
    Ranking,
    Selection,
    SoftEstimate,
    by_estimate,
    by_mean,
)
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import Evidence
from dspy_gepa.errors import MissingExtra
from dspy_gepa.testing.worlds import ChanceWorld

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise MissingExtra("hypothesis", "dev") from error

__all__ = [
    "candidates",
    "component_views",
    "lineages",
    "pool_views",
    "rollouts",
    "score_matrices",
    "scores",
    "settings",
    "traces",
    "validation_schedules",
    "worlds",
]


_SELECTIONS: list[Selection] = [*SELECTIONS.values(), SoftEstimate(), ProbablyBest()]
_RANKINGS: list[Ranking] = [by_mean, by_estimate]
_GATES: list[Gate] = [strict_improvement, at_least_as_good, Margin()]


def _both_texts(component: str, origin: str, better: str, other: str) -> str:  # noqa: ARG001
    return f"{better} {other}"


_TEXT_MERGES: list[TextMerge] = [better_text, _both_texts]


def candidates(max_components: int = 4) -> st.SearchStrategy[Candidate]:
    """Candidates with any texts, lone surrogates included."""
    texts = st.text(st.characters(), max_size=20)
    return st.dictionaries(st.text(min_size=1, max_size=8), texts, max_size=max_components).map(
        Candidate.of
    )


def scores() -> st.SearchStrategy[float]:
    """Scores: often the same few, so that ties are common; exact in sums, so that means are too."""
    return st.one_of(
        st.sampled_from((0.0, 0.25, 0.5, 1.0)),
        st.integers(-40, 40).map(lambda eighths: eighths / 8),
    )


@st.composite
def score_matrices(
    draw: st.DrawFn,
    *,
    max_members: int = 8,
    max_columns: int = 8,
    holes: bool = True,
    distinct_means: bool = False,
) -> Scores:
    """Score matrices, with NaN if a pair was not scored.

    With `distinct_means`, members' sums differ, which is distinct means where there are no holes.
    """
    columns = draw(st.integers(1, max_columns))
    score = st.one_of(scores(), st.just(float("nan"))) if holes else scores()
    row = st.lists(score, min_size=columns, max_size=columns)
    unique_by = sum if distinct_means else None
    rows = draw(st.lists(row, min_size=1, max_size=max_members, unique_by=unique_by))
    return np.array(rows, dtype=np.float64)


def traces(names: tuple[str, ...]) -> st.SearchStrategy[Trace]:
    """Traces of a program with these components, each called any number of times."""
    fields = st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=2)
    texts = st.text(max_size=10)
    steps = st.builds(Step, st.sampled_from(names), fields, fields, failure=texts, reply=texts)
    return st.builds(Trace, fields, fields, st.lists(steps, max_size=4).map(tuple))


def rollouts(names: tuple[str, ...]) -> st.SearchStrategy[Rollout]:
    """Rollouts of a program with these components."""
    return st.builds(
        Rollout,
        scores(),
        feedback=st.text(max_size=20),
        objectives=st.dictionaries(st.text(max_size=5), scores(), max_size=2),
        failure=st.text(max_size=10),
        metric_calls=st.integers(0, 1),
        trace=traces(names),
    )


@st.composite
def pool_views(draw: st.DrawFn) -> PoolView:
    """Pools of which every member was scored somewhere, as in a run."""
    matrix = draw(score_matrices())
    matrix[np.isnan(matrix).all(axis=1), 0] = 0.0
    pool = tuple(Candidate.of({"only": f"text{member}"}) for member in range(len(matrix)))
    return PoolView(pool, matrix, matrix, draw(st.integers(1, 100)), draw(st.integers(0, 1000)))


@st.composite
def component_views(draw: st.DrawFn) -> ComponentView:
    """What a component selector may be shown: at least one component was called."""
    candidate = draw(candidates().filter(len))
    called = draw(st.sets(st.sampled_from(list(candidate)), min_size=1))
    ordered = tuple(name for name in candidate if name in called)
    evidence = st.lists(st.builds(Evidence, st.integers(0, 9), rollouts(ordered)), max_size=3)
    numbers = st.integers(0, 50)
    return ComponentView(
        draw(pool_views()), draw(numbers), candidate, draw(numbers), ordered, tuple(draw(evidence))
    )


@st.composite
def lineages(
    draw: st.DrawFn, *, max_members: int = 8, means: st.SearchStrategy[float] | None = None
) -> list[Lineage]:
    """Pools with any history: every member but the first has one or two older parents.

    Texts are few, so that members often share them; two members with all texts equal do not
    occur, as in a run.
    """
    names = [f"c{number}" for number in range(draw(st.integers(1, 3)))]
    texts = st.tuples(*(st.sampled_from(("x", "y", "z")) for _ in names))
    pool = draw(st.lists(texts, min_size=1, max_size=max_members, unique=True))
    members = []
    for position, chosen in enumerate(pool):
        older = st.integers(0, position - 1)
        parents = draw(st.lists(older, min_size=1, max_size=2, unique=True)) if position else []
        mean = draw(scores() if means is None else means)
        candidate = Candidate(tuple(zip(names, chosen, strict=True)))
        members.append(Lineage(candidate, tuple(sorted(parents)), mean))
    return members


def worlds() -> st.SearchStrategy[ChanceWorld]:
    """Worlds of chance, with scores of any sign."""
    probability = st.sampled_from((0.0, 0.1, 0.5))
    return st.builds(
        ChanceWorld,
        names=st.sampled_from((("only",), ("first", "second"), ("a", "b", "c"))),
        scores=st.sampled_from(
            ((0.0, 1.0), (0.0, 0.25, 0.5, 1.0), (-1.0, 0.0, 0.5), (-3.0, -2.0), (0.5,))
        ),
        words=st.integers(1, 6),
        silence=probability,
        refusal=probability,
        crashes=probability,
        feedback_calls=st.integers(0, 2),
        objectives=st.sampled_from(((), ("clear", "short"))),
        seed=st.integers(0, 1000),
    )


def validation_schedules() -> st.SearchStrategy[ValidationSchedule]:
    """Schedules of small steps, with a pace that makes revalidations common."""
    few = st.integers(1, 4)
    return st.builds(
        ValidationSchedule,
        seed_examples=few,
        first=few,
        step=few,
        pace=st.floats(1, 9),
        head_start=st.integers(0, 20),
    )


@st.composite
def settings(draw: st.DrawFn, world: ChanceWorld, *, max_metric_calls: int = 150) -> Settings:
    """Settings for runs in a world: small sets, disjoint, overlapping or the same."""
    size, others = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    first = draw(st.sampled_from((0, size // 2, size)))
    train, validation = tuple(range(size)), tuple(range(first, first + others))
    return Settings(
        train=train,
        validation=train if draw(st.booleans()) else validation,
        limits=Limits(metric_calls=draw(st.integers(1, max_metric_calls))),
        anchors=tuple(draw(st.lists(st.integers(0, 15), max_size=3, unique=True))),
        frozen=draw(st.sampled_from(((), world.names[:1]))),
        seed=draw(st.integers(0, 1000)),
        sampler=draw(
            st.builds(EpochSampler, st.integers(1, 4))
            | st.builds(FailureFirstSampler, st.integers(1, 5))
        ),
        minibatch_sizes=draw(st.sampled_from(((), (1,), (2,), (1, 3), (4, 2)))),
        contrasts=draw(st.integers(0, 3)),
        stops_early=draw(st.booleans()),
        validation_schedule=draw(st.none() | validation_schedules()),
        lowest_score=min(world.scores),
        window=draw(st.integers(1, 6)),
        selection=draw(st.sampled_from(_SELECTIONS)),
        ranking=draw(st.sampled_from(_RANKINGS)),
        caution=draw(st.sampled_from((None, Cautious()))),
        components=draw(st.sampled_from((round_robin, every))),
        gate=draw(st.sampled_from(_GATES)),
        frontier=draw(st.sampled_from(FRONTIERS if world.objectives else ("instance",))),
        skip_perfect_score=draw(st.booleans()),
        feedback_calls=world.feedback_calls,
        asked_about=world.names,
        reflection_calls=2 * len(world.names),
        use_merge=draw(st.booleans()),
        max_merge_invocations=draw(st.integers(0, 5)),
        merge_examples=draw(st.integers(1, 6)),
        text_merge=draw(st.sampled_from(_TEXT_MERGES)),
        max_failures_in_a_row=draw(st.sampled_from((2, 10))),
    )

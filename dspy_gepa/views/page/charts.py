"""Where lines and dots of the charts are. Their words and colors are the template's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dspy_gepa.story.parts import Moment
from dspy_gepa.story.story import MemberStory, Story
from dspy_gepa.story.wording import clock

__all__ = ["Curve", "LineageChart", "curves", "lineage"]

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 34
_COLUMN, _ROW, _MARGIN = 84, 54, 26


@dataclass(frozen=True, slots=True)
class Dot:
    """A member where it joined."""

    member: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Curve:
    """The estimates of the best and of the seed, over one unit."""

    unit: str
    label: str
    best: str
    """Points of a line, as SVG has them."""
    seed: str
    dots: tuple[Dot, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


def curves(story: Story) -> Sequence[Curve]:
    """One chart for each unit that is known; none before two proposals changed the pool."""
    if len(story.curve) < 2:
        return []
    units: tuple[tuple[str, str, Callable[[Moment], float | None]], ...] = (
        ("calls", "metric calls", lambda moment: moment.metric_calls),
        ("time", "time", lambda moment: moment.seconds),
        ("tokens", "tokens", lambda moment: moment.total_tokens),
        ("usd", "USD", lambda moment: moment.usd),
    )
    drawn = []
    for unit, label, value in units:
        values = [value(moment) for moment in story.curve]
        known = [each for each in values if each is not None]
        if len(known) == len(values) and max(known) > 0:
            drawn.append(_curve(story, unit, label, known))
    return drawn


def _curve(story: Story, unit: str, label: str, values: Sequence[float]) -> Curve:
    low, high = _range(story)
    span = max(values) or 1.0

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * value / span, 1)

    def y(value: float) -> float:
        share = (min(high, max(low, value)) - low) / (high - low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    best, seed, dots = [], [], []
    for moment, value in zip(story.curve, values, strict=True):
        best.append((x(value), y(moment.best_estimate)))
        seed.append((x(value), y(moment.seed_estimate)))
        if moment.member is not None and moment.member_estimate is not None:
            # As the lines: what was known then, not what later scores say of it.
            dots.append(Dot(moment.member, x(value), y(moment.member_estimate)))
    return Curve(
        unit,
        label,
        best=_steps(best),
        seed=_steps(seed),
        dots=tuple(dots),
        across=tuple(Tick(x(each), _amount(unit, each)) for each in _ticks(unit, span)),
        up=tuple(
            Tick(y(low + (high - low) * k / 4), f"{low + (high - low) * k / 4:.2f}")
            for k in range(5)
        ),
    )


def _range(story: Story) -> tuple[float, float]:
    """The scale of scores; up to the highest that was estimated where no score is the highest."""
    low, high = story.lowest_score, story.highest_score
    if high is None:
        values = [moment.best_estimate for moment in story.curve]
        high = max([*values, *(each.estimate or low for each in story.members)])
    return low, high if high > low else low + 1.0


def _ticks(unit: str, span: float) -> list[float]:
    """Round values from 0 on: seven at most, and mostly three at least."""
    steps = (15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
    rough = span / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    if unit == "time":
        step = next((each for each in steps if each >= rough), step)
    elif unit != "usd":
        step = max(1, step)
    return [step * k for k in range(int(span / step + 1e-9) + 1)]


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """A line that keeps its height until something changed."""
    drawn = [points[0]]
    for (_, before), (x, y) in pairwise(points):
        drawn += [(x, before), (x, y)]
    return " ".join(f"{x},{y}" for x, y in drawn)


def _amount(unit: str, value: float) -> str:
    if unit == "time":
        return clock(value)
    return f"{value:.2g}" if unit == "usd" else f"{value:,.0f}"


@dataclass(frozen=True, slots=True)
class Node:
    """A member in the tree."""

    member: MemberStory
    x: float
    y: float
    is_returned: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """From a parent to its child."""

    x1: float
    y1: float
    x2: float
    y2: float
    is_merge: bool


@dataclass(frozen=True, slots=True)
class LineageChart:
    """The tree of members: generations from left to right."""

    width: int
    height: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def lineage(story: Story) -> LineageChart:
    """Where members are: a child right of its parents, as near to the first one as there is room.

    The rows are those of a depth-first walk, so that no two members lie on each other.
    """
    depths: list[int] = []
    for member in story.members:
        depths.append(1 + max((depths[parent] for parent in member.parents), default=-1))
    rows = _rows(story.members)
    places = {
        number: (_MARGIN + _COLUMN * depth, _MARGIN + _ROW * rows[number])
        for number, depth in enumerate(depths)
    }
    return LineageChart(
        width=2 * _MARGIN + _COLUMN * max(depths, default=0),
        height=2 * _MARGIN + 10 + _ROW * max(rows.values(), default=0),
        nodes=tuple(
            Node(member, *places[member.number], member.number == story.returned)
            for member in story.members
        ),
        edges=tuple(
            Edge(*places[parent], *places[member.number], len(member.parents) > 1)
            for member in story.members
            for parent in member.parents
        ),
    )


def _rows(members: Sequence[MemberStory]) -> Mapping[int, int]:
    """A row for each member: the first child beside its parent, each other one below."""
    children: dict[int, list[int]] = {}
    for member in members:
        if member.parents:
            children.setdefault(member.parents[0], []).append(member.number)
    rows: dict[int, int] = {}
    below = 0
    # Not by recursion: a line of descendants may be longer than Python's stack.
    waiting = [(member.number, False) for member in reversed(members) if not member.parents]
    while waiting:
        number, is_first = waiting.pop()
        if not is_first and rows:
            below += 1
        rows[number] = below
        own = children.get(number, [])
        waiting += [(child, place == 0) for place, child in reversed([*enumerate(own)])]
    return rows

"""What the engine itself costs: milliseconds a proposal, ours against that of `gepa`.

Both carry out the same search on answers that are looked up in memory: no model, no DSPy, no
files. Every proposal is accepted and becomes a member until the pool is full; then a few are
rejected on their minibatch. Validation scores are pass or fail; from the first member to the last
the share of passes rises from 10 to 90 %, as in a search that finds something. So most columns are
tied between many members, which is hard on a frontier.

The time is CPU time of this process, that of the look-ups taken off. A rejected proposal at the
full pool is a proposal without its validation; an accepted one (the last tenth of them) includes
it. Growth is the slope of the whole run's time over members x validation examples, both
logarithmic: 1 is linear.

    python benchmarks/engine_overhead.py --json engine_overhead.json
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
from gepa import optimize
from gepa.core.adapter import EvaluationBatch
from report import Estimate, estimate, print_table, surroundings, write_record

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Committed, Event
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.search import start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.core.work import (
    Answer,
    ReflectionAnswer,
    Request,
    RolloutAnswer,
    RolloutRequest,
)
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor

SIZES = ((20, 100), (50, 300), (100, 1000), (200, 1000))
"""Members and validation examples."""
TRAIN = 30
REJECTED = 20
"""Proposals after the pool is full."""
COMPONENT = "answer"
_TRACE = Trace(steps=(Step(COMPONENT, {}, {}),))


@dataclass
class Answers:
    """Scores, looked up. A text names the proposal that wrote it, and whether it does better."""

    members: int
    examples: int
    seed: int
    written: int = 0
    """Texts that were proposed."""
    passes: list[list[float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        drawn = np.random.default_rng(self.seed).random((self.members, self.examples))
        rates = np.linspace(0.1, 0.9, self.members)
        self.passes = (drawn < rates[:, None]).astype(float).tolist()

    def next_text(self) -> str:
        """The next text: better than all before while the pool is not full, then worse."""
        self.written += 1
        return f"better {self.written}" if self.written < self.members else f"worse {self.written}"

    def score(self, text: str, example: int) -> float:
        """Training examples come first, then validation examples."""
        kind, number = text.split()
        if example < TRAIN:
            return int(number) / 1e6 if kind == "better" else 0.0
        return self.passes[int(number)][example - TRAIN]


@dataclass
class Clock:
    """Takes the CPU time of each proposal, without that of the answers."""

    answering_seconds: float = 0.0
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"accepted": [], "rejected": []}
    )
    began: float = field(default_factory=time.process_time)
    _last: float = 0.0

    @property
    def own_seconds(self) -> float:
        """Since the beginning, without the answers."""
        return time.process_time() - self.began - self.answering_seconds

    def over(self, *, is_accepted: bool) -> None:
        """Note that a proposal is over."""
        now = self.own_seconds
        self.seconds["accepted" if is_accepted else "rejected"].append(now - self._last)
        self._last = now

    def answered(self, answer: Callable[[], Any]) -> Any:
        """The answer, whose time does not count."""
        began = time.process_time()
        found = answer()
        self.answering_seconds += time.process_time() - began
        return found

    @property
    def is_done(self) -> bool:
        """Whether enough was rejected."""
        return len(self.seconds["rejected"]) >= REJECTED


def ours(members: int, examples: int, seed: int) -> Clock:
    """A run of the core's loop, one answer after the other."""
    answers, clock = Answers(members, examples, seed), Clock()

    def looked_up(request: Request) -> Answer:
        if isinstance(request, RolloutRequest):
            score = answers.score(request.candidate[COMPONENT], request.example)
            trace = _TRACE if request.traced else Trace()
            return RolloutAnswer(request.key, Rollout(score, trace=trace))
        texts = {COMPONENT: answers.next_text()}
        return ReflectionAnswer(request.ticket, texts, lm_calls=1)

    def listen(event: Event, state: RunState) -> None:
        del state
        if isinstance(event, Committed):
            clock.over(is_accepted=event.verdict.kind == "accepted")

    settings = Settings(
        train=tuple(range(TRAIN)),
        validation=tuple(range(TRAIN, TRAIN + examples)),
        seed=seed,
        use_merge=False,
        limits=Limits(metric_calls=(members + REJECTED) * (examples + 100)),
    )
    state = start(settings, Candidate.of({COMPONENT: "better 0"}))
    executor = SerialExecutor(lambda request: clock.answered(lambda: looked_up(request)))
    clock.began = time.process_time()
    finish = run_loop(state, executor, [listen], [lambda _: "enough" if clock.is_done else ""])
    assert clock.is_done, finish.state.ending
    assert len(finish.state.members) == members
    return clock


class Adapter:
    """The same answers, as gepa asks for them."""

    def __init__(self, answers: Answers, clock: Clock) -> None:
        self.answers = answers
        self.clock = clock

    def evaluate(
        self,
        batch: Sequence[int],
        candidate: Mapping[str, str],
        capture_traces: bool = False,  # noqa: FBT001, FBT002 - gepa's signature
    ) -> EvaluationBatch[Any, Any]:
        """Scores, and traces where they are asked for."""

        def looked_up() -> EvaluationBatch[Any, Any]:
            scores = [self.answers.score(candidate[COMPONENT], example) for example in batch]
            return EvaluationBatch(scores, scores, list(batch) if capture_traces else None)

        found: EvaluationBatch[Any, Any] = self.clock.answered(looked_up)
        return found

    def make_reflective_dataset(
        self,
        candidate: Mapping[str, str],
        eval_batch: EvaluationBatch[Any, Any],
        components_to_update: Sequence[str],
    ) -> dict[str, list[dict[str, Any]]]:
        """One record for each trace."""
        del candidate
        records = [{"example": each} for each in eval_batch.trajectories or ()]
        return dict.fromkeys(components_to_update, records)

    def propose_new_texts(
        self,
        candidate: Mapping[str, str],
        reflective_dataset: Mapping[str, Any],
        components_to_update: Sequence[str],
    ) -> dict[str, str]:
        """The next text."""
        del candidate, reflective_dataset
        return {name: self.answers.next_text() for name in components_to_update}


class _Silent:
    """Takes the place of gepa's log, which prints."""

    def log(self, message: str) -> None:
        """Nothing."""


def reference(members: int, examples: int, seed: int) -> Clock:
    """A run of gepa's engine."""
    answers, clock = Answers(members, examples, seed), Clock()

    class Listener:
        def on_iteration_end(self, event: Any) -> None:
            clock.over(is_accepted=event["proposal_accepted"])

    result = optimize(
        seed_candidate={COMPONENT: "better 0"},
        trainset=list(range(TRAIN)),
        valset=list(range(TRAIN, TRAIN + examples)),
        adapter=Adapter(answers, clock),
        logger=_Silent(),
        callbacks=[Listener()],
        stop_callbacks=lambda _: clock.is_done,
        use_merge=False,
        seed=seed,
    )
    assert len(result.candidates) == members
    return clock


def measured(clock: Clock) -> dict[str, float]:
    """Milliseconds of one proposal at the full pool, and seconds of the whole run."""
    accepted, rejected = clock.seconds["accepted"], clock.seconds["rejected"]
    tail = accepted[-max(2, len(accepted) // 10) :]
    return {
        "rejected_ms": 1000 * sum(rejected) / len(rejected),
        "accepted_ms": 1000 * sum(tail) / len(tail),
        "run_seconds": sum(accepted) + sum(rejected),
    }


def slope(sizes: Sequence[tuple[int, int]], seconds: Sequence[float]) -> float:
    """The exponent with which the run's time grows in members x validation examples."""
    if len(sizes) < 2:
        return math.nan
    logarithms = [math.log(members * examples) for members, examples in sizes]
    return float(np.polyfit(logarithms, np.log(seconds), 1)[0])


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    shown = [f"{members}x{examples}" for members, examples in SIZES]
    parser.add_argument("--sizes", nargs="+", default=shown, help="members x validation examples")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args(given)
    arguments.sizes = [tuple(map(int, each.split("x"))) for each in arguments.sizes]
    return arguments


def main(given: Sequence[str] | None = None) -> None:
    """Print one table; with --json, write the same numbers to a file."""
    arguments = arguments_of(given)
    engines = {"ours": ours, "gepa": reference}
    titles = {
        "rejected_ms": "ms, without validation",
        "accepted_ms": "ms, with validation",
        "run_seconds": "whole run, s",
    }
    rows: list[list[object]] = [["members x examples", "", *engines, "ratio"]]
    records = []
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for members, examples in arguments.sizes:
        logging.disable(logging.CRITICAL)  # both log every proposal
        runs = {
            name: [measured(engine(members, examples, seed)) for seed in range(arguments.seeds)]
            for name, engine in engines.items()
        }
        logging.disable(logging.NOTSET)
        for name, found in runs.items():
            seconds[name].append(float(np.mean([each["run_seconds"] for each in found])))
        record: dict[str, Any] = {"members": members, "examples": examples, "runs": runs}
        for quantity, title in titles.items():
            each = {name: [run[quantity] for run in found] for name, found in runs.items()}
            ratio = estimate(np.divide(each["gepa"], each["ours"]).tolist())
            record[f"{quantity}_ratio"] = ratio
            means = [f"{estimate(each[name]).mean:.3f}" for name in engines]
            rows.append([f"{members} x {examples}", title, *means, _times(ratio)])
        records.append(record)
    growth = {name: slope(arguments.sizes, seconds[name]) for name in engines}
    print_table(rows)
    print(
        "growth of a whole run with members x examples, as an exponent: "
        + ", ".join(f"{name} {exponent:.2f}" for name, exponent in growth.items())
    )
    record = {
        "benchmark": "engine_overhead",
        **surroundings("dspy_gepa", "gepa", "numpy"),
        "seeds": list(range(arguments.seeds)),
        "train_examples": TRAIN,
        "rejected_proposals": REJECTED,
        "rows": records,
        "growth_exponents": growth,
    }
    write_record(arguments.json, record)


def _times(ratio: Estimate) -> str:
    return f"{ratio.mean:.1f} ({ratio.low:.1f}..{ratio.high:.1f})"


if __name__ == "__main__":
    main()

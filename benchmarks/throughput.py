"""How busy workers are kept, and how long a run takes by the clock: ours against dspy.GEPA.

First in virtual time, where nothing but the search itself can keep a worker waiting: a task call
takes a lognormal time with median 1 and sigma 1, a reflection ten times as long, in a simulated
world. Busy is the share of all slots x time in which work was done, over the whole run and over the
middle 80 % of its time, without start and end. What a larger window costs is in the same row: the
score on unseen examples after the same rollouts. Runs that differ in nothing but the number of
slots have to give the same result, or the benchmark fails.

Then by the clock: real threads and the real `dspy.LM`, without caches, against a server on the
loopback interface that takes as long as a hosted model (see `latency_server.py`), only shorter.
Both optimizers get the same program, metric, models, data, seed, threads and budget. Taken is the
time until the program that would be returned at that moment first has, on unseen cases, the
expected score that dspy.GEPA's has in the end. Where ours never has it, its whole run counts. For
this to be a comparison of waiting, not of computing, the client must not need the processor
all the time and the server must not be late; both are printed.

Last, whether 512 threads are 512 requests at once: no request is answered before so many are there.
The HTTP client below a `dspy.LM` gives out 100 connections; here it gives out as many as it takes.

    python benchmarks/throughput.py --json throughput.json
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from latency_server import Address, Latencies, Moments, at_once, latency_server
from report import (
    OURS,
    REFERENCE,
    estimate,
    geometric_mean,
    print_table,
    surroundings,
    write_record,
)
from search_efficiency import CountedMetric, quiet
from worlds import WORLDS, Steps, Task, World, instructions

from dspy_gepa import GEPA
from dspy_gepa.config.config import Config
from dspy_gepa.config.search import Search as SearchConfig
from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.search import start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.core.streams import stream
from dspy_gepa.core.work import Answer, ReflectionRequest, Request, Stop
from dspy_gepa.presets import settings_for
from dspy_gepa.program.examples import ExampleTable
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.worker import Worker
from dspy_gepa.testing.orders import VirtualTimeExecutor
from dspy_gepa.testing.worlds import RuleWorld

Search = Literal["default", "paper"]

TARGETS = {16: 0.9, 64: 0.8}
"""The busy share that is wanted, by slots."""
REFLECTION_TIMES = 10.0
TRAIN, VALIDATION = 100, 100
MOST_AT_ONCE = 512
PARTS = ("virtual", "clock", "at-once")
CLOCK_WORLD = "rules in pairs"


class Watched(VirtualTimeExecutor):
    """Also notes how many requests ran from when to when."""

    def __init__(self, worker: Worker, slots: int, duration: Callable[[Request], float]) -> None:
        super().__init__(worker, slots, duration)
        self._stretches: list[tuple[float, float, int]] = []

    def next_answer(self, timeout_seconds: float | None = None) -> Answer | Stop | None:
        """The answer that is ready first."""
        began, running = self.now_seconds, self.in_flight
        answer = super().next_answer(timeout_seconds)
        self._stretches.append((began, self.now_seconds, running))
        return answer

    def busy(self, first: float = 0.0, last: float = 1.0) -> float:
        """The share of slots that work, from one share of the run's time to another."""
        low, high = first * self.now_seconds, last * self.now_seconds
        worked = sum(
            running * max(0.0, min(ended, high) - max(began, low))
            for began, ended, running in self._stretches
        )
        return worked / (self.slots * (high - low))


def in_virtual_time(
    search: Search, slots: int, window: int, seed: int, budget: int
) -> dict[str, Any]:
    """One run, with what it found and how long that took."""
    settings = settings_of(search, budget, seed, window)
    world = RuleWorld(rules=100, skill=0.5, seed=seed)

    def duration(request: Request) -> float:
        drawn = stream(seed, "seconds", str(request.key)).lognormvariate(0, 1)
        return drawn * (REFLECTION_TIMES if isinstance(request, ReflectionRequest) else 1)

    executor = Watched(world, slots, duration)
    began = time.perf_counter()
    state = run_loop(start(settings, world.student), executor).state
    found = {
        "search": search,
        "slots": slots,
        "window": settings.window,
        "is_default_window": window == settings_of(search, budget, seed).window,
        "seed": seed,
        "busy": executor.busy_seconds / (slots * executor.now_seconds),
        "busy_middle": executor.busy(0.1, 0.9),
        "virtual_seconds": executor.now_seconds,
        "rollouts": state.tally.rollouts,
        "reflection_calls": state.tally.reflection_calls,
        "proposals": state.tally.proposals,
        "score": expected(world, state.members[state.best].candidate),
        "result": fingerprint(state),
        "ended": state.ending,
    }
    return {**found, "own_seconds": time.perf_counter() - began}


def expected(world: RuleWorld, candidate: Candidate, examples: int = 400) -> float:
    """The mean score of a candidate on unseen examples, over all luck."""
    stated = set(candidate[world.names[0]].split())
    unseen = range(1_000_000, 1_000_000 + examples)
    return fmean(
        fmean(1.0 if f"rule{rule}" in stated else world.luck for rule in world.needs(example))
        for example in unseen
    )


def fingerprint(state: RunState) -> str:
    """A name for everything that a run found, and how."""
    told = [
        (sorted(member.candidate.items()), member.parents, member.ticket, member.scores.tolist())
        for member in state.members
    ]
    verdicts = [record.verdict for record in state.history]
    said = repr((told, verdicts, state.spent, state.best))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def settings_of(search: Search, budget: int, seed: int, window: int | None = None) -> Settings:
    """What the search is asked to do, as `GEPA` would ask it."""
    numbers = tuple(range(TRAIN + VALIDATION))
    return settings_for(
        Config(search=SearchConfig(search=search, window=window, seed=seed)),
        ExampleTable((), numbers[:TRAIN], numbers[TRAIN:]),
        Limits(metric_calls=budget),
        feedback_calls=0,
        reflection_calls=1,
    )


def virtual(slots: Sequence[int], seeds: Sequence[int], budget: int) -> list[dict[str, Any]]:
    """All runs in virtual time; prints their table.

    Raises:
        RuntimeError: a result depended on the number of slots.
    """
    runs: list[dict[str, Any]] = []
    searches: tuple[Search, ...] = ("default", "paper")
    for search, count in product(searches, slots):
        default = settings_of(search, budget, 0).window
        # The fewest slots as a window are tried with all slots.
        for window in dict.fromkeys((1, default, min(slots), count, 2 * count)):
            runs += [in_virtual_time(search, count, window, seed, budget) for seed in seeds]
    rows: list[list[object]] = [
        ["search", "slots", "window", "busy", "in the middle", "wanted", "time", "rollouts",
         "reflections", "score"]
    ]  # fmt: skip
    for own in grouped(runs, "search", "slots", "window").values():
        first = own[0]
        rows.append(
            [
                first["search"],
                first["slots"],
                f"{first['window']}{' (default)' if first['is_default_window'] else ''}",
                estimate([each["busy"] for each in own]),
                f"{fmean(each['busy_middle'] for each in own):.3f}",
                f">= {TARGETS[first['slots']]}" if first["slots"] in TARGETS else "",
                f"{fmean(each['virtual_seconds'] for each in own):.0f}",
                f"{fmean(each['rollouts'] for each in own):.0f}",
                f"{fmean(each['reflection_calls'] for each in own):.0f}",
                estimate([each["score"] for each in own]),
            ]
        )
    print(f"\nVirtual time, {budget} metric calls, {len(seeds)} seeds")
    print_table(rows)
    same = grouped(runs, "search", "window", "seed").values()
    several = [own for own in same if len({each["slots"] for each in own}) > 1]
    if any(len({each["result"] for each in own}) > 1 for own in several):
        raise RuntimeError("The result of a run depended on the number of slots.")
    print(f"{len(several)} runs that were made with several numbers of slots: the same results")
    return runs


def grouped(
    runs: Sequence[dict[str, Any]], *names: str
) -> Mapping[tuple[Any, ...], list[dict[str, Any]]]:
    """The runs that are alike in these, in the order of the first of each."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for each in runs:
        found.setdefault(tuple(each[name] for name in names), []).append(each)
    return found


@dataclass(frozen=True)
class Course:
    """What all runs by the clock have in common."""

    address: Address
    world: World
    budget: int
    threads: int

    def run(self, seed: int, window: int | str | None) -> tuple[dict[str, Any], Moments]:
        """One run of ours with a window, or of dspy.GEPA where its name stands for one."""
        task, name, address = Task(self.world, seed), self.world.name, self.address
        metric, moments = CountedMetric(task), Moments(task)
        shared: dict[str, Any] = {
            "metric": metric.plain(),
            "max_metric_calls": self.budget,
            "reflection_lm": address.lm("reflection", name, seed),
            "num_threads": self.threads,
            "seed": seed,
        }
        if window == REFERENCE:
            callbacks = {"callbacks": [moments]}
            optimizer: Any = dspy.GEPA(**shared, track_stats=True, gepa_kwargs=callbacks)
        else:
            optimizer = GEPA(**shared, window=window, observers=[moments])
        train, validation = task.examples()
        address.seen()
        with quiet(), dspy.context(lm=address.lm("task", name, seed), disable_history=True):
            moments.began, computing = time.perf_counter(), time.process_time()
            program = optimizer.compile(Steps(self.world.steps), trainset=train, valset=validation)
            seconds = time.perf_counter() - moments.began
            computing = time.process_time() - computing
        score, server = task.expected(instructions(program)), address.seen()
        if server["unclear"] or not moments.points or moments.points[-1][1] != score:
            raise RuntimeError(f"Seed {seed}, {window}: a candidate or an instruction was missed.")
        found = {
            "seed": seed,
            "system": REFERENCE if window == REFERENCE else OURS,
            "window": None if window == REFERENCE else optimizer.result.state.settings.window,
            "is_default_window": window is None,
            "score": score,
            "seconds": seconds,
            "computing": computing / seconds,
            "rollouts": metric.rollouts,
            "server": server,
            "points": moments.points,
        }
        return found, moments


def clock(
    course: Course, seeds: Sequence[int], windows: Sequence[int | None]
) -> list[dict[str, Any]]:
    """All runs by the clock; prints their table."""
    runs = []
    for seed in seeds:
        theirs, their_moments = course.run(seed, REFERENCE)
        target = theirs["score"]
        reached, kept = their_moments.reached(target), their_moments.kept(target)
        found = [(theirs, their_moments), *(course.run(seed, window) for window in windows)]
        for each, moments in found:
            each["target"] = target
            each["reached"], each["kept"] = moments.reached(target), moments.kept(target)
            each["times_shorter"] = reached / min(each["reached"], each["seconds"])
            each["times_shorter_for_good"] = kept / min(each["kept"], each["seconds"])
            runs.append(each)
    rows: list[list[object]] = [
        ["", "window", "s to score", "times shorter", "for good", "never", "s in all", "score",
         "metric calls", "at once", "computing", "late ms"]
    ]  # fmt: skip
    for own in grouped(runs, "system", "window", "is_default_window").values():
        late = sum(each["server"]["late_seconds"] for each in own)
        rows.append(
            [
                own[0]["system"],
                f"{own[0]['window'] or ''}{' (default)' if own[0]['is_default_window'] else ''}",
                f"{fmean(min(each['reached'], each['seconds']) for each in own):.1f}",
                times([each["times_shorter"] for each in own]),
                times([each["times_shorter_for_good"] for each in own]),
                sum(math.isinf(each["reached"]) for each in own),
                f"{fmean(each['seconds'] for each in own):.1f}",
                f"{fmean(each['score'] for each in own):.3f}",
                f"{fmean(each['rollouts'] for each in own):.0f}",
                max(each["server"]["peak"] for each in own),
                f"{fmean(each['computing'] for each in own):.0%}",
                f"{1000 * late / sum(each['server']['requests'] for each in own):.1f}",
            ]
        )
    print(f"\nBy the clock: {course.world.name}, {course.threads} threads, ", end="")
    print(f"{course.budget} metric calls, {len(seeds)} seeds; wanted: 5 times shorter")
    print_table(rows)
    return runs


def times(ratios: Sequence[float]) -> str:
    """The geometric mean of ratios, with its interval."""
    low, high = (math.exp(end) for end in estimate([math.log(each) for each in ratios])[1:])
    return f"{geometric_mean(ratios):.2f} ({low:.1f}..{high:.1f})"


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--slots", nargs="+", type=int, default=[16, 64], help="in virtual time")
    parser.add_argument("--budget", type=int, default=3000, help="in virtual time")
    names = [world.name for world in WORLDS]
    parser.add_argument("--world", choices=names, default=CLOCK_WORLD, help="by the clock")
    parser.add_argument("--clock-budget", type=int, default=800, help="by the clock")
    parser.add_argument("--threads", type=int, default=16, help="by the clock")
    parser.add_argument(
        "--windows", nargs="*", type=int, default=[8, 16], help="by the clock, beside the default"
    )
    parser.add_argument("--latency", type=float, default=0.02, help="median s of a task call")
    parser.add_argument("--most", type=int, default=MOST_AT_ONCE, help="threads that are at once")
    parser.add_argument("--one-process", action="store_true", help="the server in a thread")
    parser.add_argument("--quick", action="store_true", help="2 seeds, smaller budgets")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args(given)
    arguments.windows = [None, *arguments.windows]
    if arguments.quick:
        arguments.seeds, arguments.budget, arguments.clock_budget = 2, 1000, 200
        arguments.windows = [None, 16]
    return arguments


def main(given: Sequence[str] | None = None) -> None:
    """Print a table of each part; with --json, write every number to a file."""
    arguments = arguments_of(given)
    began = time.perf_counter()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    record: dict[str, Any] = {
        "benchmark": "throughput",
        **surroundings("dspy_gepa", "dspy", "gepa", "litellm", "numpy"),
        **{name: value for name, value in vars(arguments).items() if name != "json"},
        "seeds": list(seeds),
    }
    if "virtual" in arguments.parts:
        record["virtual_runs"] = virtual(arguments.slots, seeds, arguments.budget)
        sys.stdout.flush()
    latencies = Latencies(arguments.latency, REFLECTION_TIMES)
    if {"clock", "at-once"} & set(arguments.parts):
        with latency_server(latencies, is_own_process=not arguments.one_process) as address:
            if "clock" in arguments.parts:
                world = next(each for each in WORLDS if each.name == arguments.world)
                course = Course(address, world, arguments.clock_budget, arguments.threads)
                record["clock_runs"] = clock(course, seeds, arguments.windows)
                sys.stdout.flush()
            if "at-once" in arguments.parts:
                record["at_once"] = at_once(address, arguments.most)
                seen, seconds = record["at_once"]["server"], record["at_once"]["seconds"]
                print(f"\n{arguments.most} threads: {seen['peak']} requests at once, ", end="")
                print(f"{seconds:.1f} s")
    record["seconds"] = time.perf_counter() - began
    print(f"{record['seconds']:.0f} s")
    write_record(arguments.json, record)


if __name__ == "__main__":
    main()

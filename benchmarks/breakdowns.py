"""How often a run takes bad texts for a breakdown, and how soon it notices one.

    python benchmarks/breakdowns.py

Whole searches on simulated tasks, of which no model is asked. A tool fails by chance now and then,
some rewritten texts fail on every example for one cause of their own, and in the second table
everything fails from some rollout on.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.search import start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.core.work import Answer, ReflectionAnswer, Request, RolloutAnswer, RolloutRequest
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor

STAGES = ("ConnectionReset", "Refused", "BadGateway")
DEATHS: dict[str, Callable[[int], str]] = {
    "of one cause": lambda _: "quota",
    "of the tool's cause": lambda _: "tool",
    "of three causes, one after the other": lambda number: STAGES[min(number // 6, 2)],
    "of three causes, in turn": lambda number: STAGES[number % 3],
    "of ever new causes": lambda number: f"error {number}",
}


@dataclass
class World:
    """A program that fails by chance, by its texts, or for good."""

    flaky: float
    bad: float
    """The share of rewritten texts that fail on everything."""
    stubborn: float = 0.0
    """The share of examples on which every text fails."""
    dies_after: int = 10**9
    death: Callable[[int], str] = DEATHS["of one cause"]
    seed: int = 0
    rollouts: int = 0

    def __call__(self, request: Request) -> Answer:
        """The answer of a worker."""
        if not isinstance(request, RolloutRequest):
            return self._reflection(request)
        self.rollouts += 1
        cause = self._cause(request.candidate["a"], request.example)
        if cause:
            rollout = Rollout(0.0, failure=f"It failed: {cause}", is_broken=True, cause=cause)
        else:
            rollout = Rollout(0.4 + 0.05 * len(request.candidate["a"].split()))
        trace = Trace(steps=(Step("a", {}, {}),))
        return RolloutAnswer(request.key, replace(rollout, trace=trace))

    def _cause(self, text: str, example: int) -> str:
        if self.rollouts > self.dies_after:
            return self.death(self.rollouts - self.dies_after - 1)
        if random.Random(f"tool {self.seed} {self.rollouts}").random() < self.flaky:
            return "tool"
        if "bad" in text or random.Random(f"{self.seed} {example}").random() < self.stubborn:
            return "text"
        return ""

    def _reflection(self, request: Request) -> Answer:
        chance = random.Random(f"text {self.seed} {request.ticket}")
        word = "bad" if chance.random() < self.bad else "good"
        texts = {"a": f"{request.candidate['a']} {word}{request.ticket}"}
        return ReflectionAnswer(request.ticket, texts, lm_calls=1)


def searched(world: World, limit: int = 300) -> RunState:
    """How a search of this world ends."""
    settings = Settings(
        train=tuple(range(40)),
        validation=tuple(range(100, 130)),
        limits=Limits(metric_calls=limit),
        use_merge=False,
    )
    return run_loop(start(settings, Candidate.of({"a": "seed"})), SerialExecutor(world)).state


def false_alarms(flaky: float, bad: float, stubborn: float, runs: int) -> tuple[float, float]:
    """The share of runs that end as broken although nothing broke, and trials in a run."""
    broken = trials = 0
    for number in range(runs):
        state = searched(World(flaky, bad, stubborn, seed=number))
        broken += state.is_broken
        trials += sum(key.trial > 0 for key in state.known)
    return broken / runs, trials / runs


def noticed(flaky: float, bad: float, death: Callable[[int], str], runs: int) -> tuple[float, list]:
    """The share of deaths that are noticed, and after how many rollouts, ascending."""
    late = []
    for number in range(runs):
        after = random.Random(number).randrange(3, 200)
        world = World(flaky, bad, 0.1, dies_after=after, death=death, seed=number)
        if searched(world, limit=400).is_broken and world.rollouts > after:
            late.append(world.rollouts - after)
    return len(late) / runs, sorted(late)


def tables(runs: int) -> Iterator[str]:
    """Both tables, line by line."""
    yield "| flaky | bad texts | stubborn examples | taken for a breakdown | trials a run |"
    yield "|---|---|---|---|---|"
    for flaky in (0.0, 0.02, 0.1, 0.3, 0.5):
        for bad in (0.2, 1.0):
            for stubborn in (0.0, 0.5):
                share, trials = false_alarms(flaky, bad, stubborn, runs)
                yield f"| {flaky} | {bad} | {stubborn} | {share:.3f} | {trials:.1f} |"
    yield ""
    yield "| dies | flaky | noticed | after rollouts: median | nine of ten |"
    yield "|---|---|---|---|---|"
    for name, death in DEATHS.items():
        for flaky in (0.0, 0.1, 0.3):
            share, late = noticed(flaky, 0.5, death, runs)
            middle, high = (late[int(len(late) * part)] if late else "" for part in (0.5, 0.9))
            yield f"| {name} | {flaky} | {share:.3f} | {middle} | {high} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    for line in tables(parser.parse_args().runs):
        print(line, flush=True)


if __name__ == "__main__":
    main()

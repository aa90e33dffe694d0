"""How long the report of a simulated run of 2,500 metric calls takes, and how large it is.

Also what share of the run's CPU goes into keeping its story while it runs.

Usage: python benchmarks/report_page.py [--calls 2500]

Models are simulated; texts are made as long as those of real programs: prompts of 12,000
characters, replies and instructions of 2,000, feedback of 300.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import NamedTuple

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.events import Event
from dspy_gepa.core.search import start
from dspy_gepa.core.state import RunState, Settings
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.story.building import story_of
from dspy_gepa.story.parts import ExchangeStory
from dspy_gepa.story.story import Story
from dspy_gepa.story.teller import Teller
from dspy_gepa.testing.worlds import RuleWorld
from dspy_gepa.views.page.page import page_of

WORDS = "answer with the code of the house and nothing else unless the message says otherwise "


class Timed(NamedTuple):
    """A teller that was told of a whole simulated run."""

    teller: Teller
    telling_seconds: float
    """Of CPU, spent in being told."""
    run_seconds: float
    """Of CPU, spent in all else."""


def told(calls: int) -> Timed:
    """A simulated run, and what of it its story cost."""
    world = RuleWorld(pass_or_fail=True, rules=60, luck=0.1, skill=0.3)
    settings = Settings(
        train=tuple(range(50)),
        validation=tuple(range(50, 100)),
        limits=Limits(metric_calls=calls),
    )
    begun = start(settings, world.student)
    heard: list[tuple[Event, RunState]] = []
    began = time.process_time()
    run_loop(begun, SerialExecutor(world), [lambda event, state: heard.append((event, state))])
    run_seconds = time.process_time() - began
    # Told in one go: to look at the clock at every event takes longer than to be told of it.
    teller = Teller(begun)
    began = time.process_time()
    for event, state in heard:
        teller.told(event, state, at=0.0)
    return Timed(teller, time.process_time() - began, run_seconds)


def of_real_size(story: Story) -> Story:
    """The story with texts as long as those of real programs."""

    def text(number: int, length: int) -> str:
        line = f"{number}. {WORDS}\n"
        return (line * (length // len(line) + 1))[:length]

    def exchanged(number: int) -> tuple[ExchangeStory, ...]:
        return (ExchangeStory(prompt=text(number, 12_000), reply=text(number, 2_000)),)

    proposals = tuple(
        replace(
            each,
            exchanges=exchanged(each.number) if each.kind == "rewrite" else (),
            changes=tuple(
                replace(
                    change,
                    before=text(0, 2_000) + change.before,
                    after=text(0, 1_900) + text(each.number, 100) + change.after,
                )
                for change in each.changes
            ),
            shown=tuple(
                replace(shown, answer=replace(shown.answer, feedback=text(shown.example, 300)))
                for shown in each.shown
            ),
        )
        for each in story.proposals
    )
    examples = {
        number: replace(
            each, inputs={"message": text(number, 600)}, expected={"code": text(number, 40)}
        )
        for number, each in story.examples.items()
    }
    return replace(story, proposals=proposals, examples=examples)


def main() -> None:
    """Print two lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2_500)
    timed = told(parser.parse_args().calls)
    seconds = timed.run_seconds + timed.telling_seconds
    share = timed.telling_seconds / seconds
    print(f"run {seconds:.2f} s of CPU, of which its story {share:.1%}")
    teller = timed.teller
    began = time.process_time()
    story = story_of(teller)
    made = time.process_time()
    large = of_real_size(story)
    page_began = time.process_time()
    page = page_of(large)
    ended = time.process_time()
    print(
        f"{story.total.metric_calls} metric calls, {len(story.proposals)} proposals, "
        f"{len(story.members)} members: story {made - began:.2f} s of CPU, page "
        f"{ended - page_began:.2f} s, {len(page.encode()) / 1000:.0f} kB"
    )


if __name__ == "__main__":
    main()

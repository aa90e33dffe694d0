"""What the journal costs: milliseconds per rollout, and whether that stays the same as a run grows.

Measures the time that the run's own thread spends in the journal and waits for the disk, on
rollouts that are answered as fast as they can be written, so that nothing hides behind a language
model. Runs have 1,000 validation examples and a trace of some 2,000 characters per rollout; one
proposal in seven is accepted and validated. Also measured: one rollout that comes alone, which is
flushed to the disk at once; what a flush costs by itself; and reading it all again.

    python benchmarks/journal.py --json journal.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from dspy_gepa.core.budget import Tally
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.events import Advanced, Committed, Event, Issued, Reflected, RolledOut
from dspy_gepa.core.proposal import (
    EvaluatingChild,
    EvaluatingParent,
    Evaluation,
    Mutation,
    Reflecting,
    Settled,
    Validating,
    Verdict,
)
from dspy_gepa.core.rollout import Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.work import ReflectionAnswer
from dspy_gepa.store.blobs import Blobs
from dspy_gepa.store.contents import read_journal
from dspy_gepa.store.journal import FLUSH_SECONDS, Journal
from dspy_gepa.store.redaction import Redactor

VALIDATION = tuple(range(1000))
SIZES = (1_000, 10_000, 100_000)
MINIBATCH = 3
ACCEPTED_EVERY = 7


def proposals() -> Iterator[Event]:
    """The events of a run that never ends, as the search would order them."""
    parent = Candidate.of({"answer": "Answer the question. " * 50})
    ticket = 0
    while True:
        ticket += 1
        child = parent.rewritten({"answer": f"{ticket} Answer the question. " * 50})
        first = ticket * MINIBATCH % len(VALIDATION)
        minibatch = tuple((first + place) % len(VALIDATION) for place in range(MINIBATCH))
        evaluation, gating = Evaluation(parent, minibatch), Evaluation(child, minibatch)
        hold = Tally(rollouts=2 * MINIBATCH, metric_calls=2 * MINIBATCH)
        origin = Mutation(hold, 0, minibatch, ticket, ticket, ticket)
        reflection = ReflectionAnswer(ticket, dict(child), lm_calls=1)
        yield Issued(ticket, origin, EvaluatingParent(evaluation, minibatch))
        yield from rollouts(evaluation)
        yield Advanced(ticket, Reflecting(evaluation, ("answer",)))
        yield Reflected(reflection)
        yield Advanced(ticket, EvaluatingChild(gating, minibatch))
        yield from rollouts(gating)
        verdict = Verdict("rejected", "no better on 3 examples: 1 against 1")
        if ticket % ACCEPTED_EVERY == 1:
            validation = Evaluation(child, VALIDATION)
            yield Advanced(ticket, Validating(validation))
            yield from rollouts(validation)
            verdict = Verdict("accepted", "validated")
        yield Advanced(ticket, Settled(child, verdict))
        yield Committed(ticket, verdict)


def rollouts(evaluation: Evaluation) -> Iterator[Event]:
    """An answer for every example."""
    for example in evaluation.examples:
        inputs = {"context": f"What is known about {example}. " * 40, "question": "Which? " * 20}
        outputs = {"reasoning": "Because of what is known. " * 20, "answer": f"{example}"}
        step = Step("answer", inputs, outputs)
        rollout = Rollout(example % 7 / 7, "Not quite right. " * 8, trace=Trace(steps=(step,)))
        yield RolledOut(RolloutKey(evaluation.candidate.digest, example), rollout)


def opened(folder: Path) -> Journal:
    """A journal in this folder, with what stands there."""
    redact = Redactor({"key": "sk-0123456789abcdef0123456789"})
    blobs = Blobs(folder / "blobs")
    path = folder / "events.jsonl"
    return Journal(path, read_journal(path, blobs, redact), "benchmark", blobs, redact)


def measured(size: int, folder: Path) -> dict[str, float]:
    """A run of so many events: milliseconds per rollout, of all of it and of its last tenth."""
    journal = opened(folder)
    seconds, rolled_out = [0.0], 0
    for event in islice(proposals(), size):
        began = time.perf_counter()
        journal.append(event)
        ended = time.perf_counter()
        seconds[-1] += ended - began
        if isinstance(event, RolledOut):
            rolled_out += 1
            seconds.append(0.0)
    journal.close()
    tail = seconds[-len(seconds) // 10 :]
    began = time.perf_counter()
    contents = read_journal(folder / "events.jsonl", Blobs(folder / "blobs"), Redactor())
    read_seconds = time.perf_counter() - began
    assert len(contents.events) == size
    return {
        "events": size,
        "rollouts": rolled_out,
        "ms_per_rollout": 1000 * sum(seconds) / rolled_out,
        "ms_per_rollout_last_tenth": 1000 * sum(tail) / len(tail),
        "median_ms_per_rollout": 1000 * statistics.median(seconds),
        "mb": contents.size / 1e6,
        "read_seconds": read_seconds,
    }


def flushes(folder: Path) -> dict[str, float]:
    """What is waited for at the least: a flush by itself, and a rollout that comes alone."""
    journal = opened(folder)
    event = next(event for event in proposals() if isinstance(event, RolledOut))
    alone = []
    for _ in range(20):
        time.sleep(FLUSH_SECONDS)  # what a model takes to answer, at the least
        began = time.perf_counter()
        journal.append(event)
        alone.append(time.perf_counter() - began)
    journal.close()
    plain = []
    with (folder / "plain").open("wb") as file:
        for _ in range(20):
            file.write(b"x" * 2000)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            plain.append(time.perf_counter() - began)
    return {
        "rollout_alone_ms": 1000 * statistics.median(alone),
        "flush_ms": 1000 * statistics.median(plain),
    }


def main() -> None:
    """Print one table; with --json, write the same numbers to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--folder", type=Path, help="on which disk; the system's own by default")
    arguments = parser.parse_args()
    rows = []
    print("   events  rollouts  ms/rollout  ms, last tenth  median ms      MB  read again, s")
    for size in SIZES:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            row = measured(size, Path(folder))
        rows.append(row)
        print(
            f"{row['events']:>9} {row['rollouts']:>9} {row['ms_per_rollout']:>11.3f}"
            f" {row['ms_per_rollout_last_tenth']:>15.3f} {row['median_ms_per_rollout']:>10.3f}"
            f" {row['mb']:>7.1f} {row['read_seconds']:>14.2f}"
        )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        alone = flushes(Path(folder))
    print(
        f"a rollout that comes alone: {alone['rollout_alone_ms']:.2f} ms; "
        f"a flush of this disk by itself: {alone['flush_ms']:.2f} ms"
    )
    if arguments.json:
        versions = {name: version(name) for name in ("dspy_gepa", "ujson", "numpy")}
        record = {
            "benchmark": "journal",
            "versions": {**versions, "python": platform.python_version()},
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "validation_examples": len(VALIDATION),
            "rows": rows,
            "flushes": alone,
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

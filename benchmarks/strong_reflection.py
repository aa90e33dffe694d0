"""How much a strong reflection LM gains: our wordings and dspy.GEPA on tasks nobody can know.

A small local model answers, a strong one reflects, on the tasks of `house_tasks.py`. All arms get
the same LMs, data, budget and seeds, and are judged on the same test rows, whose sentence patterns
no search has seen. Arms: "diagnose" is our default; "A0" is our search with one paragraph in place
of our wording; "transcribe" is our wording for small models; "dspy.GEPA" is the built-in.

The reflection LM is any name that litellm knows, or `mailbox:FOLDER`, which lets a person or
another program answer (see `mailbox_lm.py`). Tokens are characters by four; waiting for a mailbox
is not counted as an arm's time. With --json every run is written as soon as it is there, and the
same command goes on where it was interrupted.

"reached" is told in metric calls: when the best program by validation first scored on the first
`--trajectory-rows` test rows what the other arm's final program scores on the same rows.
Intervals are of paired differences, by a bootstrap over rows within each seed: they say nothing of
other seeds, all of which are shown.

    python benchmarks/strong_reflection.py --reflection-model mailbox:letters --json strong.json
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import numpy as np
from house_runs import ARMS, Job, local_student, optimized, row_scores
from house_tasks import HOUSE_TASKS, HouseTask, house_task
from mailbox_lm import MailboxLM, Usage, reflection_model
from report import REFERENCE, Estimate, paired_interval, print_table, surroundings, write_record


class Record:
    """All that was measured, kept in a file as it comes."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "benchmark": "strong_reflection",
            **surroundings("dspy_gepa", "dspy", "gepa", "litellm"),
            "runs": [],
            "scored": [],
        }
        if path is not None and path.exists():
            kept = json.loads(path.read_text("utf-8"))
            self.content["scored"] = kept["scored"]
            # What failed is tried again.
            self.content["runs"] = [run for run in kept["runs"] if not run["problem"]]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """One a task, seed and arm."""
        return list(self.content["runs"])

    def keep(self, run: dict[str, Any]) -> None:
        """Add a run."""
        self.content["runs"].append(run)
        write_record(self.path, self.content)

    def scores(
        self, house: HouseTask, key: dict[str, Any], texts: Sequence[str], student: Any, rows: int
    ) -> list[float]:
        """The scores on so many test rows; a program that was scored before is not run again."""
        wanted = {**key, "texts": list(texts)}
        for scored in self.content["scored"]:
            if wanted.items() <= scored.items() and len(scored["scores"]) >= rows:
                return list(scored["scores"][:rows])
        scores = row_scores(house, texts, student, rows)
        self.content["scored"].append({**wanted, "scores": scores})
        write_record(self.path, self.content)
        return scores


def carry_out(arguments: argparse.Namespace, student: Any, lm: Any, usage: Usage) -> Record:
    """All runs that are not in the record yet."""
    record = Record(arguments.json)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    for seed, name in product(seeds, arguments.tasks):
        house = house_task(name, seed, test=arguments.test)
        settings = {name: getattr(arguments, name) for name in ("task_model", "test")}
        key = {"task": name, "seed": seed, **settings}
        shared = {**key, "budget": arguments.budget, "reflection_model": arguments.reflection_model}
        arms = list(arguments.arms)
        Random(f"{name} {seed}").shuffle(arms)  # no arm is always the first
        for arm in arms:
            wanted = {**shared, "arm": arm}
            if any(wanted.items() <= run.items() for run in record.runs):
                continue
            job = Job(house, lm, arguments.budget, seed, arguments.num_threads)
            run = optimized(arm, job, student, usage)
            if not run["problem"]:
                texts = run["texts"]
                run["scores"] = record.scores(house, key, texts, student, arguments.test)
                for point in run["best"]:
                    rows = min(arguments.trajectory_rows, arguments.test)
                    scores = record.scores(house, key, point["texts"], student, rows)
                    point["score"] = float(np.mean(scores)) if rows else None
            record.keep({**wanted, **run})
            score = run["problem"] or f"{np.mean(run['scores']):.3f}"
            print(f"{name}, seed {seed}, {arm}: {score} ({run['metric_calls']} calls)", flush=True)
    return record


def reached(run: dict[str, Any], other: dict[str, Any]) -> str:
    """The metric calls at which a run's best program first had the other's final score."""
    points = [point for point in run["best"] if point.get("score") is not None]
    rows = next((point for point in reversed(other["best"]) if point.get("score") is not None), 0)
    if not points or not rows:
        return "?"
    calls = (each["metric_calls"] for each in points if each["score"] >= rows["score"])
    return str(next(calls, "never"))


def print_runs(runs: Sequence[dict[str, Any]], against: str) -> None:
    """A table of all runs of each task, and the differences to one arm over all seeds."""
    heading = [
        *("task, seed, arm", "unseen", f"minus {against}", "metric calls", "reflections"),
        *("tokens in", "out", "minutes", "characters", f"reached {against}", "was reached"),
    ]
    for task in dict.fromkeys(run["task"] for run in runs):
        own = [run for run in runs if run["task"] == task and not run["problem"]]
        base = {run["seed"]: run for run in own if run["arm"] == against}
        rows: list[list[object]] = [heading]
        for run in sorted(own, key=lambda each: (each["seed"], list(ARMS).index(each["arm"]))):
            other = base.get(run["seed"])
            is_other = other is not None and run is not other
            difference = paired_interval([(run["scores"], other["scores"])]) if is_other else ""
            rows.append(
                [
                    f"{task}, {run['seed']}, {run['arm']}",
                    f"{np.mean(run['scores']):.3f}",
                    difference.signed if isinstance(difference, Estimate) else "",
                    *(run[each] for each in ("metric_calls", "reflection_calls")),
                    *(run[each] for each in ("tokens_in", "tokens_out")),
                    f"{run['minutes']:.1f}",
                    sum(map(len, run["texts"])),
                    *((reached(run, other), reached(other, run)) if is_other else ("", "")),
                ]
            )
        print()
        print_table(rows)
        for arm in dict.fromkeys(run["arm"] for run in own if run["arm"] != against):
            pairs = [
                (run["scores"], base[run["seed"]]["scores"])
                for run in own
                if run["arm"] == arm and run["seed"] in base
            ]
            if pairs:
                print(f"{task}, {arm} minus {against}: {paired_interval(pairs).signed}")
    for run in runs:
        if run["problem"]:
            print(f"{run['task']}, {run['seed']}, {run['arm']} failed: {run['problem']}")


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reflection-model", required=True, help="a name, or mailbox:FOLDER")
    parser.add_argument("--task-model", default="1.5b", choices=("0.5b", "1.5b"))
    parser.add_argument("--tasks", nargs="+", choices=HOUSE_TASKS, default=list(HOUSE_TASKS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=120, help="in metric calls")
    parser.add_argument("--test", type=int, default=200, help="test rows")
    parser.add_argument("--trajectory-rows", type=int, default=50, help="0 to record none")
    parser.add_argument("--num-threads", type=int, default=1, help="examples in flight at once")
    parser.add_argument("--threads", type=int, default=1, help="of the local model")
    parser.add_argument("--json", type=Path, help="where results are kept as they come")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Print a table for each task; with --json, keep every run as soon as it is there."""
    arguments, usage = arguments_of(given), Usage()
    lm = reflection_model(arguments.reflection_model, usage)
    try:
        with local_student(arguments.task_model, arguments.threads, 32) as student:
            record = carry_out(arguments, student, lm, usage)
    finally:
        if isinstance(lm, MailboxLM):
            lm.close()
    against = REFERENCE if REFERENCE in arguments.arms else arguments.arms[0]
    print_runs(record.runs, against)


if __name__ == "__main__":
    main()

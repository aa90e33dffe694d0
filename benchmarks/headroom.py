"""How much there is to gain on each house task: as given, and with the instruction by hand.

A task is worth running where the two lie 20 points apart and the second is below 95 %.

    python benchmarks/headroom.py --seeds 3
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from house_runs import local_student, row_scores, texts_of
from house_tasks import HOUSE_TASKS, house_task
from report import print_table, surroundings, write_record


def measured(name: str, seed: int, student: Any, rows: int) -> dict[str, Any]:
    """Both scores of a task for a seed, and the seconds that a rollout took."""
    house = house_task(name, seed, test=rows)
    began = time.perf_counter()
    scores = [
        fmean(row_scores(house, texts, student, rows))
        for texts in (texts_of(house.task.program), [house.good])
    ]
    seconds = (time.perf_counter() - began) / (2 * rows)
    given, good = scores
    return {"task": name, "seed": seed, "given": given, "good": good, "seconds": seconds}


def main(given: Sequence[str] | None = None) -> None:
    """Print a line for each task and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", nargs="+", choices=HOUSE_TASKS, default=list(HOUSE_TASKS))
    parser.add_argument("--task-model", default="1.5b", choices=("0.5b", "1.5b"))
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--test", type=int, default=100, help="test rows")
    parser.add_argument("--threads", type=int, default=1, help="of the local model")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args(given)
    record: dict[str, Any] = {"benchmark": "headroom", **surroundings("dspy"), "runs": []}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    with local_student(arguments.task_model, arguments.threads, 32) as student:
        for name in arguments.tasks:
            for seed in seeds:
                record["runs"].append(measured(name, seed, student, arguments.test))
                print(record["runs"][-1], flush=True)
                write_record(arguments.json, record)
    rows: list[list[object]] = [["task, seed", "as given", "by hand", "seconds a rollout"]]
    for run in record["runs"]:
        numbers = [f"{run[each]:.3f}" for each in ("given", "good")]
        rows.append([f"{run['task']}, {run['seed']}", *numbers, f"{run['seconds']:.2f}"])
    print_table(rows)


if __name__ == "__main__":
    main()

"""Which tasks can be run here: where the rows of each come from, or what is missing.

python benchmarks/task_origins.py --data-dir DIR
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from report import print_table
from tasks import TASKS, DataNotFound, MissingPackage, Source, load

from dspy_gepa.program.program import components_of

HEADING = ("task", "train/validation/test", "components", "digest")


def main() -> None:
    """Load each task and print its origin."""
    parser = argparse.ArgumentParser(description="Where the rows of the tasks come from.")
    parser.add_argument("--tasks", nargs="*", default=TASKS, choices=TASKS, metavar="TASK")
    parser.add_argument("--data-dir", type=Path, help="a folder that holds TASK/FILE")
    parser.add_argument("--seed", type=int, default=0, help="what generated tasks are drawn by")
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = [HEADING]
    remarks = []
    for name in options.tasks:
        try:
            task = load(name, Source(options.data_dir), options.seed)
        except (DataNotFound, MissingPackage) as error:
            remarks.append(f"{name} is missing. {error}")
            continue
        origin = task.origin
        counts = "/".join(map(str, origin.rows.values()))
        rows.append((name, counts, len(components_of(task.program)), origin.digest))
        remarks.append(f"{name}: {origin}")
    print_table(rows)
    print("", *remarks, sep="\n")


if __name__ == "__main__":
    main()

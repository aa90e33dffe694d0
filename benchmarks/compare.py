"""Every optimizer on every task at equal metric calls: ours, DSPy's, TextGrad, Trace and CAPO.

All get the same program, the same LMs for the task and for reflection (without a cache), the same
training and validation examples and one counted metric, which refuses calls above the budget by
raising. An optimizer that goes above is stopped there, and the best program that it had run by then
is scored; the table says so. The test examples are scored once, by this program, on what was saved
as JSON and loaded into a fresh copy.

Models: `local:1.5b` and `local:0.5b` run on this machine, `mailbox:FOLDER` lets a person or another
program reflect (see `mailbox_lm.py`), and every other name is litellm's.

With --json every cell is a file of its own, written when it is there; the same command goes on
where it was interrupted, and tries again what failed or was missing. What is missing (a package, a
key, a data set) is told in its cell and ends nothing else; the exit code is then 1.

    python benchmarks/compare.py --tasks facility --model local:1.5b --budget 100 --json cells
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from rivals import AS_GIVEN, OPTIMIZERS
from rivals.cells import Cell, Sizes, carried_out, drawn, without_score
from rivals.contest import Missing
from rivals.lms import LMs, named_lms
from rivals.table import KINDS, print_task
from task import Task
from task_source import DataNotFound, Source
from tasks import TASKS, MissingPackage


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, required=True)
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--model", default="local:1.5b", help="runs the program")
    parser.add_argument("--reflection-model", help="rewrites instructions; by default --model")
    parser.add_argument("--budget", type=_positive, default=100, help="in metric calls")
    parser.add_argument("--seeds", type=_positive, default=2, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    for split in ("train", "validation", "test"):
        parser.add_argument(
            f"--{split}", type=_positive, help=f"at most so many {split} rows, drawn by the seed"
        )
    parser.add_argument("--data-dir", type=Path, help="a folder that holds TASK/FILE")
    parser.add_argument("--json", type=Path, help="a folder; each result is a file in it")
    parser.add_argument("--num-threads", type=_positive, default=1, help="examples at once")
    parser.add_argument("--threads", type=_positive, help="of the local model; all idle cores")
    parser.add_argument("--answer-tokens", type=_positive, default=400, help="of the local model")
    parser.add_argument(
        "--local-server", help="the OpenAI-compatible address of one that has the local models"
    )
    arguments = parser.parse_args(given)
    if arguments.json and arguments.json.exists() and not arguments.json.is_dir():
        parser.error(f"--json: {arguments.json} is a file, and a folder is needed")
    arguments.reflection_model = arguments.reflection_model or arguments.model
    return arguments


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def cells_of(arguments: argparse.Namespace, folder: Path) -> list[Cell]:
    """All cells of the tables, in the order in which they are carried out.

    The program as given is always among them: all others are compared with it.
    """
    names = ("model", "reflection_model", "budget", "train", "validation", "test")
    settings = {name: getattr(arguments, name) for name in (*names, "answer_tokens", "num_threads")}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    optimizers = dict.fromkeys((AS_GIVEN, *arguments.optimizers))
    return [
        Cell(task, optimizer, seed, settings, folder)
        for task, seed, optimizer in product(dict.fromkeys(arguments.tasks), seeds, optimizers)
    ]


def carry_out(cells: Sequence[Cell], lms: LMs | Missing, arguments: argparse.Namespace) -> None:
    """All cells that have no score yet, on the data that there is now."""
    sizes = Sizes(arguments.train, arguments.validation, arguments.test)

    @cache  # rows that are nowhere are looked for once
    def rows_of(name: str, seed: int) -> Task | dict[str, Any]:
        try:
            return drawn(name, Source(arguments.data_dir), seed, sizes)
        except (DataNotFound, MissingPackage) as error:
            return without_score(missing=str(error))
        except Exception as error:  # noqa: BLE001 - rows that cannot be read are like missing ones
            return without_score(problem=f"{type(error).__name__}: {error}")

    for cell in cells:
        kept, task = cell.kept() or {}, rows_of(cell.task, cell.seed)
        origin: dict[str, Any] = {}
        if isinstance(task, Task):
            counts = [len(rows) for rows in (task.train, task.validation, task.test)]
            used = "used: {} train, {} validation, {} test".format(*counts)
            origin = {"origin": f"{task.origin}; {used}", "digest": task.origin.digest}
        if kept.get("scores") and kept["digest"] == origin.get("digest", kept["digest"]):
            continue
        if not isinstance(task, Task):
            found = task
        elif isinstance(lms, Missing):
            found = without_score(missing=str(lms))
        else:
            found = carried_out(cell, task, lms, num_threads=arguments.num_threads)
        cell.keep({**origin, **found})
        _say(cell, found)


def _say(cell: Cell, found: dict[str, Any]) -> None:
    title = f"{cell.task}, {cell.optimizer}, seed {cell.seed}"
    if found.get("scores"):
        score = sum(found["scores"]) / len(found["scores"])
        said = f"{score:.3f} ({found['metric_calls']} metric calls, {found['minutes']:.1f} min)"
        said = "; ".join([said, *found["notes"]])
    else:
        said = next(f"{word}: {found[name]}" for name, word in KINDS.items() if found.get(name))
    print(f"{title}: {said}", flush=True)


def main(given: Sequence[str] | None = None) -> int:
    """Carry out what has no score yet, and print a table for each task; 1 if one lacks it."""
    arguments = arguments_of(given)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.json or Path(temporary)
        cells = cells_of(arguments, folder)
        try:
            with named_lms(
                arguments.model,
                arguments.reflection_model,
                threads=arguments.threads,
                answer_tokens=arguments.answer_tokens,
                local_server=arguments.local_server,
            ) as lms:
                carry_out(cells, lms, arguments)
        except Missing as error:
            carry_out(cells, error, arguments)
        rows = [cell.kept() or {} for cell in cells]
    for task in dict.fromkeys(arguments.tasks):
        print_task(task, [row for row in rows if row["task"] == task], cells[0].settings)
    return int(not all(row.get("scores") or row.get("unsuited") for row in rows))


if __name__ == "__main__":
    sys.exit(main())

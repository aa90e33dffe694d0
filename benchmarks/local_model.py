"""Real scores with a model on this machine: ours, dspy.GEPA and DSPy's other optimizers.

All get the same program, model (also for rewriting), data and budget in metric calls, and are
judged on a test set that none of them sees. The calls are counted by the metric; what an optimizer
really made is in its row. "ours appending" asks for additions to the instruction and not for a new
one, "ours with demos" tries demonstrations after its instructions. Budgets of optimizers without
such a limit follow from their own parameters, chosen as near to it as these allow: see
`OPTIMIZERS`. Those that take no validation set get both sets to train on. What an optimizer cannot
do is told in its row and ends nothing.

The local model is not seeded: seeds are repetitions. With --json every result is written as soon
as it is there; the same command goes on where it was interrupted,
and tries again what failed.

    python benchmarks/local_model.py --model 1.5b --seeds 3 --json local_model.json

MIPROv2 needs optuna; `facility` needs its rows, see the demo. `--plan` tells how long it will take.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import fmean
from threading import Lock
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from dspy.utils.callback import BaseCallback
from local_tasks import TASKS
from report import OURS, REFERENCE, estimate, print_table, surroundings, write_record
from search_efficiency import quiet

from dspy_gepa import GEPA
from dspy_gepa.demo.models import ModelChoice, Models, models
from dspy_gepa.demo.scoring import score
from dspy_gepa.demo.task import Task, limited

AS_GIVEN = "as given"
REFLECTION_SHARE = 1.33
"""What reflections add to the time of metric calls, as the demo reckons."""


@dataclass
class Counted:
    """The metric of a task in the forms that optimizers want, with one count of its calls."""

    task: Task
    calls: int = 0

    def __post_init__(self) -> None:
        self._lock = Lock()

    def _graded(self, *given: Any, **named: Any) -> Any:
        with self._lock:
            self.calls += 1
        return self.task.metric(*given, **named)

    def told(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction,
        trace: object = None,
        pred_name: str | None = None,
        pred_trace: object = None,
    ) -> dspy.Prediction:
        """Score and feedback, in the form that dspy.GEPA takes."""
        del trace, pred_name, pred_trace
        graded = self._graded(gold, pred)
        return dspy.Prediction(score=graded.score, feedback=graded.feedback)

    def plain(self, gold: dspy.Example, pred: dspy.Prediction) -> Any:
        """The same without the parameters that would ask for every step's own feedback."""
        return self._graded(gold, pred)

    def number(self, gold: dspy.Example, pred: dspy.Prediction, trace: object = None) -> float:
        """The score; for a demonstration, which DSPy marks by a trace, whether all is right."""
        found = self._graded(gold, pred).score
        return found if trace is None else float(found >= 1)


class CallCount(BaseCallback):
    """How many calls of language models there were."""

    def __init__(self) -> None:
        self.calls = 0

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Count one."""
        del call_id, instance, inputs
        self.calls += 1


@dataclass(frozen=True)
class Job:
    """What an optimizer is asked to do."""

    task: Task
    lms: Models
    metric: Counted
    budget: int
    seed: int
    threads: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Predictors, training and validation examples."""
        train, validation, _ = self.task.splits
        return len(self.task.program.predictors()), len(train), len(validation)

    @property
    def both(self) -> list[dspy.Example]:
        """Training and validation examples."""
        return [*self.task.splits.train, *self.task.splits.validation]

    def compiled(self, optimizer: Any, **settings: Any) -> dspy.Module:
        """What it makes of the program, with training and validation set."""
        train, validation, _ = self.task.splits
        student = self.task.program.deepcopy()
        return optimizer.compile(student, trainset=train, valset=validation, **settings)


def ours(job: Job, **settings: Any) -> dspy.Module:
    """Its budget is a limit."""
    optimizer = GEPA(
        job.metric.plain,
        **settings,
        max_metric_calls=job.budget,
        reflection_lm=job.lms.reflection,
        num_threads=job.threads,
        seed=job.seed,
    )
    return job.compiled(optimizer)


def reference(job: Job) -> dspy.Module:
    """Its budget is tested between iterations."""
    optimizer = dspy.GEPA(
        metric=job.metric.told,
        max_metric_calls=job.budget,
        reflection_lm=job.lms.reflection,
        num_threads=job.threads,
        seed=job.seed,
    )
    return job.compiled(optimizer)


def mipro(job: Job, *, demos: int) -> dspy.Module:
    """A validation of the program and of each trial; demonstrations look at the training set."""
    if find_spec("optuna") is None:
        raise ImportError("pip install optuna")  # it would say so only after its bootstrapping
    _, train, validation = job.sizes
    candidates = 4
    bootstrapping = train * (candidates - 2) if demos else 0
    trials = max(1, (job.budget - bootstrapping) // validation - 1)
    optimizer = dspy.MIPROv2(
        metric=job.metric.number,
        prompt_model=job.lms.reflection,
        task_model=job.lms.student,
        auto=None,
        num_candidates=candidates,
        max_bootstrapped_demos=demos,
        max_labeled_demos=demos,
        num_threads=job.threads,
        seed=job.seed,
    )
    return job.compiled(optimizer, num_trials=trials, minibatch=False, seed=job.seed)


def copro(job: Job) -> dspy.Module:
    """Every candidate is run on all examples, at each depth for each predictor."""
    predictors, train, validation = job.sizes
    a_round = predictors * (train + validation)
    depth = 2 if job.budget >= 4 * a_round else 1
    optimizer = dspy.COPRO(
        prompt_model=job.lms.reflection,
        metric=job.metric.number,
        breadth=max(2, round(job.budget / (depth * a_round))),
        depth=depth,
    )
    settings = {"num_threads": job.threads, "display_progress": False}
    return optimizer.compile(job.task.program.deepcopy(), trainset=job.both, eval_kwargs=settings)


def simba(job: Job) -> dspy.Module:
    """Two batches for each candidate and step, and at the end the best on all examples."""
    examples, candidates = len(job.both), 3
    batch = min(8, examples)
    steps = max(1, (job.budget - (candidates + 1) * examples) // (2 * batch * candidates))
    optimizer = dspy.SIMBA(
        metric=job.metric.number,
        bsize=batch,
        num_candidates=candidates,
        max_steps=steps,
        max_demos=4,
        prompt_model=job.lms.reflection,
        num_threads=job.threads,
    )
    return optimizer.compile(job.task.program.deepcopy(), trainset=job.both, seed=job.seed)


def bootstrap(job: Job) -> dspy.Module:
    """Three sets of demonstrations and so many more, each validated; finding them costs too."""
    _, train, validation = job.sizes
    more = max(0, (job.budget - 3 * validation - train) // (validation + train))
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=job.metric.number,
        max_bootstrapped_demos=4,
        max_labeled_demos=6,
        num_candidate_programs=more,
        num_threads=job.threads,
    )
    return job.compiled(optimizer)


OPTIMIZERS: dict[str, Callable[[Job], dspy.Module]] = {
    OURS: ours,
    f"{OURS} appending": partial(ours, edit_mode="append"),
    f"{OURS} with demos": partial(ours, max_bootstrapped_demos=4, max_labeled_demos=6),
    REFERENCE: reference,
    "MIPROv2": partial(mipro, demos=0),
    "MIPROv2 with demos": partial(mipro, demos=4),
    "COPRO": copro,
    "SIMBA": simba,
    "BootstrapRS": bootstrap,
}


def optimized(name: str, job: Job) -> dict[str, Any]:
    """One optimizer's row: what it made, what that scores on unseen examples, what it cost."""
    counter, began = CallCount(), time.perf_counter()
    found: dict[str, Any] = {"problem": "", "score": None, "parts": {}}
    seconds = 0.0
    try:
        with dspy.context(lm=job.lms.student):
            with quiet(), dspy.context(callbacks=[counter]):
                program = OPTIMIZERS[name](job)
            seconds, calls = time.perf_counter() - began, job.metric.calls
            found |= tested(program, job) | {"metric_calls": calls}
    except Exception as error:  # noqa: BLE001 - whatever breaks a rival is a result of its own
        found["problem"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        found["metric_calls"] = job.metric.calls
    return {
        **found,
        "lm_calls": counter.calls,
        "minutes": (seconds or time.perf_counter() - began) / 60,
        "test_minutes": (time.perf_counter() - began - seconds) / 60 if seconds else 0.0,
    }


def tested(program: dspy.Module, job: Job) -> dict[str, Any]:
    """What a program scores on unseen examples, and what it says."""
    with quiet():
        test = job.task.splits.test
        found = score(program, job.task, test, title="test", num_threads=job.threads)
    return {
        "score": found.mean,
        "parts": found.parts,
        "instructions": [each.signature.instructions for each in program.predictors()],
        "demos": [len(each.demos) for each in program.predictors()],
    }


def print_rows(name: str, task: Task, runs: Sequence[dict[str, Any]]) -> None:
    """The table of one task."""
    print(f"\n{name}: {task.title}; {', '.join(str(len(each)) for each in task.splits)} examples")
    rows: list[list[object]] = [
        ["", "test score", "runs", "metric calls", "LM calls", "minutes", "demos", "problem"]
    ]
    for optimizer in dict.fromkeys(run["optimizer"] for run in runs):
        own = [run for run in runs if run["optimizer"] == optimizer]
        good = [run for run in own if not run["problem"]]
        rows.append(
            [
                optimizer,
                estimate([run["score"] for run in good]) if good else "",
                len(good),
                *(f"{fmean(run[key] for run in own):.0f}" for key in ("metric_calls", "lm_calls")),
                f"{fmean(run['minutes'] for run in own):.1f}",
                f"{fmean(max(run['demos']) for run in good):.1f}" if good else "",
                next((run["problem"][:70] for run in own if run["problem"]), ""),
            ]
        )
    print_table(rows)
    sys.stdout.flush()


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="1.5b", help="0.5b, 1.5b, or a name for litellm")
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=["house-labels", "house-codes"]
    )
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--metric-calls", type=int, help="the budget; by default the task's own")
    parser.add_argument("--limit", type=int, help="at most so many training and validation rows")
    parser.add_argument("--test", type=int, help="at most so many test rows")
    parser.add_argument("--num-threads", type=int, default=1, help="examples in flight at once")
    parser.add_argument("--threads", type=int, help="of the local model; as many as are idle")
    parser.add_argument("--data-dir", type=Path, help="a folder that holds facility/dataset.json")
    parser.add_argument("--plan", action="store_true", help="tell how long it will take, and stop")
    parser.add_argument("--json", type=Path, help="where results are kept as they come")
    return parser.parse_args(given)


def task_of(name: str, arguments: argparse.Namespace) -> Task:
    """The task, as small as was asked for."""
    task = TASKS[name](arguments.data_dir)
    cut = limited(task.splits, arguments.limit)._replace(test=task.splits.test[: arguments.test])
    return replace(task, splits=cut, metric_calls=arguments.metric_calls or task.metric_calls)


def main(given: Sequence[str] | None = None) -> None:
    """Print a table for each task; with --json, keep every result as soon as it is there."""
    arguments = arguments_of(given)
    record: dict[str, Any] = {
        "benchmark": "local_model",
        **surroundings("dspy_gepa", "dspy", "gepa", "litellm"),
        "runs": [],
    }
    if arguments.json and arguments.json.exists():
        kept = json.loads(arguments.json.read_text("utf-8"))["runs"]
        record["runs"] = [run for run in kept if not run["problem"]]  # what failed is tried again
    for name in arguments.tasks:
        task = task_of(name, arguments)
        if arguments.model in ("0.5b", "1.5b"):
            choice = ModelChoice(local_model=arguments.model, threads=arguments.threads)
        else:
            choice = ModelChoice(model=arguments.model)
        with models(choice, answer_tokens=task.answer_tokens) as lms:
            carry_out(name, task, lms, arguments, record)


def carry_out(
    name: str, task: Task, lms: Models, arguments: argparse.Namespace, record: dict[str, Any]
) -> None:
    """All runs of one task that are not in the record yet."""
    shared = {
        "task": name,
        "model": arguments.model,
        "budget": task.metric_calls,
        "sizes": [len(each) for each in task.splits],
    }
    done = {
        (run["optimizer"], run["seed"]) for run in record["runs"] if shared.items() <= run.items()
    }

    def keep(optimizer: str, seed: int, found: dict[str, Any]) -> None:
        record["runs"].append({**shared, "optimizer": optimizer, "seed": seed, **found})
        write_record(arguments.json, record)

    def job(seed: int) -> Job:
        counted = Counted(task)
        return Job(task, lms, counted, task.metric_calls, seed, arguments.num_threads)

    began = time.perf_counter()
    with dspy.context(lm=lms.student):
        found = tested(task.program, job(0))
    each_seconds = (time.perf_counter() - began) / len(task.splits.test)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    left = [pair for pair in product(seeds, arguments.optimizers) if pair[::-1] not in done]
    calls = REFLECTION_SHARE * task.metric_calls + len(task.splits.test)
    print(
        f"\n{name}, {lms.place}: {found['score']:.3f} as given; {each_seconds:.2f} s an example; "
    )
    print(
        f"{len(left)} runs, about {len(left) * calls * each_seconds / 60:.0f} minutes", flush=True
    )
    if arguments.plan:
        return
    if (AS_GIVEN, 0) not in done:
        keep(AS_GIVEN, 0, {**found, "problem": "", "metric_calls": 0, "lm_calls": 0, "minutes": 0})
    for seed, optimizer in left:
        row = optimized(optimizer, job(seed))
        keep(optimizer, seed, row)
        said = row["problem"] or f"{row['score']:.3f}"
        print(f"  {optimizer}, seed {seed}: {said} ({row['metric_calls']} metric calls, ", end="")
        print(f"{row['minutes']:.1f} min)", flush=True)
    own = [run for run in record["runs"] if shared.items() <= run.items()]
    print_rows(name, task, own)


if __name__ == "__main__":
    main()

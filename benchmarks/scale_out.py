"""What rollouts in other processes cost, and what becomes of the count where processes are killed.

A program of one predictor, whose model answers at once or after a second, is run by threads of one
process, by a pool of processes and by a Dask cluster on this machine.

- "cost": seconds of our own for a rollout, one at a time and sixteen at once, with a model that
  answers at once.
- "throughput": the share of what is ideal, with a model that takes a second, on two processes of
  sixteen threads each. A pool of processes has no threads and is left out.
- "kills": a search over a cluster whose processes are all killed once while it runs: what the run
  says that it spent, beside the beginnings that the program itself wrote into a file.
- "machines": simulated, with the driver's cost as measured: what share of 8 and of 64 machines of
  sixteen threads each one driver keeps busy.

Dask needs the extra dask. Model calls are simulated; processes, kills and the clock are not.

    python benchmarks/scale_out.py --json scale_out.json
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
# DSPy's own words about the class below, once for every program that is made.
os.environ.setdefault("PYTHONWARNINGS", "ignore::DeprecationWarning")

import dspy
from report import print_table, surroundings, write_record

from dspy_gepa.core.budget import Limits
from dspy_gepa.core.search import start
from dspy_gepa.core.state import Settings
from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest, RolloutRequest
from dspy_gepa.program.program import components_of
from dspy_gepa.program.remote import program_parcel
from dspy_gepa.program.rollouts.metric import Metric
from dspy_gepa.program.worker import ProgramWorker, WorkerSettings
from dspy_gepa.run.executor import Executor
from dspy_gepa.run.loop import run_loop
from dspy_gepa.run.pooled import PooledExecutor, pool_of
from dspy_gepa.run.serial import SerialExecutor
from dspy_gepa.run.threads import ThreadedExecutor

PROCESSES, THREADS = 2, 16
PARTS = ("cost", "throughput", "kills", "machines")
MAKE = Callable[[ProgramWorker, dspy.Module, int], Executor]


warnings.simplefilter("ignore", DeprecationWarning)


class Model(dspy.BaseLM):
    """Answers after so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__("simulated", "chat", 0.0, 100, False)
        self.seconds = seconds

    def forward(self, *_: Any, **__: Any) -> Any:
        """The same answer to everything."""
        time.sleep(self.seconds)
        message = SimpleNamespace(content="[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]")
        choice = SimpleNamespace(message=message, finish_reason="stop", index=0)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return SimpleNamespace(choices=[choice], usage=usage, model=self.model)


class Program(dspy.Module):
    """One predictor; writes a line where it begins, if it is told where."""

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.folder = folder

    def forward(self, question: str) -> Any:
        """The answer."""
        if self.folder:
            name = f"{os.getpid()}-{threading.get_ident()}"
            with (Path(self.folder) / name).open("a") as file:
                file.write(f"{question}\n")
        return self.ask(question=question)


def metric(gold: Any, pred: Any, trace: Any = None) -> float:  # noqa: ARG001 - a metric's shape
    """Right for half of the examples, so that there is something to reflect on."""
    return float(gold.number % 2 == 0)


EXAMPLES = [
    dspy.Example(question=f"Is it {number}?", number=number).with_inputs("question")
    for number in range(1000)
]


def reflect(request: ReflectionRequest, *_: Any) -> ReflectionAnswer:
    """Another text each time."""
    texts = dict.fromkeys(request.components, f"Answer well, attempt {request.ticket}.")
    return ReflectionAnswer(request.ticket, texts, lm_calls=1)


def worker_for(program: dspy.Module) -> ProgramWorker:
    """Carries out the program's rollouts in this process."""
    return ProgramWorker(program, Metric(metric), EXAMPLES, reflect, WorkerSettings())


def pooled(pool: Any) -> MAKE:
    """Makes executors over a pool or a Dask client."""

    def make(worker: ProgramWorker, program: dspy.Module, slots: int) -> Executor:
        parcel = program_parcel(program, metric, WorkerSettings(), EXAMPLES)
        return PooledExecutor(worker, pool_of(pool), slots, parcel)

    return make


@contextmanager
def dask_client() -> Iterator[Any]:
    """A cluster of processes with threads on this machine."""
    import distributed  # noqa: PLC0415 - an extra

    with (
        distributed.LocalCluster(
            n_workers=PROCESSES, threads_per_worker=THREADS, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextmanager
def engines(*, with_pool: bool) -> Iterator[dict[str, MAKE]]:
    """Everything that carries out rollouts, by name."""
    found: dict[str, MAKE] = {"threads": lambda w, _, slots: ThreadedExecutor(w, slots)}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool, dask_client() as client:
        if with_pool:
            found[f"pool of {PROCESSES}"] = pooled(pool)
        found[f"dask, {PROCESSES} x {THREADS}"] = pooled(client)
        yield found


def seconds_for(make: MAKE, count: int, slots: int, model_seconds: float) -> tuple[float, float]:
    """Seconds, and seconds of this process's CPU, for so many rollouts, after as many slots."""
    program = Program()
    candidate = components_of(program)
    with (
        dspy.context(lm=Model(model_seconds), disable_history=True),
        closing(worker_for(program)) as worker,
        closing(make(worker, program, slots)) as executor,
    ):
        begun = cpu = 0.0
        for position in range(-slots, count):
            if position == 0:
                begun, cpu = time.perf_counter(), time.process_time()
            trial = RolloutRequest(candidate, position % len(EXAMPLES), False, abs(position) + 1)
            if executor.in_flight == slots or position == 0:
                for _ in range(executor.in_flight if position == 0 else 1):
                    executor.next_answer()
            executor.submit(trial)
        while executor.in_flight:
            executor.next_answer()
        return time.perf_counter() - begun, time.process_time() - cpu


def costs(count: int) -> list[dict[str, Any]]:
    """What each engine costs beside the model, as seconds and as this process's CPU."""
    rows = []
    with engines(with_pool=True) as found:
        for name, make in found.items():
            for slots in (1, THREADS):
                seconds, cpu = seconds_for(make, count, slots, 0.0)
                rows.append(
                    {
                        "engine": name,
                        "at once": slots,
                        "ms a rollout": 1000 * seconds / count,
                        "driver's CPU ms": 1000 * cpu / count,
                    }
                )
    return rows


def throughputs(count: int, model_seconds: float) -> list[dict[str, Any]]:
    """How near to the ideal each engine comes where the model takes its time."""
    slots, rows = PROCESSES * THREADS, []
    with engines(with_pool=False) as found:
        for name, make in found.items():
            seconds, _ = seconds_for(make, count, slots, model_seconds)
            ideal = model_seconds * count / slots
            rows.append({"engine": name, "slots": slots, "share of ideal": ideal / seconds})
    return rows


def kills(proposals: int) -> dict[str, Any]:
    """A run whose processes are all killed once, beside one in this process that nobody killed."""
    settings = Settings(
        train=tuple(range(10)),
        validation=tuple(range(10, 20)),
        limits=Limits(proposals=proposals),
        window=4,
    )
    with tempfile.TemporaryDirectory() as folder, dask_client() as client:
        program = Program(folder)
        seed = components_of(program)
        with dspy.context(lm=Model(0.2), disable_history=True):
            worker = worker_for(Program())
            quiet = run_loop(start(settings, seed), SerialExecutor(worker)).state
            executor = pooled(client)(worker, program, 8)
            processes = list(client.run(os.getpid).values())
            killed: list[int] = []
            arguments = [processes, folder, killed]
            threading.Thread(target=kill, args=arguments, daemon=True).start()
            state = run_loop(start(settings, seed), executor).state
            executor.close()
        begun = sum(len(each.read_text().splitlines()) for each in Path(folder).iterdir())
        return {
            "processes killed": len(killed),
            "rollouts by the ledger": state.tally.rollouts,
            "really begun": begun,
            "of which lost": state.lost.rollouts,
            "without kills": quiet.tally.rollouts,
            "same members": state.members == quiet.members,
        }


def kill(processes: list[int], folder: str, killed: list[int]) -> None:
    """Kill one after the other, each right after it has begun another rollout."""
    for number in processes:
        before = begun_by(number, folder)
        while begun_by(number, folder) == before:
            time.sleep(0.02)
        os.kill(number, signal.SIGKILL)
        killed.append(number)


def begun_by(process: int, folder: str) -> int:
    """How many rollouts a process has begun, as the program itself wrote it."""
    files = Path(folder).glob(f"{process}-*")
    return sum(len(file.read_text().splitlines()) for file in files)


def busy_share(machines: int, call_seconds: float, driver_seconds: float, seed: int = 0) -> float:
    """The share of all slots x time in which a model is asked, with one driver for all of them.

    A call takes lognormal time. Between two calls a slot waits for the driver, which serves one
    answer at a time.
    """
    random, slots = Random(seed), machines * THREADS
    ready = [(0.0, slot) for slot in range(slots)]
    free_at = working = 0.0
    last = 0.0
    for _ in range(slots * 40):
        done, slot = heapq.heappop(ready)
        free_at = max(free_at, done) + driver_seconds
        took = call_seconds * random.lognormvariate(-0.125, 0.5)
        working += took
        last = max(last, free_at + took)
        heapq.heappush(ready, (free_at + took, slot))
    return working / (slots * last)


def machines(driver_ms: float) -> list[dict[str, Any]]:
    """Where one driver becomes the limit, simulated."""
    return [
        {
            "machines": count,
            "call takes": f"{seconds:g} s",
            "driver's CPU ms": driver_ms,
            "busy": busy_share(count, seconds, driver_ms / 1000),
        }
        for count in (8, 64)
        for seconds in (1.0, 2.0, 10.0)
    ]


def shown(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table."""

    def cell(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    print_table([list(rows[0]), *([cell(each) for each in row.values()] for row in rows)])
    print()


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rollouts", type=int, default=320, help="rollouts of a measurement")
    parser.add_argument("--call-seconds", type=float, default=1.0, help="of the slow model")
    parser.add_argument("--proposals", type=int, default=20, help="of the search with kills")
    parser.add_argument("--driver-ms", type=float, default=3.0, help='where "cost" is left out')
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    record: dict[str, Any] = {"surroundings": surroundings("dspy", "distributed")}
    driver_ms = given.driver_ms
    if "cost" in given.parts:
        record["cost"] = costs(given.rollouts)
        shown(record["cost"])
        driver_ms = record["cost"][-1]["driver's CPU ms"]
    if "throughput" in given.parts:
        record["throughput"] = throughputs(given.rollouts, given.call_seconds)
        shown(record["throughput"])
    if "kills" in given.parts:
        record["kills"] = kills(given.proposals)
        shown([record["kills"]])
    if "machines" in given.parts:
        record["machines"] = machines(driver_ms)
        shown(record["machines"])
    write_record(given.json, record)


if __name__ == "__main__":
    main()

"""Rollouts in processes of a pool, on this machine or on others; all else in threads of this one.

Reflections are few and long and want what is known here, so they stay.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections import Counter
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import Any, NamedTuple, Protocol

from dspy_gepa.core.rollout import RolloutKey
from dspy_gepa.core.work import Answer, Request, RequestFailure, RolloutAnswer, RolloutRequest, Stop
from dspy_gepa.errors import SettingsError, WorkerError, WrongType
from dspy_gepa.run.parcel import Parcel, carried_out, received, task_of, versions
from dspy_gepa.run.threads import ThreadedExecutor
from dspy_gepa.run.worker import Worker

__all__ = [
    "DaskPool",
    "ExecutorPool",
    "FuturesPool",
    "PooledExecutor",
    "RayPool",
    "begins_again",
    "check_pool",
    "pool_of",
]

logger = logging.getLogger("dspy.teleprompt.dspy_gepa")

_LOST = "the process that carried it out went away (was it killed, or out of memory?)"


_KILLED = frozenset({"KilledWorker"})
"""What Dask raises about a task with which one process after the other went away."""
_LOST_ALONE = frozenset({"WorkerCrashedError", "OutOfMemoryError", "NodeDiedError"})
"""What Ray raises about a task whose process went away; the next one may be begun elsewhere."""
_MOST_LOSSES = 3
_SHARE_OF_A_PROCESSOR = 0.01
_LOOKING_SECONDS = 5.0
"""How often it is looked whether the pool is still there."""


class ExecutorPool(Protocol):
    """Processes that carry out tasks. They belong to the user, who closes them."""

    def submit(self, name: str, *task: Any) -> Future[bytes]:
        """Have `carried_out(*task)` called in one of the processes.

        Raises:
            RuntimeError: nothing can be begun any more.
        """
        ...

    def beginnings(self, name: str) -> int:
        """How often a task that is over was begun, as far as is known. To be asked once."""
        ...

    @property
    def is_gone(self) -> bool:
        """Whether nothing that was submitted will be heard of any more."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether there is nobody who could carry out a task at the moment."""
        ...

    def close(self) -> None:
        """Listen no longer."""
        ...


def check_pool(executor: Any) -> None:
    """Nothing, if rollouts can be given to it.

    Raises:
        WrongType: it is no `concurrent.futures.Executor` and no Dask client.
    """
    if not (isinstance(executor, Executor) or begins_again(executor) or _is_ray(executor)):
        raise WrongType(
            f"executor={executor!r:.200} was given, and a concurrent.futures.Executor is needed, "
            "such as ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')), or a "
            "dask.distributed.Client, or the module ray, after ray.init(...)."
        )


def begins_again(executor: Any) -> bool:
    """Whether it begins what a lost process did again by itself: a Dask client does."""
    return hasattr(executor, "subscribe_topic") and hasattr(executor, "get_executor")


def _is_ray(executor: Any) -> bool:
    return getattr(executor, "__name__", "") == "ray" and hasattr(executor, "remote")


def pool_of(executor: Any) -> ExecutorPool:
    """The pool behind what the user gave: see `check_pool`."""
    if _is_ray(executor):
        return RayPool(executor)
    return DaskPool(executor) if begins_again(executor) else FuturesPool(executor)


class FuturesPool:
    """Any `concurrent.futures.Executor`. Where it loses a process, it is no pool any more."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, name: str, *task: Any) -> Future[bytes]:  # noqa: ARG002 - see Pool
        """Have a task carried out."""
        return self._executor.submit(carried_out, *task)

    def beginnings(self, name: str) -> int:  # noqa: ARG002 - see Pool
        """Once: what is lost is not begun again."""
        return 1

    @property
    def is_gone(self) -> bool:
        """Never: such an executor ends its futures, whatever happens."""
        return False

    @property
    def is_idle(self) -> bool:
        """Never: it has processes, or ends its futures."""
        return False

    def close(self) -> None:
        """Nothing to do."""


class DaskPool:
    """A Dask client. Its scheduler begins the tasks of a lost process again, in another one.

    Each task announces that it begins, so that what was lost is counted.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._executor = client.get_executor(pure=False)
        self._topic = f"dspy_gepa-{uuid.uuid4().hex}"
        self._begun: Counter[str] = Counter()
        client.subscribe_topic(self._topic, self._hear)

    def submit(self, name: str, *task: Any) -> Future[bytes]:
        """Have a task carried out."""
        future: Future[bytes] = self._executor.submit(_announced, self._topic, name, *task)
        return future

    def beginnings(self, name: str) -> int:
        """How often it announced that it begins."""
        return self._begun.pop(name, 1)

    @property
    def is_gone(self) -> bool:
        """Whether the client was closed, which leaves its futures as they are."""
        return bool(self._client.status in ("closing", "closed"))

    @property
    def is_idle(self) -> bool:
        """Whether the cluster has no workers."""
        return not self.is_gone and not self._client.nthreads()

    def close(self) -> None:
        """Listen no longer."""
        if not self.is_gone:
            self._client.unsubscribe_topic(self._topic)

    def _hear(self, event: tuple[float, str]) -> None:
        self._begun[event[1]] += 1


class RayPool(FuturesPool):
    """The cluster that `ray.init` has joined. What a lost process did is begun again from here.

    So every beginning is one of ours, and is counted before it costs anything.
    """

    def __init__(self, ray: Any) -> None:
        # A rollout waits for models: it takes a slot of ours, and next to nothing of a processor.
        self._task = ray.remote(max_retries=0, num_cpus=_SHARE_OF_A_PROCESSOR)(carried_out)

    def submit(self, name: str, *task: Any) -> Future[bytes]:  # noqa: ARG002 - see Pool
        """Have a task carried out."""
        future: Future[bytes] = self._task.remote(*task).future()
        return future


def _announced(topic: str, name: str, *task: Any) -> bytes:
    """What came of a task, in a process of Dask's."""
    from distributed import get_worker  # noqa: PLC0415 - an extra, and only there
    from distributed.utils import sync  # noqa: PLC0415

    # Waited for, unlike the worker's own log_event: what is lost a moment later is counted too.
    worker = get_worker()
    sync(worker.loop, worker.scheduler.log_event, topic=topic, msg=name)
    return carried_out(*task)


class _Ended(NamedTuple):
    """A task of the pool's that is over."""

    request: RolloutRequest
    name: str
    future: Future[bytes]


class PooledExecutor(ThreadedExecutor):
    """Carries out rollouts in a pool, and all else in threads beside them.

    Args:
        worker: Carries out what stays in this process.
        pool: Carries out rollouts.
        num_threads: How many tasks the pool is given at once.
        parcel: What it is sent.
    """

    def __init__(
        self, worker: Worker, pool: ExecutorPool, num_threads: int, parcel: Parcel
    ) -> None:
        super().__init__(worker, num_threads)
        self._pool = pool
        self._parcel = parcel
        self._here = versions()
        self._names = map(str, itertools.count())
        self._futures: dict[str, Future[bytes]] = {}
        self._has_warned = False
        self._losses: Counter[RolloutKey] = Counter()
        self._held: dict[RolloutKey, Answer] = {}
        """Answers that are told after what was lost on the way to them."""

    def submit(self, request: Request) -> None:
        """Begin a request; returns at once."""
        if not isinstance(request, RolloutRequest):
            super().submit(request)
            return
        if request.key in self._held:
            return  # It is still in flight.
        self._in_flight += 1
        task = task_of(request, self._parcel.needs(request))
        name = next(self._names)
        try:
            future = self._pool.submit(name, self._here, self._parcel.recipe, task)
        except RuntimeError as error:
            self._answers.put(_unusable(request, error))
            return
        self._futures[name] = future
        future.add_done_callback(lambda done: self._answers.put(_Ended(request, name, done)))

    def next_answer(self, timeout_seconds: float | None = None) -> Answer | Stop | None:
        """The next answer, in the order in which they are ready.

        Raises:
            KeyboardInterrupt: a worker raised it.
            RuntimeError: a worker raised something else, which it must not.
        """
        if self._held:
            self._in_flight -= 1
            return self._held.pop(next(iter(self._held)))
        message: Any = super().next_answer(self._patience_seconds(timeout_seconds))
        while message is None and timeout_seconds is None:
            if self._futures and self._pool.is_idle and not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "The executor's cluster has no workers: %d rollouts wait for one.",
                    len(self._futures),
                )
            message = super().next_answer(self._patience_seconds(None))
        if isinstance(message, _Ended):
            message = self._answer_of(message)
        answer: Answer | Stop | None = message
        return answer

    def _patience_seconds(self, most_seconds: float | None) -> float | None:
        """How long to wait at a time, so that a pool that is gone is noticed."""
        if not self._futures:
            return most_seconds
        if self._pool.is_gone:
            self._cancel()
        return _LOOKING_SECONDS if most_seconds is None else min(most_seconds, _LOOKING_SECONDS)

    def close(self) -> None:
        """Cancel what has not begun. What runs is not waited for."""
        super().close()
        self._cancel()
        self._pool.close()

    def _cancel(self) -> None:
        for future in list(self._futures.values()):
            future.cancel()

    def _answer_of(self, ended: _Ended) -> Answer:
        """What came of a task; first what was lost on the way to it, where something was."""
        self._futures.pop(ended.name, None)
        lost = self._pool.beginnings(ended.name) - 1
        answer = self._read(ended)
        if lost <= 0:
            return answer
        self._held[ended.request.key] = answer
        self._in_flight += 1
        return _lost(ended.request, lost)

    def _read(self, ended: _Ended) -> Answer:
        request, future = ended.request, ended.future
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            outcome = received(future.result())
            self._parcel.hear(outcome.beside)
            return outcome.answer
        if isinstance(error, KeyboardInterrupt):
            raise error
        name, key = type(error).__name__, request.key
        if name in _LOST_ALONE:
            self._losses[key] += 1
            if self._losses[key] < _MOST_LOSSES:
                return _lost(request, 1)
        elif name not in _KILLED:
            return _unusable(request, error)
        return RolloutAnswer(key, self._parcel.failure(request, f"Each time, {_LOST}."))


def _lost(request: RolloutRequest, times: int) -> RequestFailure:
    """That processes went away with a request that is to be carried out all the same."""
    return RequestFailure(
        request.key,
        _LOST,
        is_lasting=False,
        rollouts=times,
        metric_calls=times,
        is_of_process=True,
    )


def _unusable(request: RolloutRequest, error: BaseException) -> RequestFailure:
    """That the pool cannot be used any more; what it had begun counts."""
    if isinstance(error, SettingsError):
        return RequestFailure(request.key, str(error), error=error)
    is_begun = isinstance(error, BrokenExecutor | CancelledError)
    calls = int(is_begun)
    # The last line: some tell the traceback of the other process as well.
    words = str(error).strip().rpartition("\n")[2]
    reason = f"{type(error).__name__}: {words}" if words else "it, or its cluster, went away"
    why = f"The executor cannot be used any more: {reason}"
    return RequestFailure(
        request.key,
        why,
        rollouts=calls,
        metric_calls=calls,
        is_of_process=True,
        error=WorkerError(why),
    )

"""A model server on the loopback interface with the latencies of a hosted one.

It speaks OpenAI's chat format. The simulated models of `worlds.py` answer; how long that takes is
drawn for each request by hash, lognormal, so that every optimizer meets the same heavy tail: the
same prompt takes the same time. A model's name says what it is:

    task/WORLD/SEED        carries out a step of the program
    reflection/WORLD/SEED  rewrites an instruction
    together/WORLD/SEED/N  a task model that lets nobody go before N requests are there at once

By default it runs in a process of its own, so that it does not share an interpreter's lock with
the clients whose time is taken. Beside it stands what a run against it is measured by.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from inspect import signature
from multiprocessing.connection import Connection
from statistics import NormalDist
from typing import Any

import dspy
import httpx
import litellm
from search_efficiency import CountedMetric, quiet
from worlds import WORLDS, ReflectionLM, Steps, Task, TaskLM, chance

from dspy_gepa import GEPA
from dspy_gepa.core.events import Committed, Event
from dspy_gepa.core.state import RunState

__all__ = ["Address", "Latencies", "Moments", "at_once", "latency_server"]

_LONGEST_WAIT_SECONDS = 20.0
"""For others to come, at a model that waits for them."""


@dataclass(frozen=True)
class Latencies:
    """Lognormal: the median of a task call, by how much a reflection takes longer, the spread."""

    task_seconds: float = 0.2
    reflection_times: float = 10.0
    sigma: float = 1.0

    def seconds(self, *labels: object, is_reflection: bool) -> float:
        """How long the request with these labels takes."""
        place = min(max(chance("latency", *labels), 1e-6), 1 - 1e-6)
        drawn = self.task_seconds * math.exp(self.sigma * NormalDist().inv_cdf(place))
        return drawn * self.reflection_times if is_reflection else drawn


class PromptedReflectionLM(ReflectionLM):
    """A reflection LM whose chance follows from the prompt, not from the order of its calls."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, lambda: 0)
        self._seen: Counter[str] = Counter()

    def reply(self, prompt: str) -> str:
        """The new instruction: another one each time that the same prompt comes."""
        self._seen[prompt] += 1
        turn = int(chance("turn", prompt, self._seen[prompt]) * 2**40)
        return self._rewritten(prompt, turn)


@dataclass
class _Clients:
    """What the server saw since it was last asked."""

    requests: int = 0
    together: int = 0
    peak: int = 0
    """The most requests that were there at once."""
    late_seconds: float = 0.0
    """By how much all answers together came too late, because the server was too busy."""
    latest_seconds: float = 0.0
    unclear: int = 0

    def come(self) -> None:
        """Note a request."""
        self.requests += 1
        self.together += 1
        self.peak = max(self.peak, self.together)

    def go(self, late_seconds: float) -> None:
        """Note an answer."""
        self.together -= 1
        self.late_seconds += late_seconds
        self.latest_seconds = max(self.latest_seconds, late_seconds)


@dataclass
class _Server:
    latencies: Latencies
    clients: _Clients = field(default_factory=_Clients)
    models: dict[str, Any] = field(default_factory=dict)
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when as many requests were there as a model waits for."""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with one request after the other."""
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, found = "200 OK", await self._answered(head.split(" ", 1)[0], body)
                written = json.dumps(found).encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(written)}\r\n\r\n".encode()
                    + written
                )
                await writer.drain()
        writer.close()

    async def _answered(self, method: str, body: bytes) -> dict[str, Any]:
        if method == "GET":
            told = {**vars(self.clients), "unclear": sum(m.unclear for m in self._reflecting())}
            self.clients, self.models = _Clients(together=self.clients.together), {}
            self.enough.clear()
            return told
        loop = asyncio.get_running_loop()
        self.clients.come()
        came = loop.time()
        request = json.loads(body)
        kind, world, seed, *wanted = request["model"].split("/")
        prompt = "\n".join(str(message["content"]) for message in request["messages"])
        text = self._model(kind, world, int(seed)).reply(prompt)
        if wanted:
            await self._wait_for_others(int(wanted[0]))
            due = loop.time()
        else:
            is_reflection = kind == "reflection"
            due = came + self.latencies.seconds(seed, prompt, is_reflection=is_reflection)
            await asyncio.sleep(due - loop.time())
        self.clients.go(loop.time() - due)
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }

    async def _wait_for_others(self, wanted: int) -> None:
        if self.clients.together >= wanted:
            self.enough.set()
        # The very first request comes alone: an optimizer may look whether there is a model at all.
        if self.clients.requests > 1:
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self.enough.wait(), _LONGEST_WAIT_SECONDS)

    def _model(self, kind: str, world: str, seed: int) -> TaskLM | ReflectionLM:
        name = f"{kind}/{world}/{seed}"
        if name not in self.models:
            chosen = next(each for each in WORLDS if each.name.replace(" ", "-") == world)
            made = PromptedReflectionLM if kind == "reflection" else TaskLM
            self.models[name] = made(Task(chosen, seed))
        return self.models[name]

    def _reflecting(self) -> list[ReflectionLM]:
        return [each for each in self.models.values() if isinstance(each, ReflectionLM)]


@dataclass(frozen=True)
class Address:
    """Where the server is reached."""

    port: int

    def lm(self, *name: object, **settings: Any) -> dspy.LM:
        """The model of this name, without any cache and without other attempts."""
        return dspy.LM(
            "openai/" + "/".join(str(part).replace(" ", "-") for part in name),
            api_base=f"http://127.0.0.1:{self.port}/v1",
            api_key="none is needed",
            cache=False,
            num_retries=0,
            **settings,
        )

    def seen(self) -> dict[str, float]:
        """What the server saw since it was last asked; its models forget what they saw."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/") as reply:
            found: dict[str, float] = json.load(reply)
        return found


@contextmanager
def latency_server(latencies: Latencies, *, is_own_process: bool = True) -> Iterator[Address]:
    """A server that is up inside the block."""
    context = multiprocessing.get_context("spawn")
    own, theirs = context.Pipe()
    made = context.Process if is_own_process else threading.Thread
    process = made(target=_serve, args=(latencies, theirs), daemon=True)
    process.start()
    try:
        yield Address(own.recv())
    finally:
        own.send("stop")
        process.join()


@dataclass
class Moments:
    """Told of what would be returned now; notes its true score, and when that was."""

    task: Task
    began: float = field(default_factory=time.perf_counter)
    points: list[tuple[float, float]] = field(default_factory=list)
    """Seconds and score, one for each change."""
    best: float = -math.inf

    def on_valset_evaluated(self, event: Any) -> None:
        """Called by dspy.GEPA, whose best candidate is the first with the highest mean."""
        if event["average_score"] > self.best:
            self.best = event["average_score"]
            self._note(event["candidate"])

    def __call__(self, event: Event, state: RunState) -> None:
        """Observes our run."""
        if isinstance(event, Committed) and state.members:
            self._note(state.members[state.best].candidate)

    def _note(self, candidate: Mapping[str, str]) -> None:
        score = self.task.expected(candidate.values())
        if not self.points or self.points[-1][1] != score:
            self.points.append((time.perf_counter() - self.began, score))

    def reached(self, score: float) -> float:
        """After how many seconds the score was first there; inf for never."""
        return next((at for at, found in self.points if found >= score - 1e-9), math.inf)

    def kept(self, score: float) -> float:
        """After how many seconds it was there for good."""
        below = [place for place, point in enumerate(self.points) if point[1] < score - 1e-9]
        first = below[-1] + 1 if below else 0
        return self.points[first][0] if first < len(self.points) else math.inf


def at_once(address: Address, threads: int) -> dict[str, Any]:
    """What the server sees of a run with so many threads at a model that waits for as many."""
    world = next(each for each in WORLDS if each.steps == 1)
    task = Task(replace(world, train=10, validation=threads + 100), 0)
    train, validation = task.examples()
    optimizer = GEPA(
        CountedMetric(task).plain(),
        search="paper",  # which validates the program on all examples at the start
        max_metric_calls=len(validation),
        reflection_lm=address.lm("reflection", world.name, 0),
        num_threads=threads,
    )
    address.seen()
    began, before = time.perf_counter(), litellm.client_session
    # Only litellm's client can be had with more than 100 connections.
    litellm.client_session = httpx.Client(limits=httpx.Limits(max_connections=None))
    lm = address.lm("together", world.name, 0, threads, **_litellm())
    try:
        with quiet(), dspy.context(lm=lm, disable_history=True):
            optimizer.compile(Steps(1), trainset=train, valset=validation)
    finally:
        litellm.client_session.close()
        litellm.client_session = before
    return {"threads": threads, "seconds": time.perf_counter() - began, "server": address.seen()}


def _litellm() -> dict[str, str]:
    """What makes a dspy.LM use litellm; DSPy before 3.4 has nothing else."""
    return {"engine": "litellm"} if "engine" in signature(dspy.LM.__init__).parameters else {}


def _serve(latencies: Latencies, starter: Connection) -> None:
    asyncio.run(_served(latencies, starter))


async def _served(latencies: Latencies, starter: Connection) -> None:
    listening = await asyncio.start_server(
        _Server(latencies).connected, "127.0.0.1", 0, backlog=1024
    )
    starter.send(listening.sockets[0].getsockname()[1])
    await asyncio.to_thread(starter.recv)
    listening.close()

"""A local model behind an OpenAI-compatible address on loopback, for as long as a `with` lasts.

One rule: nothing is loaded, and the run-time is not imported, before `serve` is entered.
"""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dspy_gepa.demo.errors import LocalModelError
from dspy_gepa.demo.weights import WEIGHTS, assembled, cache_folder, checked_gguf
from dspy_gepa.errors import MissingExtra

__all__ = ["LocalModel", "available_memory_bytes", "check_memory", "idle_cores", "serve"]

_LOOPBACK = "127.0.0.1"
_CONTEXT_TOKENS = 8192
_MEMORY_PER_WEIGHT_BYTE = 2.0
"""Measured: 2.1 GB are resident with 1.1 GB of weights and the context of 8,192 tokens."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Where a running local model is reached."""

    api_base: str
    model: str
    """The name for `dspy.LM`: `openai/` and the model's own."""
    threads: int

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments for a `dspy.LM` that asks this model, and never the cache."""
        return {
            "model": self.model,
            "api_base": self.api_base,
            "api_key": "local",
            "cache": False,
        }


@contextmanager
def serve(
    name: str = "1.5b",
    *,
    gguf: Path | None = None,
    port: int = 0,
    threads: int | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[LocalModel]:
    """Runs a local model on loopback while the block runs, and stops it on every way out.

    Args:
        name: A key of `WEIGHTS`.
        gguf: A model file to serve instead.
        port: 0 for any free one.
        threads: How many compute; if it is None, as many as cores are idle, at most 8.
        say: Told of the steps that take seconds.

    Raises:
        MissingExtra: the run-time or the weights are not installed.
        LocalModelError: damaged weights, a busy port, too little memory or disk.
    """
    _check_port(port)
    own = None if gguf is None else checked_gguf(gguf)
    try:
        import xllamacpp  # noqa: PLC0415 - the run-time is an extra
    except ImportError as error:
        raise MissingExtra("xllamacpp", WEIGHTS[name].extra) from error
    path = own or assembled(WEIGHTS[name], cache_folder(), say)
    model = WEIGHTS[name].model if own is None else own.stem
    check_memory(path, available_memory_bytes())
    threads = threads or idle_cores()
    say(f"Loading {model} ...")
    server = _start(xllamacpp, path, port=port, threads=threads)
    try:
        # litellm otherwise looks up prices on the internet when it is first used.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        yield LocalModel(f"{server.listening_address}/v1", f"openai/{model}", threads)
    finally:
        # The run-time stops its server when the object goes: drop the last reference to it.
        del server
        gc.collect()


def check_memory(model_file: Path, available_bytes: int | None) -> None:
    """Refuse a model that would not fit; an unknown amount of memory passes.

    Raises:
        LocalModelError: too little memory is available.
    """
    needed_bytes = int(model_file.stat().st_size * _MEMORY_PER_WEIGHT_BYTE)
    if available_bytes is not None and available_bytes < needed_bytes:
        raise LocalModelError(
            f"{model_file.name} needs about {needed_bytes / 1e9:.1f} GB of memory, and "
            f"{available_bytes / 1e9:.1f} GB are available. Close other programs, take the small "
            "model (--local-model 0.5b), or use a hosted one (--model openai/...)."
        )


def available_memory_bytes() -> int | None:
    """What Linux calls available, or what a container leaves if that is less; None if unknown."""
    known = [amount for amount in (_machine_bytes(), _container_bytes()) if amount is not None]
    return min(known, default=None)


def idle_cores() -> int:
    """How many cores nobody uses at this moment; at least 1, at most 8.

    A thread too many costs far more than one too few: the threads of a model wait for each other
    at every layer, so one that has to share its core stops them all. Looked at over one second,
    because the load average still remembers the installation that went before.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    before = _processor_ticks()
    if before is None:
        return max(1, min(8, cores or 1))
    time.sleep(1.0)
    after = _processor_ticks() or before
    idle, whole = (later - earlier for earlier, later in zip(before, after, strict=True))
    machine = os.cpu_count() or 1
    busy = machine * (1 - idle / max(whole, 1))
    return max(1, min(8, (cores or 1) - round(busy)))


def _check_port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise LocalModelError(f"Port {port} was given; 0 (any free one) to 65535 are allowed.")
    with socket.socket() as probe:
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            raise LocalModelError(
                f"Port {port} on {_LOOPBACK} cannot be used ({error.strerror}). "
                "Give another --port, or leave it out for any free one."
            ) from error


def _start(xllamacpp: Any, path: Path, *, port: int, threads: int) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.hostnames = [_LOOPBACK]
    parameters.port = port
    parameters.n_ctx = _CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.verbosity = -1
    parameters.ui = False
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise LocalModelError(
            f"The run-time could not load {path}. If the file is a complete GGUF model, free some "
            "memory and try again; otherwise delete it and it will be assembled anew."
        ) from error


def _processor_ticks() -> tuple[int, int] | None:
    """Idle and all ticks of all cores since the machine started; None if unknown."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    ticks = [int(count) for count in first.split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _machine_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    amounts = dict(line.split(":", 1) for line in lines)
    return int(amounts["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in amounts else None


def _container_bytes() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        statistics = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    if not limit.isdigit():
        return None
    # File pages count as used, but the kernel gives them back on demand.
    pages = dict(line.split() for line in statistics)
    return int(limit) - used + int(pages.get("inactive_file", 0))

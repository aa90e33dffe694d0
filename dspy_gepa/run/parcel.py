"""What goes to a process of a pool and comes back from it.

A worker is not sent: what makes one is, once it is known that it can be. Everything travels as
bytes that are made and read here, because most pools know plain pickle only, and that cannot carry
what was defined in a script, a notebook or by DSPy from a signature. Both sides are the user's own
processes, which run the same code: nothing is read that others could have written, or kept.
"""

from __future__ import annotations

import functools
import importlib.metadata
import pickle
import platform
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import cloudpickle

from dspy_gepa.core.rollout import Rollout
from dspy_gepa.core.work import Answer, RequestFailure, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import RemoteError, SettingsError
from dspy_gepa.run.at_fault import CANNOT_TRAVEL, at_fault
from dspy_gepa.store.codec import RECORDS

__all__ = [
    "CarryOut",
    "Parcel",
    "ParcelOutcome",
    "carried_out",
    "received",
    "sendable_recipe",
    "serialized",
    "task_of",
    "versions",
]

CarryOut: TypeAlias = Callable[[RolloutRequest, Any], "ParcelOutcome"]
"""From a request, and what it needs of this process, to what came of it."""

_making = threading.Lock()


class ParcelOutcome(NamedTuple):
    """What came of a request."""

    answer: Answer
    beside: object = None
    """What else is to be known where the request came from."""


@dataclass(frozen=True)
class Parcel:
    """What a pool is sent in place of a worker."""

    recipe: bytes
    """Makes a `CarryOut` in the process that reads it; see `serialized`."""
    needs: Callable[[RolloutRequest], Any]
    """What a request needs of this process, such as its example. It is sent with it."""
    failure: Callable[[RolloutRequest, str], Rollout]
    """The rollout that was asked for, as failed for this reason."""
    hear: Callable[[Any], None] = lambda _beside: None
    """Is told what came beside an answer, in the thread that reads the answers."""


def versions() -> dict[str, str]:
    """What has to be equal on both sides, because what travels is read by it."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "dspy": _version("dspy"), "dspy_gepa": _version("dspy_gepa")}


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # used from a folder
        return "without a version"


def serialized(value: object, name: str) -> bytes:
    """The value as it is sent.

    Raises:
        SettingsError: it cannot be sent. The message names the attribute that is at fault.
    """
    try:
        sent = _there_and_back(value)
    except CANNOT_TRAVEL as error:
        place = at_fault(value, name, lambda part: _tried(part) is not None)
        raise SettingsError(
            f"{place} cannot be sent to the processes of the executor: {error}. Have it made where "
            "it is used (open a connection, a file or a lock at the first call, or leave it out "
            "in __getstate__), or leave out executor= and use threads."
        ) from error
    return sent


def sendable_recipe(recipe: object, parts: Mapping[str, object]) -> bytes:
    """What a pool is sent, made of these parts, each under the name that the user knows.

    Raises:
        SettingsError: it cannot be sent. The message names the part and the attribute at fault.
    """
    if (sent := _tried(recipe)) is None:
        for name, part in parts.items():
            serialized(part, name)
        return serialized(recipe, next(iter(parts)))
    return sent


def task_of(request: RolloutRequest, needed: object) -> bytes:
    """A request as it is sent, with what it needs of this process."""
    sent: bytes = cloudpickle.dumps((request, needed))
    return sent


def carried_out(here: dict[str, str], recipe: bytes, task: bytes) -> bytes:
    """What came of a request, in the process that carries it out; see `received`.

    Raises:
        SettingsError: this process has other versions of what reads the recipe.
    """
    if here != (there := versions()):
        raise SettingsError(
            f"The executor's process runs {_listed(there)}, and the one that called it "
            f"{_listed(here)}. Install the same versions on both sides."
        )
    with _making:
        carry_out = _made(recipe)
    request, needed = pickle.loads(task)  # noqa: S301 - see the module
    with _deaf_to_interrupts():
        return _sent(carry_out(request, needed))


def received(sent: bytes) -> ParcelOutcome:
    """What came of a request, as it was sent."""
    outcome, packed = pickle.loads(sent)  # noqa: S301 - see the module
    if packed is None:
        return ParcelOutcome(*outcome)
    key, beside = outcome
    return ParcelOutcome(RolloutAnswer(key, RECORDS[Rollout].unpack(packed)), beside)


@functools.lru_cache(maxsize=2)
def _made(recipe: bytes) -> CarryOut:
    # Two, because a run that is over may have tasks left while the next one begins.
    made: CarryOut = pickle.loads(recipe)()  # noqa: S301 - see the module
    return made


def _sent(outcome: ParcelOutcome) -> bytes:
    answer, beside = outcome
    if isinstance(answer, RequestFailure):
        answer = replace(answer, error=_sendable_error(answer.error))
    if (whole := _tried(((answer, beside), None))) is not None:
        return whole
    assert isinstance(answer, RolloutAnswer), "a setback has nothing that cannot travel"
    # As in a journal: what cannot be sent is replaced by what it says of itself.
    packed = RECORDS[Rollout].pack(answer.rollout)
    sent: bytes = cloudpickle.dumps(((answer.key, beside), packed))
    return sent


def _sendable_error(error: BaseException | None) -> BaseException | None:
    # Errors of litellm and openai can be sent and not read, which would break who reads them.
    return error if error is None or _tried(error) is not None else RemoteError.of(error)


def _tried(value: object) -> bytes | None:
    try:
        return _there_and_back(value)
    except CANNOT_TRAVEL:
        return None


def _there_and_back(value: object) -> bytes:
    """The value as it is sent, which can be read."""
    sent: bytes = cloudpickle.dumps(value)
    pickle.loads(sent)  # noqa: S301 - made here
    return sent


class _deaf_to_interrupts:  # noqa: N801 - used as a statement
    """The process that began the pool hears Ctrl-C and waits for what it has paid for.

    Terminals send it to all processes. Only a main thread can say who hears it.
    """

    def __enter__(self) -> None:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)


def _listed(versions_by_name: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions_by_name.items())

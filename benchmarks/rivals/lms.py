"""The LMs of a comparison by their names, with what was asked of each.

`local:1.5b` and `local:0.5b` run on this machine, `mailbox:FOLDER` is answered by a person or
another program (reflection only), and any other name is litellm's. Nothing is answered from a
cache.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dspy
from dspy.utils.callback import BaseCallback
from local_server import serving
from mailbox_lm import MailboxLM

from dspy_gepa.demo.errors import LocalModelError
from dspy_gepa.demo.weights import WEIGHTS
from dspy_gepa.errors import MissingExtra
from dspy_gepa.models.usage import listed_price
from rivals.contest import Missing

__all__ = ["LMs", "Meter", "Spent", "named_lms"]

_LOCAL, _MAILBOX = "local:", "mailbox:"
_REFLECTION_TOKENS = {"local": 700, "hosted": 8000}


class Spent(NamedTuple):
    """What calls of one LM cost."""

    calls: int = 0
    failed: int = 0
    """Of these ended by an error."""
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced: int = 0
    """Calls of unknown price."""

    def since(self, earlier: Spent) -> Spent:
        """What came after an earlier look."""
        return Spent(*(now - then for now, then in zip(self, earlier, strict=True)))


class Meter(BaseCallback):
    """Counts the calls of the LMs that it is a callback of, also of their copies."""

    def __init__(self) -> None:
        self.spent = Spent()
        self.failure = ""
        """The last error of a call."""
        self._lock = threading.Lock()
        self._instances: dict[str, Any] = {}
        self._seen: set[str] = set()

    def __deepcopy__(self, memo: object) -> Meter:
        return self

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Remember who was asked."""
        del inputs
        with self._lock:
            self._instances[call_id] = instance

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Count the call with what the LM's own history says of it."""
        del outputs
        with self._lock:
            instance = self._instances.pop(call_id)
            self.spent = self.spent._replace(calls=self.spent.calls + 1)
            if exception is not None:
                self.spent = self.spent._replace(failed=self.spent.failed + 1)
                self.failure = f"{type(exception).__name__}: {exception}".splitlines()[0][:200]
            # Calls side by side write into one history: each entry counts when it is first seen.
            for entry in reversed(instance.history):
                if entry["uuid"] in self._seen:
                    break
                self._seen.add(entry["uuid"])
                self._count(entry)

    def _count(self, entry: Mapping[str, Any]) -> None:
        usage, spent = entry.get("usage") or {}, self.spent
        usd = entry.get("cost")
        if usd is None:
            usd = listed_price(entry["model"], usage)
        self.spent = spent._replace(
            tokens_in=spent.tokens_in + (usage.get("prompt_tokens") or 0),
            tokens_out=spent.tokens_out + (usage.get("completion_tokens") or 0),
            usd=spent.usd + (usd or 0.0),
            unpriced=spent.unpriced + (usd is None),
        )


class LMs(NamedTuple):
    """Who runs programs and who rewrites their instructions."""

    task: Any
    reflection: Any
    task_meter: Meter
    reflection_meter: Meter


@contextmanager
def named_lms(
    task: str,
    reflection: str,
    *,
    threads: int | None,
    answer_tokens: int,
    local_server: str | None = None,
) -> Iterator[LMs]:
    """Both LMs, for as long as the block lasts.

    Args:
        task: The name of the model that runs programs.
        reflection: The name of the model that rewrites instructions.
        threads: How many compute a local model; None for all idle cores.
        answer_tokens: How long an answer of a local task model may be.
        local_server: The OpenAI-compatible address (`http://.../v1`) of a server that has the local
            models already. If it is None, one is started for as long as the block lasts.

    Raises:
        Missing: a local model is not installed or cannot run, or a name does not do here.
    """
    # Seed instructions often get an answer of any length: that they are cut off is no news.
    logging.getLogger("dspy.clients.lm").setLevel(logging.ERROR)
    meters = Meter(), Meter()
    with ExitStack() as stack:
        places: dict[str, dict[str, Any]] = {}
        for name in (task, reflection):
            if name.startswith(_LOCAL) and name not in places:
                places[name] = stack.enter_context(_served(name, threads, local_server))
        if task in places:
            asked = {"temperature": 0.0, "max_tokens": answer_tokens}
            # Saves a fifth of each answer: the marker that follows the last field.
            task_lm = dspy.LM(
                **places[task], **asked, stop=["[[ ## completed"], callbacks=[meters[0]]
            )
        elif task.startswith(_MAILBOX):
            raise Missing("A mailbox answers as the reflection model only: give another --model.")
        else:
            task_lm = dspy.LM(task, cache=False, callbacks=[meters[0]])
        reflection_lm: Any
        if reflection in places:
            asked = {"temperature": 0.8, "max_tokens": _REFLECTION_TOKENS["local"]}
            reflection_lm = dspy.LM(**places[reflection], **asked, callbacks=[meters[1]])
        elif reflection.startswith(_MAILBOX):
            reflection_lm = MailboxLM(Path(reflection.removeprefix(_MAILBOX)))
            reflection_lm.callbacks.append(meters[1])
            stack.callback(reflection_lm.close)
        else:
            tokens = _REFLECTION_TOKENS["hosted"]
            reflection_lm = dspy.LM(
                reflection, cache=False, max_tokens=tokens, callbacks=[meters[1]]
            )
        yield LMs(task_lm, reflection_lm, *meters)


@contextmanager
def _served(name: str, threads: int | None, local_server: str | None) -> Iterator[dict[str, Any]]:
    size = name.removeprefix(_LOCAL)
    if size not in WEIGHTS:
        known = ", ".join(f"{_LOCAL}{each}" for each in WEIGHTS)
        raise Missing(f"There is no model {name}; on this machine there are {known}.")
    with ExitStack() as stack:
        try:
            local = stack.enter_context(serving(size, threads, local_server))
        except (MissingExtra, LocalModelError) as error:
            raise Missing(str(error)) from error
        yield local.settings

"""A model server on loopback that answers a label task, rewrites instructions, and fails by a plan.

It speaks OpenAI's chat completions with usage numbers. What fails is a function of the request:
its number, its text, how often that text came before. Nothing is left to chance or to time.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch

import dspy
from label_task import CODES, RULE, examples, metric
from scripted_engine import new_texts

from dspy_gepa import GEPA
from dspy_gepa.core.budget import Tally
from dspy_gepa.run import pace
from dspy_gepa.testing.witness import outcome

__all__ = [
    "GARBLED",
    "PASSING",
    "Counted",
    "FaultyServer",
    "Job",
    "Seen",
    "faulty_server",
    "sprinkled",
    "undisturbed",
]

REFUSALS = {
    "429": (429, "rate_limit_exceeded", "slow down"),
    "429 soon": (429, "rate_limit_exceeded", "slow down"),
    "500": (500, "server_error", "the server had an error"),
    "503": (503, "overloaded", "the server is overloaded"),
    "401": (401, "invalid_api_key", "Incorrect API key provided"),
    "404": (404, "model_not_found", "The model some-model does not exist"),
    "too long": (400, "context_length_exceeded", "This model's maximum context length is 9 tokens"),
    "too long for vLLM": (400, 400, "This model's maximum context length is 9 tokens"),
    "too long for llama.cpp": (400, 400, "the request exceeds the available context size"),
}
"""Fault to status, code and message, of those that are answers."""

PASSING = ("429", "429 soon", "500", "503", "reset", "reset in body", "cut off")
"""Faults that say nothing about the request; the same request may succeed a moment later."""
GARBLED = ("malformed", "truncated")
"""The same, as answers with status 200 whose body is no JSON."""


REPAIR = "A reply was to give new texts"
"""With these words a reflection begins to ask about a reply that could not be used."""


@dataclass(frozen=True)
class Seen:
    """A request as the server saw it."""

    number: int
    """From 1, in the order of arrival."""
    prompt: str
    earlier: int
    """How many requests with the same prompt came before."""

    @property
    def is_reflection(self) -> bool:
        """Whether it asks for a better instruction."""
        return any(words in self.prompt for words in ("# What the program did", REPAIR))

    @property
    def example(self) -> str:
        """Which message it asks about, word for word; empty for a reflection."""
        asked = self.prompt.rpartition("[[ ## message ## ]]")[2]
        found = re.search(r"Something about the \w+, case \d+\.", asked)
        return found[0] if found and not self.is_reflection else ""

    def falls_on(self, one_in: int, salt: object = "") -> int | None:
        """A number for one prompt in so many, chosen by its text alone; None for the others."""
        digest = hashlib.sha256(f"{salt}{self.prompt}".encode()).digest()
        number = int.from_bytes(digest[:8], "big")
        return None if number % one_in else number // one_in

    @property
    def reply(self) -> str:
        """What a model that works says to it."""
        return _reflected(self.prompt) if self.is_reflection else _labelled(self)

    @property
    def usage(self) -> dict[str, int]:
        """What that costs."""
        sent, said = len(self.prompt) // 4, len(self.reply) // 4
        return {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}


@dataclass
class FaultyServer:
    """What the server does and what it has seen."""

    plan: Callable[[Seen], str | None] = lambda seen: None
    """From a request to its fault, or None; may be changed while the server runs."""
    seen: list[Seen] = field(default_factory=list)
    answered: list[Seen] = field(default_factory=list)
    """The requests that were answered whole; without choices too, as those are billed."""
    thinks_over_reflections: bool = False
    """Whether a reflection is answered, or refused, only after so many rollouts as could be asked
    for meanwhile (100 answers, or a second), as real models take far longer over it."""
    on_answered: Callable[[Seen], None] = lambda seen: None
    """Told when an answer was sent."""
    on_hang: Callable[[], None] = lambda: None
    """Told when a request begins to hang."""
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _prompts: Counter = field(default_factory=Counter)

    def lm(self, **settings: object) -> dspy.LM:
        """A model that is served here, without DSPy's own attempts and cache unless asked for."""
        given = {"api_key": "not a real key", "cache": False, "num_retries": 0, **settings}
        return dspy.LM("openai/some-model", api_base=f"http://127.0.0.1:{self.port}/v1", **given)

    @property
    def tokens(self) -> int:
        """What was handed out in answers."""
        return sum(seen.usage["total_tokens"] for seen in self.answered)

    @property
    def rollouts(self) -> list[Seen]:
        """Every request that was no reflection, in order."""
        return [seen for seen in self.seen if not seen.is_reflection]

    @property
    def reflections(self) -> list[Seen]:
        """Every request for a better instruction, in order."""
        return [seen for seen in self.seen if seen.is_reflection]

    def note(self, prompt: str) -> tuple[Seen, str | None]:
        """A request that came, and its fault."""
        with self._lock:
            seen = Seen(len(self.seen) + 1, prompt, self._prompts[prompt])
            self._prompts[prompt] += 1
            self.seen.append(seen)
            return seen, self.plan(seen)

    def respond(self, handler: BaseHTTPRequestHandler, prompt: str) -> None:
        """Answer a request, or fail it."""
        seen, fault = self.note(prompt)
        if seen.is_reflection and self.thinks_over_reflections:
            self._think()
        if fault in REFUSALS:
            status, code, message = REFUSALS[fault]
            headers = {"Retry-After": "0.01"} if fault == "429 soon" else {}
            problem = {"message": message, "type": str(code), "code": code, "param": None}
            _send(handler, status, json.dumps({"error": problem}).encode(), headers)
            return
        body = _body(seen)
        if fault in (None, "slow", "no choices"):
            self.answered.append(seen)
            if fault == "no choices":
                body = json.dumps({**json.loads(body), "choices": []}).encode()
            _send(handler, 200, body, pieces=8 if fault == "slow" else 1)
            self.on_answered(seen)
        elif fault == "malformed":
            _send(handler, 200, b"<html>502 from some proxy</html>")
        elif fault == "truncated":
            _send(handler, 200, body[: len(body) // 2])
        elif fault == "hang":
            self.on_hang()
            self.closing.wait()
        elif fault in ("cut off", "reset in body"):
            _send(handler, 200, body[: len(body) // 2], {"Content-Length": str(len(body))})
            handler.close_connection = True
            if fault == "reset in body":
                _reset(handler)
        else:
            assert fault == "reset", fault
            _reset(handler)

    def _think(self) -> None:
        for _ in range(100):
            if len(self.answered) >= 100 or self.closing.wait(0.01):
                return


def sprinkled(
    one_in: int, *faults: str, salt: object = "", most: int = 2
) -> Callable[[Seen], str | None]:
    """A plan by which the first attempts at one prompt in so many fail, with one of the faults."""

    def plan(seen: Seen) -> str | None:
        number = seen.falls_on(one_in, salt)
        if number is None or seen.earlier > number % most:
            return None
        return faults[number // most % len(faults)]

    return plan


@contextmanager
def faulty_server(plan=lambda seen: None):
    """A server that is up inside the block."""
    state = FaultyServer(plan)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.respond(self, "\n".join(_text(each["content"]) for each in sent["messages"]))

        def log_message(self, format, *args):  # noqa: A002
            """Nothing: the test's output is not the place."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, request, client_address):
            """Nothing: clients that were killed hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _labelled(seen: Seen) -> str:
    topic = next((topic for topic in CODES if f"the {topic}," in seen.example), "")
    is_told = f"{topic} means {CODES.get(topic)}" in seen.prompt
    return f"[[ ## code ## ]]\n{CODES[topic] if is_told else 'unknown'}\n\n[[ ## completed ## ]]"


def _reflected(prompt: str) -> str:
    """The current instruction's rules and one more of those that the feedback names."""
    current, _, shown = prompt.partition("# What the program did")
    known = sorted(set(RULE.findall(current)))
    new = sorted(set(RULE.findall(shown)) - set(known))
    rules = "; ".join([*known, *new[:1]])
    return new_texts(prompt, f"Give the code. {rules}.")


def _body(seen: Seen) -> bytes:
    message = {"role": "assistant", "content": seen.reply}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "some-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": seen.usage,
    }
    return json.dumps(body).encode()


def _send(handler, status: int, body: bytes, headers=None, pieces: int = 1) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": len(body), **(headers or {})}
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    size = -(-len(body) // pieces)
    for start in range(0, len(body), size):
        handler.wfile.write(body[start : start + size])
        if pieces > 1:
            threading.Event().wait(0.005)


def _reset(handler) -> None:
    """End the connection by RST, so that the client sees a reset and no orderly end."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


class Counted:
    """The metric of the label task, with its calls; raises on the examples that it is told to."""

    __name__ = "counted"

    def __init__(self, raises_on=lambda gold: False):
        self.calls = 0
        self._raises_on = raises_on
        self._lock = threading.Lock()

    def __call__(self, gold, pred, trace=None):
        with self._lock:
            self.calls += 1
        if self._raises_on(gold):
            raise ZeroDivisionError("the metric divides by nothing")
        return metric(gold, pred)


@dataclass
class Job:
    """One call of `compile` against a server, without the loop's pauses: what goes in and out."""

    server: FaultyServer
    metric: Counted = field(default_factory=Counted)
    program: dspy.Module = field(default_factory=lambda: dspy.Predict("message -> code"))
    train: int = 12
    validation: int = 8
    num_retries: int = 0
    optimizer: GEPA | None = None

    def run(self, **settings):
        """What `compile` returns."""
        lm = self.server.lm(num_retries=self.num_retries)
        given = {"max_metric_calls": 120, "num_threads": 1, "reflection_lm": lm, **settings}
        self.optimizer = GEPA(self.metric, **given)
        every = examples(self.train + self.validation)
        no_pauses = patch.object(pace, "PAUSES_SECONDS", (0.0,))
        with dspy.context(lm=lm), no_pauses:
            return self.optimizer.compile(self.program, every[: self.train], every[self.train :])

    @property
    def result(self):
        """The optimizer's result."""
        return self.optimizer.result

    @property
    def rollouts(self):
        """Every rollout that was recorded."""
        return [rollout for _, rollout in self.result.state.known.items()]

    @property
    def outcome(self):
        """Everything that two runs share if they are the same run; not what faults cost."""
        return [each for each in outcome(self.result.state) if not isinstance(each, Tally)]

    @property
    def best(self):
        """The best member's instruction."""
        return self.result.members[self.result.best].candidate["self"]


@cache
def undisturbed(search="default"):
    """The same job on a server without faults."""
    with faulty_server() as server:
        job = Job(server)
        job.run(search=search)
    assert len(job.result.members) > 3
    return job

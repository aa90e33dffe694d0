"""A model server on the loopback interface that fails as it is told to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dspy

__all__ = ["ModelServer", "dead_port", "loopback", "model_server"]

_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


@dataclass
class ModelServer:
    """Answers with these statuses in turn, the last of them for ever."""

    statuses: Sequence[int]
    text: str | Callable[[dict[str, object]], str]
    """What it answers, or how that follows from the request."""
    requests: list[dict[str, object]] = field(default_factory=list)
    port: int = 0
    refusal: str = "refused"
    """What an answer with another status than 200 says."""
    cut_off: str | None = None
    """A reply to a request with this in it is reported as cut off at the limit of tokens."""

    def lm(self, **settings: object) -> dspy.LM:
        """A model that is served here; DSPy's own attempts and its cache are off."""
        return dspy.LM(
            "openai/some-model",
            api_base=f"http://127.0.0.1:{self.port}/v1",
            api_key="not a real key",
            cache=False,
            num_retries=0,
            **settings,
        )

    def respond(self, request: dict[str, object]) -> tuple[int, dict[str, object]]:
        """The next status, and a body that fits it."""
        self.requests.append(request)
        status = self.statuses[min(len(self.requests), len(self.statuses)) - 1]
        if status != 200:
            message = f"{self.refusal} with {status}"
            problem = {"message": message, "code": _CODES.get(status, "other")}
            return status, {"error": problem}
        said = self.text if isinstance(self.text, str) else self.text(request)
        message = {"role": "assistant", "content": said}
        is_cut_off = self.cut_off is not None and self.cut_off in json.dumps(request["messages"])
        ending = "length" if is_cut_off else "stop"
        return 200, {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "some-model",
            "choices": [{"index": 0, "message": message, "finish_reason": ending}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }


@contextmanager
def loopback(
    respond: Callable[[dict[str, object]], tuple[int, dict[str, object]]],
) -> Iterator[int]:
    """The port of a server, up inside the block, that answers requests by status and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            status, body = respond(json.loads(self.rfile.read(length)))
            written = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing: the test's output is not the place."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # or the system drops connections while nobody has time to accept

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def model_server(
    *statuses: int, text: str | Callable[[dict[str, object]], str]
) -> Iterator[ModelServer]:
    """A server that is up inside the block."""
    state = ModelServer(statuses, text)
    # Looked up at each request, because a test may put another one in its place.
    with loopback(lambda request: state.respond(request)) as state.port:  # noqa: PLW0108
        yield state


@contextmanager
def dead_port() -> Iterator[int]:
    """A port that refuses every connection. It is held, or another test's server may be given it
    and be asked what was meant for nobody."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]

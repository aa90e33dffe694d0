"""The local model behind an OpenAI-compatible address that answers many requests at once.

llama.cpp, which `compare.py` starts by itself, answers one request after another. This server
reads the same weights with OpenVINO GenAI, which works on all requests together and keeps what
prompts have in common: on two cores it wrote 41, 60 and 70 tokens a second for 8, 16 and 32
requests at once, where llama.cpp wrote 19.

    pip install "dspy_gepa[local]" openvino-genai
    python benchmarks/batched_server.py --port 8301 --threads 2
    python benchmarks/compare.py --local-server http://127.0.0.1:8301/v1 --num-threads 16 ...
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from threading import Thread
from typing import Any, NamedTuple
from uuid import uuid4

import openvino_genai as genai  # type: ignore[import-not-found]

from dspy_gepa.demo.weights import WEIGHTS, assembled, cache_folder

_LONGEST_ANSWER = 1_000
"""Tokens, if a request names no limit."""
_CACHE_GIGABYTES = 3
"""For what is kept of the prompts and answers under way."""


class Answer(NamedTuple):
    """What the model wrote, and how long it is."""

    text: str
    tokens: int
    prompt_tokens: int
    is_cut_off: bool


class BatchedModel:
    """One model that works on all prompts together, a token of each at a time.

    Args:
        gguf: The path of its weights.
        threads: How many compute.
        at_once: Prompts under way; more of them wait.
    """

    def __init__(self, gguf: str, threads: int, at_once: int) -> None:
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = _CACHE_GIGABYTES
        scheduler.enable_prefix_caching = True
        scheduler.max_num_seqs = at_once
        settings = {"INFERENCE_NUM_THREADS": threads}
        self._model = genai.ContinuousBatchingPipeline(gguf, scheduler, "CPU", settings)
        self._tokenizer = self._model.get_tokenizer()
        self._waiting: Queue[tuple[str, Any, Future[list[int]]]] = Queue()
        Thread(target=self._work, daemon=True).start()

    def answer(self, body: Mapping[str, Any]) -> Answer:
        """The answer to a request of OpenAI's chat format; waits for it."""
        config = genai.GenerationConfig()
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or _LONGEST_ANSWER
        config.max_new_tokens = limit
        if temperature := body.get("temperature"):
            config.do_sample, config.temperature = True, temperature
            config.rng_seed = uuid4().int % 2**31
        messages = [
            {"role": each["role"], "content": _text_of(each["content"])}
            for each in body["messages"]
        ]
        prompt = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        found: Future[list[int]] = Future()
        self._waiting.put((prompt, config, found))
        tokens = found.result()
        prompt_tokens = self._tokenizer.encode(prompt).input_ids.shape[1]
        text = self._tokenizer.decode(tokens)
        return Answer(text, len(tokens), prompt_tokens, is_cut_off=len(tokens) >= limit)

    def _work(self) -> None:
        """Take in what waits, write one token of each, hand out what is done; without an end."""
        under_way: dict[int, tuple[Any, Future[list[int]]]] = {}
        number = 0
        while True:
            try:
                while True:
                    prompt, config, found = self._waiting.get(block=not under_way)
                    number += 1
                    try:
                        under_way[number] = self._model.add_request(number, prompt, config), found
                    except Exception as error:  # noqa: BLE001 - told to the one who asked
                        found.set_exception(error)
            except Empty:
                pass
            self._model.step()
            running = genai.GenerationStatus.RUNNING
            done = [key for key, (each, _) in under_way.items() if each.get_status() != running]
            for each, found in map(under_way.pop, done):
                found.set_result(each.read_all()[0].generated_ids)


def _text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def server(model: BatchedModel, name: str, port: int) -> ThreadingHTTPServer:
    """An HTTP server on loopback that answers with this model."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self._send(200, _in_openai_form(model.answer(body), name))
            except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
                self._send(400, {"error": {"message": f"{type(error).__name__}: {error}"}})

        def _send(self, status: int, said: Mapping[str, Any]) -> None:
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_said: object) -> None:
            """Nothing: thousands of lines tell nobody anything."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _in_openai_form(answer: Answer, name: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text}
    reason = "length" if answer.is_cut_off else "stop"
    return {
        "id": uuid4().hex,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.tokens,
            "total_tokens": answer.prompt_tokens + answer.tokens,
        },
    }


def main() -> None:
    """Serve until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=WEIGHTS, default="1.5b")
    parser.add_argument("--port", type=int, default=8301)
    parser.add_argument("--threads", type=int, default=2, help="how many compute")
    parser.add_argument("--at-once", type=int, default=32, help="prompts under way")
    arguments = parser.parse_args()
    weights = WEIGHTS[arguments.model]
    gguf = assembled(weights, cache_folder())
    model = BatchedModel(str(gguf), arguments.threads, arguments.at_once)
    with server(model, weights.model, arguments.port) as serving:
        print(f"http://127.0.0.1:{arguments.port}/v1 is ready", flush=True)
        serving.serve_forever()


if __name__ == "__main__":
    main()

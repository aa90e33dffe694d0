"""The calls that users write, as they write them: to a server's API, and to a real local model."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import dspy
import pytest
from artifact_worlds import value_of

from dspy_gepa import optimize_anything


@pytest.fixture
def api(monkeypatch):
    """A server that speaks the API of a hosted model, and is scripted: it raises what it reads."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompts.append(asked["messages"][-1]["content"])
            value = max(map(int, re.findall(r"value: (\d+)", str(prompts[-1])))) + 1
            message = {"role": "assistant", "content": f"```\nvalue: {value}\n```"}
            usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = {"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"]}
            sent = json.dumps({**body, "choices": [choice], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    prompts = []
    server = HTTPServer(("127.0.0.1", 0), Answering)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.server_port}/v1")
    yield prompts
    server.shutdown()
    serving.join()
    server.server_close()


def test_the_call_of_the_article(api):
    """A text, an evaluator, a background, a mode and the name of a model, and nothing else."""

    def fn(artifact):
        score = value_of(artifact)
        return score, {"feedback": f"{score} is too low"}

    result = optimize_anything(
        artifact="value: 0",
        evaluator=fn,
        background="Higher values are better.",
        mode="single_task",
        reflection_lm="openai/gpt-4.1-mini",
    )
    # Where no limit is given there are a hundred evaluations.
    assert result.score == 99
    assert result.optimized_artifact == "value: 99"
    assert "Higher values are better." in str(api[0])
    assert "0 is too low" in str(api[0])
    assert result.tally.total_tokens == 15 * len(api)


def test_the_call_of_gepa(api):
    """Its names, its shapes of evaluator and of side information, and its kind of config."""

    def evaluate(candidate, example):
        score = min(value_of(candidate), example["most"])
        return score, {"Input": example["most"], "scores": {"size": score}}

    result = optimize_anything(
        seed_candidate="value: 0",
        evaluator=evaluate,
        objective="Raise the value.",
        dataset=[{"most": 3}, {"most": 5}],
        valset=[{"most": 4}, {"most": 6}],
        config={
            "engine": {"max_metric_calls": 40, "max_workers": 2},
            "reflection": {"reflection_lm": "openai/gpt-4.1-mini"},
        },
    )
    assert result.score > 0
    assert result.tally.metric_calls <= 40


@pytest.fixture
def local_lm(local_model):
    return dspy.LM(**local_model.settings, max_tokens=80)


@pytest.mark.local_model
def test_a_text_is_improved_on_a_real_local_model(local_lm, tmp_path):
    """Evaluations are counted, what it returns is no worse, and the same call costs nothing."""
    calls = []

    def names(artifact, word):
        calls.append((artifact, word))
        is_there = word in artifact.lower()
        return float(is_there), "It is there." if is_there else f"The word {word} is missing."

    def again():
        return optimize_anything(
            "The weather is fine.",
            names,
            objective="A sentence about the weather that has the wanted words.",
            reflection_lm=local_lm,
            max_evals=8,
            max_proposals=1,
            log_dir=str(tmp_path),
            dataset=["rain", "sun"],
            valset=["wind", "snow"],
        )

    result = again()
    assert len(calls) == len(set(calls)) == result.tally.metric_calls <= 8
    assert result.tally.reflection_calls >= 1
    assert result.tally.total_tokens > 0
    assert result.score >= result.run.mean_scores[0]
    assert again().optimized_artifact == result.optimized_artifact
    assert len(calls) == result.tally.metric_calls

"""The benchmark of throughput measures what it says, as far as that is no matter of time."""

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import throughput
from latency_server import Latencies, Moments, PromptedReflectionLM, latency_server
from worlds import WORLDS, Stated, Task

# dspy.LM takes engines from DSPy 3.4 on only, and the benchmark runs with 3.3 too.
pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs")

WORLD = next(world for world in WORLDS if world.name == "clumsy reflection")


def test_virtual_time_runs(tmp_path, capsys):
    """A tiny run prints its table and writes every number; slots change times, and no result."""
    path = tmp_path / "throughput.json"
    given = ["--parts", "virtual", "--slots", "2", "5", "--budget", "300", "--seeds", "1"]
    throughput.main([*given, "--json", str(path)])
    assert "the same results" in capsys.readouterr().out
    runs = json.loads(path.read_text("utf-8"))["virtual_runs"]
    assert {run["search"] for run in runs} == {"default", "paper"}
    for run in runs:
        assert 0 < run["busy"] <= 1
        assert 0 < run["busy_middle"] <= 1 + 1e-9
        assert run["rollouts"] <= 300
    alike = [run for run in runs if run["search"] == "default" and run["window"] == 1]
    assert len({run["slots"] for run in alike}) == len(alike) == 2
    assert len({run["result"] for run in alike}) == 1
    assert len({run["virtual_seconds"] for run in alike}) == 2


def test_a_run_in_virtual_time_is_the_same_again():
    """The same run gives the same numbers, but for what it takes itself."""
    first, again = (throughput.in_virtual_time("default", 4, 8, 3, 250) for _ in range(2))
    assert {**first, "own_seconds": 0} == {**again, "own_seconds": 0}


def test_a_run_by_the_clock_is_told_as_it_was():
    """A tiny run of ours against the server: its score, its requests, the moments of its best."""
    with latency_server(Latencies(0.001), is_own_process=False) as address:
        course = throughput.Course(address, WORLD, budget=40, threads=4)
        found, moments = course.run(0, 2)
    assert found["window"] == 2
    assert found["server"]["requests"] >= found["rollouts"] > 0
    assert 1 <= found["server"]["peak"] <= 4 + 2  # reflections run beside the threads
    assert moments.reached(found["score"]) <= moments.kept(found["score"]) <= found["seconds"]
    assert moments.reached(2.0) == math.inf


def test_the_moment_of_a_score():
    """A score is reached when it is first there, and kept from when it is there for good."""
    moments = Moments(Task(WORLD, 0), points=[(1.0, 0.2), (2.0, 0.5), (3.0, 0.3), (4.0, 0.6)])
    assert (moments.reached(0.4), moments.kept(0.4)) == (2.0, 4.0)
    assert (moments.reached(0.1), moments.kept(0.1)) == (1.0, 1.0)
    assert moments.kept(0.7) == math.inf


def test_latencies_and_replies_follow_from_the_prompt():
    """Neither depends on when a request comes; a reflection takes so many times as long."""
    latencies = Latencies(0.02, 10.0)
    task, reflection = (latencies.seconds(0, "x", is_reflection=is_one) for is_one in (False, True))
    assert reflection == pytest.approx(10 * task)
    prompts = [Stated(0, frozenset({rule}), frozenset()).text(f"w{rule}") for rule in (0, 3, 6)]
    replies = []
    for order in (prompts, prompts[::-1]):
        lm = PromptedReflectionLM(Task(WORLD, 0))
        replies.append({prompt: lm.reply(prompt) for prompt in order})
    assert replies[0] == replies[1]


def test_as_many_requests_as_threads(monkeypatch):
    """So many threads are so many requests at once."""
    monkeypatch.setattr("latency_server._LONGEST_WAIT_SECONDS", 600.0)
    with latency_server(Latencies(0.001), is_own_process=False) as address:
        assert throughput.at_once(address, 12)["server"]["peak"] == 12

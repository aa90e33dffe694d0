"""Requests that never end, with a small timeout: one is a failure, all of them end the run."""

import pytest
from faulty_server import Job, faulty_server

from dspy_gepa.errors import WorkerError


@pytest.mark.parametrize("threads", [1, 8])
def test_one_hang_is_one_recorded_failure(hangs, threads):
    """It is asked once, not judged, and recorded as what took too long; the run goes on."""
    with faulty_server(lambda seen: "hang" if seen.number == 5 else None) as server:
        server.on_hang = hangs.begin
        job = Job(server)
        job.run(num_threads=threads, timeout_seconds=2)
        hung = server.seen[4]
    assert [seen.prompt for seen in server.seen].count(hung.prompt) == 1
    failed = [rollout for rollout in job.rollouts if rollout.failure]
    assert len(failed) == 1
    assert "longer than 2 seconds" in failed[0].failure
    assert job.metric.calls == job.result.tally.metric_calls == len(job.rollouts) - 1
    assert len(job.result.members) > 1


def test_a_reflection_that_hangs_fails_and_is_counted(hangs):
    """The proposal fails with the reason, its call is counted, and the next one succeeds."""
    with faulty_server() as server:
        server.on_hang = hangs.begin
        server.plan = lambda seen: "hang" if seen in server.reflections[:1] else None
        job = Job(server)
        job.run(timeout_seconds=2)
    assert job.result.failed == 1
    assert "longer than 2 seconds" in job.result.proposals[0].verdict.reason
    assert job.result.tally.reflection_calls == len(server.reflections)
    assert len(job.result.members) > 1


@pytest.mark.parametrize(("search", "threads"), [("default", 1), ("default", 8), ("paper", 8)])
def test_a_server_that_answers_nothing_stops_the_run_within_the_first_examples(search, threads):
    """The first 10 validation examples and the first minibatch, of at most 8, of 2000."""
    with faulty_server(lambda seen: "hang") as server:
        job = Job(server, validation=200)
        with pytest.raises(WorkerError, match=r"longer than 0\.1 seconds"):
            job.run(search=search, num_threads=threads, timeout_seconds=0.1, max_metric_calls=2000)
    assert 10 <= job.result.tally.rollouts <= 18
    assert job.metric.calls == job.result.tally.metric_calls == 0
    assert not job.result.improved

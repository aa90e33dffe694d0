"""What concerns one prompt, one example or the metric is a failure text, and not an outage."""

import pytest
from dspy_versions import since
from faulty_server import Counted, Job, faulty_server

from dspy_gepa.errors import ReflectionError, WorkerError


@pytest.mark.parametrize("threads", [1, 8])
def test_a_prompt_that_is_too_long_is_that_examples_failure(threads):
    """Each candidate's rollout on it fails with the provider's words, is asked for once and is
    not judged; all others are ordinary."""
    with faulty_server(lambda seen: "too long" if "case 13." in seen.example else None) as server:
        job = Job(server)
        job.run(num_threads=threads)
    prompts = [seen.prompt for seen in server.rollouts]
    assert len(prompts) == len(set(prompts)) == len(job.rollouts)
    failed = [rollout for rollout in job.rollouts if rollout.failure]
    assert len(failed) == sum("case 13." in seen.example for seen in server.rollouts) > 1
    assert all("maximum context length is 9 tokens" in rollout.failure for rollout in failed)
    assert job.metric.calls == job.result.tally.metric_calls == len(job.rollouts) - len(failed)
    assert job.result.tally.total_tokens == server.tokens
    assert len(job.result.members) > 3


@pytest.mark.parametrize("server_kind", ["vLLM", "llama.cpp"])
def test_a_prompt_that_is_too_long_for_a_local_server_is_that_examples_failure(server_kind):
    """The same in the words of servers that people run themselves."""
    fault = f"too long for {server_kind}"
    with faulty_server(lambda seen: fault if "case 13." in seen.example else None) as server:
        job = Job(server)
        job.run()
    assert len(job.result.members) > 3


def test_a_reflection_prompt_that_is_too_long_fails_that_reflection():
    """It is asked with half as much, and where that is refused too the proposal is recorded as
    failed with the provider's words; the others go on."""
    with faulty_server() as server:
        server.plan = lambda seen: "too long" if seen in server.reflections[:4] else None
        job = Job(server)
        job.run()
    failed = [p for p in job.result.proposals if p.verdict.kind == "failed"]
    assert len(failed) == job.result.failed == 2
    assert all("maximum context length is 9 tokens" in p.verdict.reason for p in failed)
    assert len(job.result.members) > 1


def test_reflection_prompts_that_are_all_too_long_end_the_run():
    """After ten in a row there is an error with the reason; the result tells what was paid."""
    with faulty_server(lambda seen: "too long" if seen.is_reflection else None) as server:
        job = Job(server)
        with pytest.raises(ReflectionError, match="maximum context length is 9 tokens"):
            job.run()
    assert len(server.reflections) == 2 * job.result.failed == 20
    assert job.metric.calls == job.result.tally.metric_calls
    assert job.result.tally.total_tokens == server.tokens


@since("3.4.1", "an answer for a reply without choices")
@pytest.mark.parametrize("threads", [1, 8])
def test_an_answer_without_choices_is_an_unreadable_reply(threads):
    """DSPy asks once more in its other format and then gives up: that rollout is a failure whose
    tokens are counted, in reflections it is asked once more and then fails."""
    with faulty_server() as server:

        def plan(seen):
            is_refused = "case 13." in seen.example or seen in server.reflections[:2]
            return "no choices" if is_refused else None

        server.plan = plan
        job = Job(server)
        job.run(num_threads=threads)
    failed = [rollout for rollout in job.rollouts if rollout.failure]
    assert len(failed) > 1
    assert all("The reply could not be read" in rollout.failure for rollout in failed)
    assert job.result.failed == 1
    assert job.result.tally.reflection_calls == len(server.reflections)
    assert job.result.tally.total_tokens == server.tokens


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_metric_that_always_raises_stops_the_run(search, threads):
    """The error is the metric's own, every call is counted, and few of 2000 were made."""
    with faulty_server() as server:
        job = Job(server, metric=Counted(lambda gold: True), validation=200)
        with pytest.raises(WorkerError, match="the metric divides by nothing"):
            job.run(search=search, num_threads=threads, max_metric_calls=2000)
    assert 10 <= job.metric.calls == job.result.tally.metric_calls <= 26
    assert len(server.reflections) <= 1
    assert job.result.tally.total_tokens == server.tokens


@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_metric_that_always_raises_stops_before_validation_is_paid(search):
    """Also where the first reflection takes as long as many rollouts."""
    with faulty_server() as server:
        server.thinks_over_reflections = True
        job = Job(server, metric=Counted(lambda gold: True), validation=200)
        with pytest.raises(WorkerError, match="the metric divides by nothing"):
            job.run(search=search, num_threads=8, max_metric_calls=2000)
    assert job.metric.calls <= 26


@pytest.mark.parametrize("threads", [1, 8])
def test_a_metric_that_raises_on_one_example_does_not_stop_the_run(threads):
    """Its words are that rollout's failure, its call is counted, the run goes on."""
    with faulty_server() as server:
        job = Job(server, metric=Counted(lambda gold: "case 13." in gold.message))
        job.run(num_threads=threads)
    failed = [rollout for rollout in job.rollouts if rollout.failure]
    assert failed
    assert all("The metric raised ZeroDivisionError" in each.failure for each in failed)
    assert job.metric.calls == job.result.tally.metric_calls == len(job.rollouts) <= 120
    assert len(job.result.members) > 3

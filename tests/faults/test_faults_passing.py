"""Faults that pass leave no mark on a run but the time that they took."""

import dspy
import pytest
from faulty_server import GARBLED, PASSING, Job, faulty_server, sprinkled, undisturbed


def check_the_same_run(job, expected):
    """The same members, texts and scores; nothing but answers was scored, and all is counted."""
    assert job.outcome == expected.outcome
    assert not any(rollout.failure for rollout in job.rollouts)
    tally = job.result.tally
    assert tally.metric_calls == job.metric.calls == expected.metric.calls <= 120
    assert tally.total_tokens == job.server.tokens == expected.server.tokens
    if job.num_retries == 0:
        assert tally.rollouts == len(job.server.rollouts)
        assert tally.reflection_calls == len(job.server.reflections)


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_sprinkle_of_passing_faults_changes_nothing(search, threads):
    """Busy, failing and resetting servers, at rollouts and reflections alike: the run ends as the
    undisturbed one, every metric call and every token is counted, and no fault is a score."""
    with faulty_server(sprinkled(3, *PASSING)) as server:
        job = Job(server)
        job.run(search=search, num_threads=threads)
    expected = undisturbed(search)
    check_the_same_run(job, expected)
    assert len(server.seen) - len(server.answered) > len(expected.server.seen) / 4


@pytest.mark.parametrize("fault", PASSING)
def test_each_passing_fault_alone_changes_nothing(fault):
    """One request in two fails, once or twice, always by this fault."""
    with faulty_server(sprinkled(2, fault, salt=fault)) as server:
        job = Job(server)
        job.run(search="paper", num_threads=8)
    check_the_same_run(job, undisturbed("paper"))
    assert len(server.seen) > 1.3 * len(server.answered)


@pytest.mark.parametrize("fault", GARBLED)
def test_a_garbled_body_changes_nothing(fault):
    """A proxy's error page or half an answer, with status 200, comes and goes like a 502."""
    with faulty_server(sprinkled(5, fault)) as server:
        job = Job(server)
        job.run(search="paper")
    check_the_same_run(job, undisturbed("paper"))


def test_dspys_own_retries_and_ours_do_not_get_in_each_others_way():
    """With num_retries=1 single faults stay in DSPy, double ones come to the loop."""
    with faulty_server(sprinkled(3, "429 soon")) as server:
        job = Job(server, num_retries=1)
        job.run(search="paper", num_threads=8)
    check_the_same_run(job, undisturbed("paper"))
    assert {seen.earlier for seen in server.answered} == {0, 1, 2}


def test_slow_bodies_are_ordinary_answers():
    """An answer that dribbles in within the timeout is an answer."""

    def plan(seen):
        return "slow" if seen.falls_on(4) is not None else None

    with faulty_server(plan) as server:
        job = Job(server)
        job.run(search="paper", num_threads=8, timeout_seconds=600)
        assert sum(plan(seen) == "slow" for seen in server.seen) > 10
    check_the_same_run(job, undisturbed("paper"))


class TwoSteps(dspy.Module):
    """Asks two components one after the other."""

    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("message -> code")
        self.final = dspy.Predict(self.draft.signature.with_instructions("Think of the code."))

    def forward(self, message):
        self.draft(message=message)
        return self.final(message=message)


def test_tokens_that_a_fault_made_worthless_are_counted_too():
    """Where the first step was answered and the second one failed, what was answered is paid for
    and is in the tally; scores are those of the undisturbed run."""
    runs = []
    for plan in (lambda seen: None, sprinkled(3, *PASSING, most=1)):
        with faulty_server(plan) as server:
            job = Job(server, program=TwoSteps())
            job.run(num_threads=8, max_metric_calls=60)
        assert job.result.tally.total_tokens == server.tokens
        assert job.result.tally.metric_calls == job.metric.calls <= 60
        runs.append(job)
    whole, disturbed = runs
    assert disturbed.server.tokens > whole.server.tokens
    assert disturbed.result.members == whole.result.members
    assert disturbed.result.mean_scores == whole.result.mean_scores

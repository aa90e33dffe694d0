"""Faults that last stop a run at once, with the cause, and a run directory carries on later."""

from collections import Counter

import pytest
from faulty_server import FaultyServer, Job, faulty_server, undisturbed
from model_server import dead_port

from dspy_gepa.errors import WorkerError

WORDS = {"401": "Incorrect API key provided", "404": "The model some-model does not exist"}


def paid_twice(server):
    """Rollouts that were answered more than once."""
    prompts = [seen.prompt for seen in server.answered if not seen.is_reflection]
    return len(prompts) - len(set(prompts))


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("fault", ["401", "404"])
def test_a_wrong_key_or_model_stops_at_the_first_request(fault, threads):
    """One request, no metric call, no token; the error says why, and the result is there."""
    with faulty_server(lambda seen: fault) as server:
        job = Job(server)
        with pytest.raises(WorkerError, match=WORDS[fault]) as caught:
            job.run(num_threads=threads)
    assert len(server.seen) == 1
    assert caught.value.program is None
    assert not job.result.members
    assert job.result.tally.metric_calls == job.metric.calls == 0
    assert WORDS[fault] in job.result.stop_reason


@pytest.mark.parametrize(("fault", "threads"), [("401", 8), ("404", 1)])
def test_a_key_that_is_repaired_carries_on(tmp_path, fault, threads):
    """A key that is revoked in mid-run stops it after what is in flight; the same call carries on
    later to the end of the undisturbed run, and no answered rollout is paid twice."""
    with faulty_server(lambda seen: fault if seen.number >= 40 else None) as server:
        job = Job(server)
        with pytest.raises(WorkerError, match=WORDS[fault]) as caught:
            job.run(num_threads=threads, log_dir=str(tmp_path))
        refused = server.seen[39:]
        assert sum(not each.is_reflection for each in refused) <= threads
        assert len({each.prompt for each in refused}) == len(refused) > 0
        assert job.result.tally.total_tokens == server.tokens
        assert caught.value.program.signature.instructions == job.best
        server.plan = lambda seen: None
        job.run(num_threads=threads, log_dir=str(tmp_path))
    assert job.outcome == undisturbed().outcome
    assert paid_twice(server) == 0
    assert job.metric.calls == undisturbed().metric.calls


@pytest.mark.parametrize(("fault", "threads"), [("503", 1), ("reset", 8)])
def test_a_server_that_stays_down_stops_the_run_with_the_best_so_far(tmp_path, fault, threads):
    """Four vain attempts in a row at one request; the error holds the best program so far, and with
    the server back the same call ends as the undisturbed run."""
    has_improved, vain = [], []

    def plan(seen):
        if not has_improved:
            return None
        vain.append(seen.prompt)
        return fault

    def look(event, state):
        if state.members and state.best:
            has_improved.append(event)

    with faulty_server(plan) as server:
        job = Job(server)
        with pytest.raises(WorkerError, match="4 attempts in a row") as caught:
            job.run(num_threads=threads, log_dir=str(tmp_path), observers=[look])
        assert max(Counter(vain).values()) == 4
        assert threads > 1 or len(vain) == 4
        assert len(job.result.members) > 1
        assert "means" in caught.value.program.signature.instructions
        assert caught.value.program.signature.instructions == job.best
        assert "the same call carries on" in str(caught.value)
        server.plan = lambda seen: None
        improved = job.run(num_threads=threads, log_dir=str(tmp_path))
    assert job.outcome == undisturbed().outcome
    assert improved.signature.instructions == undisturbed().best
    assert paid_twice(server) == 0


def test_a_server_that_was_never_there_stops_the_run():
    """Nothing listens at the port: nothing is scored."""
    with dead_port() as port:
        job = Job(FaultyServer(port=port))
        with pytest.raises(WorkerError, match="4 attempts in a row"):
            job.run(num_threads=8)
    assert job.result.tally.metric_calls == job.metric.calls == 0
    assert not job.rollouts


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_reflection_lm_without_a_key_stops_before_validation_is_paid(search, threads):
    """The first reflection comes before the 200 validation rollouts: where it is refused at once,
    the minibatch and what runs beside it was asked until then."""
    with faulty_server(lambda seen: "401" if seen.is_reflection else None) as server:
        job = Job(server, validation=200)
        with pytest.raises(WorkerError, match=WORDS["401"]):
            job.run(search=search, num_threads=threads, max_metric_calls=2000)
    # With eight threads the seed may be a member by then, and the window is full.
    assert len(server.reflections) <= (1 if threads == 1 else 4)
    assert len(server.rollouts) == job.metric.calls
    assert job.metric.calls <= (8 if threads == 1 else 60)


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_reflection_lm_that_takes_its_time_stops_before_validation_is_paid(search, threads):
    """The same where the refusal takes as long as many rollouts."""
    with faulty_server(lambda seen: "401" if seen.is_reflection else None) as server:
        server.thinks_over_reflections = True
        job = Job(server, validation=200)
        with pytest.raises(WorkerError, match=WORDS["401"]):
            job.run(search=search, num_threads=threads, max_metric_calls=2000)
    assert job.metric.calls <= 40


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_reflection_lm_that_is_away_stops_before_validation_is_paid(search, threads):
    """Nothing listens where the reflection LM should be: a wrong port, a server not started."""
    with dead_port() as port, faulty_server() as server:
        job, away = Job(server, validation=200), FaultyServer(port=port).lm()
        with pytest.raises(WorkerError, match="4 attempts in a row"):
            job.run(search=search, num_threads=threads, max_metric_calls=2000, reflection_lm=away)
    assert job.metric.calls <= 40

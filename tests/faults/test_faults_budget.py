"""Limits in what models cost hold against a server that counts on its own account."""

import pytest
from faulty_server import PASSING, REPAIR, Job, faulty_server, sprinkled

from dspy_gepa.errors import ReflectionError

USD_PER_TOKEN = 2e-6


def price(model, usage):
    return usage["total_tokens"] * USD_PER_TOKEN


def growth(server):
    """What eight rollouts and a reflection under way can cost above the dearest before them."""
    slack = 0
    for count, seen in ((8, server.rollouts), (1, server.reflections)):
        costs = [each.usage["total_tokens"] for each in seen]
        # Nothing was before the first one, however often it was asked for.
        least = min(costs) if len({each.prompt for each in seen}) > 1 else 0
        slack += count * (max(costs) - least)
    return slack


@pytest.mark.parametrize("limit", [2_000, 6_000, 9_000])
@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_limit_in_tokens_holds_under_eight_threads_and_faults(search, limit):
    """The server never hands out more than the limit, but for what the last requests cost above
    all earlier ones, and most of it is used."""
    with faulty_server(sprinkled(3, *PASSING)) as server:
        job = Job(server)
        job.run(search=search, num_threads=8, max_total_tokens=limit)
    assert job.result.tally.total_tokens == server.tokens
    assert limit / 2 < server.tokens <= limit + growth(server)
    assert "tokens" in job.result.stop_reason
    assert job.metric.calls == job.result.tally.metric_calls


@pytest.mark.parametrize("search", ["default", "paper"])
def test_a_limit_in_usd_holds_under_eight_threads_and_faults(search):
    """By the price that was given, from the server's own count."""
    with faulty_server(sprinkled(3, *PASSING)) as server:
        job = Job(server)
        job.run(search=search, num_threads=8, max_usd=0.015, price=price)
    assert job.result.tally.usd == pytest.approx(server.tokens * USD_PER_TOKEN)
    assert 0.0075 < job.result.tally.usd <= 0.015 + growth(server) * USD_PER_TOKEN
    assert "USD" in job.result.stop_reason


def test_refused_reflections_count_towards_their_limit():
    """`max_reflection_calls` is never exceeded, also where each call is refused as too long."""
    with faulty_server(lambda seen: "too long" if seen.is_reflection else None) as server:
        job = Job(server)
        with pytest.raises(ReflectionError):
            job.run(max_reflection_calls=3)
    assert len(server.reflections) <= 3


def test_every_reflection_call_is_counted_where_the_second_one_fails():
    """A reply that cannot be read is paid for; where the server is busy when it is asked about, it
    is asked about once more, and all that was asked is in the tally."""

    def plan(seen):
        if not seen.is_reflection or seen.earlier:
            return None
        return "503" if REPAIR in seen.prompt else "no choices"

    with faulty_server(plan) as server:
        job = Job(server)
        job.run()
    assert len(server.reflections) > len({seen.prompt for seen in server.reflections})
    assert job.result.tally.total_tokens == server.tokens
    assert job.result.tally.reflection_calls == len(server.reflections)


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("limit", [{"max_rollouts": 40}, {"max_reflection_calls": 4}])
def test_limits_in_calls_hold_under_faults(limit, threads):
    """What a fault made worthless was asked all the same, and counts."""
    with faulty_server(sprinkled(3, *PASSING)) as server:
        job = Job(server)
        job.run(num_threads=threads, **limit)
    tally = job.result.tally
    assert tally.rollouts == len(server.rollouts) <= limit.get("max_rollouts", 1000)
    assert tally.reflection_calls == len(server.reflections)
    assert tally.reflection_calls <= limit.get("max_reflection_calls", 1000)
    assert "the budget is used up" in job.result.stop_reason

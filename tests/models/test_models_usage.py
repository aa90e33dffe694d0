"""What model calls cost: counted per request, in whatever thread they are made."""

import math
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import dspy
import numpy as np
import pytest
from dspy_versions import since
from scripted_engine import scripted_lm
from small_worker import EXAMPLES, Counted, Program, echo, exact, rolled, worker

from dspy_gepa.core.budget import FREE, Usage
from dspy_gepa.core.work import RequestFailure, RolloutAnswer
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.usage import Meter, listed_price

MODEL = "scripted/model"
PER_CALL = Usage(total_tokens=2)
"""What the scripted model reports."""


def cent(model, usage):
    """A price of a cent for every token of the scripted model."""
    return 0.01 * usage["total_tokens"] if model == MODEL else None


def ask(question="a"):
    return dspy.Predict("question -> answer")(question=question)


def test_the_calls_inside_are_added_up():
    """Each call's tokens; nothing before or after is counted."""
    meter = Meter()
    with dspy.context(lm=scripted_lm(echo)):
        ask()
        with meter.around():
            for question in "abc":
                ask(question)
        ask()
    assert meter.usage == PER_CALL.times(3)
    assert meter.unknown == ""


def test_calls_in_dspys_threads_are_added_up():
    """dspy.Parallel hands its threads copies of the settings."""
    meter = Meter(cent)
    pairs = [(dspy.Predict("question -> answer"), example) for example in EXAMPLES * 4]
    with dspy.context(lm=scripted_lm(echo)), meter.around():
        dspy.Parallel(num_threads=3, disable_progress_bar=True)(pairs)
        ask()
    assert meter.usage == Usage(2 * 13, pytest.approx(0.02 * 13))


def test_meters_in_many_threads_do_not_mix():
    """Each counts its own calls, however many run at once."""
    lm = scripted_lm(echo)

    def count(calls):
        meter = Meter(cent)
        with dspy.context(lm=lm), meter.around():
            for _ in range(calls):
                ask()
        return meter.usage.total_tokens

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(count, range(24))) == [2 * calls for calls in range(24)]


def test_a_call_that_is_answered_from_the_cache_is_free():
    """The second of two equal calls costs nothing, and its price need not be known."""
    first, second = Meter(must_know_usage=True), Meter(lambda *_: None, must_know_price=True)
    lm, question = scripted_lm(echo, cache=True), f"new to every cache: {uuid4()}"
    with dspy.context(lm=lm):
        for meter in (first, second):
            with meter.around():
                ask(question)
    assert (first.usage, second.usage, second.unknown) == (PER_CALL, FREE, "")
    assert len(lm.engine.prompts) == 1


def test_a_tracker_of_the_callers_still_sees_everything():
    """dspy.track_usage() around it counts what is inside as well as what is beside it."""
    meter = Meter()
    with dspy.context(lm=scripted_lm(echo)), dspy.track_usage() as usage:
        ask()
        with meter.around():
            ask()
            ask()
    assert usage.get_total_tokens()[MODEL]["total_tokens"] == 6
    assert meter.usage == PER_CALL.times(2)


@since("3.4.1", "usage that inner trackers hand on")
def test_a_tracker_inside_does_not_hide_calls():
    """A program that tracks its own usage is counted all the same."""
    meter = Meter()
    with dspy.context(lm=scripted_lm(echo)), meter.around(), dspy.track_usage() as usage:
        ask()
    assert usage.get_total_tokens()[MODEL]["total_tokens"] == 2
    assert meter.usage == PER_CALL


def test_a_price_is_asked_with_name_and_reported_usage():
    """And what it says is added up; None counts as nothing, and is noted where it must be known."""

    def price(model, usage):
        if model == MODEL:
            return 0.5 * usage["prompt_tokens"] + 0.25 * usage["completion_tokens"]
        return None

    lenient, strict = Meter(price), Meter(price, must_know_price=True)
    with dspy.context(lm=scripted_lm(echo)):
        for meter in (lenient, strict):
            with meter.around():
                ask()
                ask()
    assert lenient.usage == strict.usage == Usage(4, 1.5)
    for meter in (lenient, strict):
        assert meter.unknown == ""
        meter.add_usage("other/model", {"total_tokens": 3})
        assert meter.usage == Usage(7, 1.5)
    assert lenient.unknown == ""
    assert "calls of other/model cost is not known" in strict.unknown


def test_a_listed_price_is_litellms():
    """To the last digit, cheaper cached tokens included."""
    litellm = pytest.importorskip("litellm")
    usage = {
        "prompt_tokens": 1200,
        "completion_tokens": 340,
        "total_tokens": 1540,
        "prompt_tokens_details": {"cached_tokens": 1000},
        "completion_tokens_details": None,
    }
    named = {name: value for name, value in usage.items() if value is not None}
    for model in ("gpt-4o-mini", "openai/gpt-4o-mini", "gpt-4o"):
        expected = sum(litellm.cost_per_token(model=model, usage_object=litellm.Usage(**named)))
        assert listed_price(model, usage) == expected > 0
    full = listed_price("gpt-4o-mini", {**usage, "prompt_tokens_details": None})
    assert listed_price("gpt-4o-mini", usage) < full


@pytest.mark.parametrize("model", ["scripted/model", "openai/no-such-model", "", "/"])
def test_a_model_that_is_not_listed_has_no_price(model, capfd):
    """And nobody's screen is written on."""
    assert listed_price(model, {"prompt_tokens": 1, "completion_tokens": 1}) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("entry", [{}, {"prompt_tokens": None}, {"total_tokens": 0}])
def test_usage_that_is_not_reported_is_noted_where_it_must_be_known(entry):
    """A limit in tokens could not be kept otherwise."""
    lenient, strict = Meter(), Meter(must_know_usage=True)
    for meter in (lenient, strict):
        meter.add_usage("silent/model", dict(entry))
    assert (lenient.usage, lenient.unknown) == (FREE, "")
    assert strict.usage == FREE
    assert "calls of silent/model cost is not known" in strict.unknown


def test_parts_are_added_where_there_is_no_total():
    """Providers report either."""
    meter = Meter(must_know_usage=True)
    meter.add_usage("m", {"prompt_tokens": 3, "completion_tokens": 4})
    meter.add_usage("m", {"completion_tokens": 5})
    assert (meter.usage, meter.unknown) == (Usage(12), "")


@pytest.mark.parametrize("is_needed", [True, False])
def test_a_price_that_raises_is_a_lasting_setback(is_needed):
    """It is code of the user's; a worker raises nothing."""

    def price(model, usage):
        raise LookupError("not in my table")

    answered = rolled(worker(price=price, must_know_price=is_needed))
    assert isinstance(answered, RequestFailure)
    assert answered.is_lasting
    assert "LookupError: not in my table" in answered.cause


def coroutine_price(model, usage):
    async def price():
        return 0.01

    made = price()
    made.close()
    return made


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "returned",
    [
        math.nan,
        math.inf,
        -math.inf,
        -0.01,
        "0.01",
        b"1",
        True,
        [0.01],
        {"usd": 0.01},
        (0.01, "USD"),
        1j,
        Decimal("NaN"),
        np.float32(-1),
        np.array([0.1, 0.2]),
        coroutine_price(None, None),
        Unprintable(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_price_that_is_no_amount_is_a_lasting_setback(returned):
    """Added up it would make a limit that is never reached, or that is reached at once."""
    answered = rolled(worker(price=lambda *_: returned))
    assert isinstance(answered, RequestFailure)
    assert answered.is_lasting
    assert "The price function returned" in answered.cause
    assert f"(for {MODEL}), and an amount in USD is needed" in answered.cause
    assert answered.usage == Usage(4, 0.0)


@pytest.mark.parametrize("returned", [1, 0.25, Decimal("0.25"), np.float32(0.25), np.int64(2), 0])
def test_a_price_is_any_number(returned):
    """Whatever its type, as long as it is an amount."""
    answered = rolled(worker(price=lambda *_: returned, must_know_price=True))
    assert answered.rollout.usage == Usage(4, 2 * float(returned))


@pytest.mark.parametrize("reported", [math.nan, -5, "7", math.inf, 2.5, [1], True - 2])
@pytest.mark.parametrize("name", ["total_tokens", "prompt_tokens"])
def test_tokens_that_are_no_count_are_not_reported(name, reported):
    """A model's own class may report anything: a limit in tokens could not be kept by it."""
    lenient, strict = Meter(), Meter(must_know_usage=True)
    for meter in (lenient, strict):
        meter.add_usage("odd/model", {name: reported})
    assert (lenient.usage, lenient.unknown) == (FREE, "")
    assert "calls of odd/model cost is not known" in strict.unknown


def test_tokens_may_be_any_whole_number():
    """As numpy and floats have them."""
    meter = Meter(must_know_usage=True)
    meter.add_usage("m", {"total_tokens": np.int64(3)})
    meter.add_usage("m", {"prompt_tokens": 4.0, "completion_tokens": np.int32(5)})
    assert (meter.usage, meter.unknown) == (Usage(12), "")


def test_a_rollout_carries_the_cost_of_program_and_metric():
    """Each request its own, one after the other in one worker."""

    def judged(gold, pred, trace=None):
        return float(len(ask().answer))

    made = worker(Program(), judged, price=cent)
    for _ in range(2):
        assert rolled(made).rollout.usage == Usage(6, pytest.approx(0.06))


def test_a_call_of_unknown_price_is_a_lasting_setback():
    """Where it must be known: with its cost in what is known of it, and what to do."""
    counted = Counted(exact)
    answered = rolled(worker(metric=counted, price=lambda *_: None, must_know_price=True))
    assert isinstance(answered, RequestFailure)
    assert (answered.is_lasting, answered.usage, answered.metric_calls) == (True, Usage(4), 1)
    assert isinstance(answered.error, SettingsError)
    assert MODEL in answered.cause
    assert "price" in answered.cause
    assert isinstance(rolled(worker(metric=counted, price=lambda *_: None)), RolloutAnswer)

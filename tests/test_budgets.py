"""Budgets in every unit that people pay in, each through a whole `GEPA(...).compile`."""

import itertools
import json
import logging
import threading
from contextlib import suppress
from types import SimpleNamespace

import dspy
import label_task
import pytest
from label_task import TRAIN, VALIDATION
from scripted_engine import answer, scripted_lm

from dspy_gepa import GEPA
from dspy_gepa.errors import ReflectionError, SettingsError, WorkerError
from dspy_gepa.run import loop

USED_UP = "the budget is used up: "


def stubborn():
    """A reflection LM that has a new idea each time, and never a good one."""
    ideas = iter(range(10**6))
    lock = threading.Lock()

    def reply(prompt):
        with lock:
            return f"<new_text>Idea {next(ideas)}.</new_text>"

    return scripted_lm(reply)


def cent(model, usage):
    """A cent for every token."""
    return 0.01 * usage["total_tokens"]


class Instruments:
    """Counts runs of the program, calls of the metric and calls of the reflection LM."""

    def __init__(self):
        self.rollouts = self.metric_calls = 0
        self.reflection_lm = stubborn()
        self.lm = label_task.task_lm()
        self._lock = threading.Lock()
        counted = self

        class Student(dspy.Module):
            def __init__(self):
                super().__init__()
                self.code = dspy.Predict("message -> code")

            def forward(self, message):
                with counted._lock:
                    counted.rollouts += 1
                return self.code(message=message)

        self.student = Student()

    def metric(self, gold, pred, trace=None):
        with self._lock:
            self.metric_calls += 1
        # Not only zeros, so that some children are validated.
        return float(len(self.reflection_lm.engine.prompts) % 3)

    @property
    def reflection_calls(self):
        return len(self.reflection_lm.engine.prompts)

    @property
    def total_tokens(self):
        return 2 * (len(self.lm.engine.prompts) + self.reflection_calls)


def finished(instruments, **arguments):
    """The result of a run, and that it is what the instruments say."""
    given = {"reflection_lm": instruments.reflection_lm, "perfect_score": 10.0, **arguments}
    optimizer = GEPA(instruments.metric, **given)
    with dspy.context(lm=instruments.lm):
        optimizer.compile(instruments.student, TRAIN, VALIDATION)
    tally = optimizer.result.tally
    assert (tally.rollouts, tally.metric_calls, tally.reflection_calls, tally.total_tokens) == (
        instruments.rollouts,
        instruments.metric_calls,
        instruments.reflection_calls,
        instruments.total_tokens,
    )
    assert tally.proposals == len(optimizer.result.proposals)
    return optimizer.result


@pytest.mark.parametrize("num_threads", [1, 8])
@pytest.mark.parametrize(
    ("arguments", "unit", "words", "least"),
    [
        ({"max_metric_calls": 70}, "metric_calls", "metric calls", 40),
        ({"max_rollouts": 70}, "rollouts", "rollouts", 40),
        ({"max_reflection_calls": 9}, "reflection_calls", "reflection calls", 8),
        ({"max_proposals": 6}, "proposals", "proposals", 6),
        ({"max_total_tokens": 150}, "total_tokens", "tokens", 149),
        ({"max_usd": 1.5, "price": cent}, "usd", "USD", 1.47),
    ],
)
def test_each_unit_ends_the_run(arguments, unit, words, least, num_threads):
    """The reason names it, and no more is used than was allowed, nor much less."""
    result = finished(Instruments(), num_threads=num_threads, **arguments)
    assert result.stop_reason.startswith(USED_UP)
    assert f" {words}, " in result.stop_reason
    (limit,) = (value for value in arguments.values() if not callable(value))
    assert least <= getattr(result.tally, unit) <= limit + 1e-9


def test_seconds_end_the_run(monkeypatch):
    """After so many nothing is begun."""
    instruments, seconds = Instruments(), iter(range(10**6))
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr(loop, "time", clock)
    result = finished(instruments, max_seconds=40.0, num_threads=1)
    assert result.stop_reason == f"{USED_UP}40 seconds have passed"
    assert 0 < result.tally.rollouts <= 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_metric_calls": 70, "max_proposals": 1000, "max_usd": 1000.0}, " metric calls, "),
        ({"max_metric_calls": 70, "max_proposals": 2}, " proposals, "),
        ({"max_rollouts": 40, "max_reflection_calls": 100}, " rollouts, "),
        (
            {"max_rollouts": 4000, "max_reflection_calls": 3, "max_total_tokens": 10**6},
            "tion calls, ",
        ),
        ({"max_full_evals": 50, "max_total_tokens": 100}, " tokens, "),
        ({"auto": "light", "max_usd": 0.5}, " USD, "),
    ],
)
def test_of_several_limits_the_first_ends_the_run(arguments, words):
    """Whatever is used up first is named."""
    result = finished(Instruments(), price=cent, num_threads=1, **arguments)
    assert result.stop_reason.startswith(USED_UP)
    assert words in result.stop_reason


def free(model, usage):
    """What a model of one's own costs."""
    return 0.0


@pytest.mark.parametrize(
    "limit",
    [
        {"max_usd": 1.0, "price": free},
        {"max_usd": 1.0, "price": lambda model, usage: 1e-12},
        {"max_total_tokens": 10**9},
        {"max_proposals": 10**6},
        {"max_reflection_calls": 10**6},
        {"max_rollouts": 10**6},
        {"max_seconds": 10**6},
        {"max_proposals": 10**6, "max_seconds": 10**6},
        {"max_usd": 1.0, "price": free, "search": "paper"},
        {},
    ],
)
def test_every_run_has_an_end_that_can_be_computed(limit):
    """Where none of the budgets is given, the one of auto="light" holds beside other limits, which
    may never be reached; `plan` tells it beforehand."""
    instruments = Instruments()
    optimizer = GEPA(instruments.metric, reflection_lm=instruments.reflection_lm, **limit)
    planned = optimizer.plan(instruments.student, TRAIN, VALIDATION).forecast.settings.limits
    result = finished(instruments, num_threads=1, **limit)
    assert result.stop_reason.startswith(USED_UP)
    assert " metric calls, " in result.stop_reason
    assert planned.metric_calls == result.state.settings.limits.metric_calls
    assert result.tally.metric_calls <= planned.metric_calls < 1000


def test_another_limit_alone_still_ends_the_run():
    """As long as it is reached first."""
    result = finished(Instruments(), max_proposals=3, num_threads=1)
    assert " proposals, " in result.stop_reason
    assert len(result.proposals) == 3


def test_a_budget_that_nobody_gave_is_told(caplog):
    """Where other limits were given, one may think that they are the budget."""
    caplog.set_level(logging.WARNING, "dspy.teleprompt.dspy_gepa")
    limits = finished(Instruments(), max_proposals=3, num_threads=1).state.settings.limits
    assert f'auto="light" holds as well: {limits.metric_calls} metric calls' in caplog.text
    caplog.clear()
    finished(Instruments(), max_proposals=3, max_metric_calls=70, num_threads=1)
    finished(Instruments(), max_proposals=3, auto="light", num_threads=1)
    assert "auto=" not in caplog.text


def refused(match, *, reflection_lm=None, **arguments):
    """Nothing is asked where it is said beforehand that a limit cannot be kept."""
    instruments = Instruments()
    given = {"reflection_lm": reflection_lm or instruments.reflection_lm, **arguments}
    with dspy.context(lm=instruments.lm), pytest.raises(SettingsError, match=match):
        GEPA(instruments.metric, **given).compile(instruments.student, TRAIN, VALIDATION)
    counts = (instruments.rollouts, instruments.metric_calls, instruments.total_tokens)
    assert counts == (0, 0, 0)


@pytest.mark.parametrize("returned", [float("nan"), -0.01, "0.01", True, float("inf")])
def test_a_price_that_is_no_amount_is_refused_beforehand(returned):
    """It would make a limit that is never reached."""
    words = "max_usd=1.* cannot be kept.* price function returned .* amount in USD is needed"
    refused(words, max_usd=1.0, price=lambda model, usage: returned)


def test_a_price_function_that_raises_is_refused_beforehand():
    """It is the user's, who may have forgotten a model."""
    words = "max_usd=1.* cannot be kept.* price function raised KeyError: 'scripted/model'"
    refused(words, max_usd=1.0, price=lambda model, usage: {}[model])


def test_a_price_that_becomes_no_amount_ends_the_run():
    """Also where it was one when it was tried."""
    instruments, prices = Instruments(), iter([0.01] * 30)
    optimizer = GEPA(
        instruments.metric,
        reflection_lm=instruments.reflection_lm,
        max_usd=1.0,
        price=lambda model, usage: next(prices, float("nan")),
        num_threads=1,
    )
    with dspy.context(lm=instruments.lm), pytest.raises(WorkerError, match="returned nan"):
        optimizer.compile(instruments.student, TRAIN, VALIDATION)
    assert instruments.rollouts < 40


@pytest.mark.parametrize("price", [None, lambda model, usage: None])
def test_usd_need_a_price(price):
    """A model of unknown price is refused by name, and what to do is said."""
    refused(r"max_usd=1.* price of scripted/model is not known.*price=", max_usd=1.0, price=price)


@pytest.mark.parametrize("limit", [{"max_usd": 1.0, "price": cent}, {"max_total_tokens": 100}])
def test_a_function_that_reflects_cannot_be_counted(limit):
    """Who limits tokens or USD gives a model that says what it used."""
    words = f"{next(iter(limit))}=.* was given.*reflection.*cannot be counted"
    refused(words, reflection_lm=lambda prompt: "text", **limit)


BRIEF = "<new_text>\nBe brief.\n</new_text>"


def test_a_function_may_reflect_where_what_it_costs_is_not_limited():
    """As before."""
    instruments = Instruments()
    optimizer = GEPA(instruments.metric, max_rollouts=30, reflection_lm=lambda _: BRIEF)
    with dspy.context(lm=instruments.lm):
        optimizer.compile(instruments.student, TRAIN, VALIDATION)
    assert optimizer.result.tally.rollouts <= 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_rollouts": 0}, "max_rollouts=0"),
        ({"max_rollouts": 1.5}, "max_rollouts=1.5"),
        ({"max_reflection_calls": -1}, "max_reflection_calls=-1"),
        ({"max_proposals": -1}, "max_proposals=-1"),
        ({"max_total_tokens": 0}, "max_total_tokens=0"),
        ({"max_usd": 0}, "max_usd=0"),
        ({"max_usd": float("nan")}, "max_usd=nan"),
        ({"max_usd": True}, "max_usd=True"),
        ({"max_seconds": -1.0}, "max_seconds=-1.0"),
        ({"max_seconds": float("inf")}, "max_seconds=inf"),
        ({"timeout_seconds": 0}, "timeout_seconds=0"),
        ({"price": 0.01}, "price=0.01"),
    ],
)
def test_wrong_limits_are_refused_by_name(arguments, words):
    """In the constructor."""
    with pytest.raises(SettingsError, match=words):
        GEPA(label_task.metric, **arguments)


@pytest.mark.parametrize(
    "limit", [{"max_rollouts": 60}, {"max_total_tokens": 130}, {"max_usd": 1.3, "price": cent}]
)
@pytest.mark.parametrize("demos", [{"max_labeled_demos": 2}, {"max_bootstrapped_demos": 2}])
def test_demonstrations_are_part_of_the_budget(limit, demos):
    """What is run to find and to try them is counted, and no limit is exceeded by it."""
    result = finished(Instruments(), num_threads=1, **limit, **demos)
    for name, most in limit.items():
        if name != "price":
            assert getattr(result.tally, name.removeprefix("max_")) <= most + 1e-9


class TwoSteps(dspy.Module):
    """A program of two instructions."""

    def __init__(self):
        super().__init__()
        self.draft = dspy.Predict("message -> draft")
        self.code = dspy.Predict("message, draft -> code")

    def forward(self, message):
        return self.code(message=message, draft=self.draft(message=message).draft)


def of_one_text(limits):
    """What a model is asked that answers each question with one text, and the result."""
    asked = []

    def reply(prompt):
        asked.append(prompt)
        return json.dumps({"new_instruction": f"Idea {len(asked)}."})

    lm = scripted_lm(reply)
    optimizer = GEPA(lambda gold, pred: 0.0, reflection_lm=lm, max_metric_calls=30, **limits)
    task = scripted_lm(lambda prompt: answer(draft="x", code="y"))
    with dspy.context(lm=task), suppress(ReflectionError):
        optimizer.compile(TwoSteps(), trainset=TRAIN, valset=VALIDATION)
    return asked, optimizer.result


def test_a_model_that_answers_with_one_text_is_asked_about_each_of_several():
    """Its texts are tried, and all its calls are counted."""
    asked, result = of_one_text({})
    assert {proposal.verdict.kind for proposal in result.proposals} == {"rejected"}
    assert len(asked) == result.tally.reflection_calls


def test_where_its_calls_are_limited_it_is_asked_once_more():
    """About all of them, so that two calls are enough for a proposal."""
    asked, result = of_one_text({"max_reflection_calls": 2})
    assert len(asked) == result.tally.reflection_calls == 2


def unreadable(share):
    """A task model of whose answers every so many-th can be read; none where that is 0."""
    asked = itertools.count(1)

    def reply(prompt):
        return answer(code="AB") if share and next(asked) % share == 0 else "no fields at all"

    return scripted_lm(reply)


@pytest.mark.parametrize("share", [0, 2, 3, 7])
@pytest.mark.parametrize(
    "limits",
    [
        {"max_metric_calls": 40},
        {"max_metric_calls": 70, "max_rollouts": 60},
        {"max_metric_calls": 200, "max_proposals": 2},
        {"max_metric_calls": 150, "max_total_tokens": 1500},
    ],
    ids=str,
)
def test_what_ran_out_is_told_with_the_number_that_counts(share, limits):
    """Where answers cannot be read the metric is not called and the budget is used all the same:
    the reason to end, what was spent and what is used of the limit are one number."""
    optimizer = GEPA(label_task.metric, reflection_lm=stubborn(), num_threads=1, **limits)
    with dspy.context(lm=unreadable(share)), suppress(WorkerError, ReflectionError):
        optimizer.compile(dspy.Predict("message -> code"), trainset=TRAIN, valset=VALIDATION)
    result = optimizer.result
    used = result.state.used.metric_calls
    assert used > result.tally.metric_calls
    assert result.story.total.metric_calls == used
    assert {each.used for each in result.story.limits if each.unit == "metric_calls"} == {used}
    if " metric calls" in result.stop_reason:
        assert f"{used} of {limits['max_metric_calls']} metric calls" in result.stop_reason
        assert f"before the metric count too: {result.state.uncalled})" in result.stop_reason
    else:
        assert not result.stop_reason or "before the metric" not in result.stop_reason

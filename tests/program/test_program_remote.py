"""Rollouts of a program in other processes: what travels, what comes back, what cannot travel."""

import threading
from dataclasses import replace

import dspy
import pytest
from scripted_engine import AuthError, answer, scripted_lm
from small_worker import EXAMPLES, SEED, Program, echo, exact, worker

from dspy_gepa.core.work import RequestFailure, RolloutRequest
from dspy_gepa.errors import SettingsError
from dspy_gepa.models.outages import advice_on
from dspy_gepa.program.components.kinds import CODE, INSTRUCTION, TOOL
from dspy_gepa.program.program import components_of
from dspy_gepa.program.remote import keys_in, program_parcel
from dspy_gepa.program.worker import WorkerSettings
from dspy_gepa.run.pooled import PooledExecutor, pool_of


def there(spawned, student=None, metric=exact, *, lm=None, example=0, traced=True, **settings):
    """The answer of a process of the pool to a rollout request, and of a worker here."""
    student = student or Program()
    request = RolloutRequest(components_of(student), example, traced)
    with dspy.context(lm=lm or scripted_lm(echo)):
        here = worker(student, metric, **settings)
        parcel = program_parcel(student, metric, WorkerSettings(**settings), EXAMPLES)
        executor = PooledExecutor(here, pool_of(spawned), 1, parcel)
        executor.submit(request)
        answers = executor.next_answer(), here(request)
        executor.close()
    return answers


def test_a_rollout_comes_back_as_it_would_be_here(spawned):
    """Score, feedback, trace and usage are those of the same rollout in this process."""
    found, expected = there(spawned)
    assert found == expected
    assert len(found.rollout.trace.steps) == 2
    assert found.rollout.usage.total_tokens > 0


class Typed(dspy.Module):
    """Answers with an object of a class that was defined here."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question):
        class Verdict:
            def __init__(self, words):
                self.words = words

        return dspy.Prediction(answer=self.ask(question=question).answer, verdict=Verdict("fine"))


def test_outputs_of_the_users_own_classes_come_back_as_values(spawned):
    """What an aggregate metric is given is an object, not its text."""
    found, _ = there(spawned, Typed(), keep_outputs=True)
    assert found.rollout.output.verdict.words == "fine"


def refuse(prompt):
    raise AuthError("wrong key")


def test_a_model_that_cannot_be_used_is_a_setback_with_advice(spawned):
    """The class of the error is known here, so that what helps is said."""
    found, expected = there(spawned, lm=scripted_lm(refuse))
    assert isinstance(found, RequestFailure)
    assert replace(found, error=None) == replace(expected, error=None)
    assert advice_on(found.error) == advice_on(expected.error) != ""


def angry(gold, pred, trace=None):
    return "no number"


def test_an_error_of_the_metric_names_the_example_that_is_meant(spawned):
    """There is one example over there, and its name travels with it."""
    found, _ = there(spawned, metric=angry, example=2, name_of="valset[{}]".format)
    assert "valset[2]" in found.cause
    assert "no number" in found.cause


def slow(prompt):
    threading.Event().wait(30)
    return answer(answer="late")


def test_what_takes_too_long_over_there_is_a_failure(spawned):
    """The limit in seconds holds in the process that carries out the rollout."""
    found, _ = there(spawned, lm=scripted_lm(slow), timeout_seconds=0.2)
    assert "longer than 0.2 seconds" in found.rollout.failure


def test_kinds_of_components_are_those_of_the_package(spawned):
    """What is sent by name is known over there: descriptions of tools are set in the program."""

    def look(word: str) -> str:
        """Look a word up."""
        return word

    class Agent(dspy.Module):
        def __init__(self):
            super().__init__()
            self.agent = dspy.ReAct("question -> answer", tools=[look], max_iters=1)

        def forward(self, question):
            told = self.agent.tools["look"].desc
            return dspy.Prediction(answer=told)

    student = Agent()
    seed = components_of(student, (INSTRUCTION, TOOL))
    name = next(name for name in seed if "look" in name)
    request = RolloutRequest(seed.rewritten({name: "Say it."}), 0, traced=False)
    settings = WorkerSettings(kinds=(INSTRUCTION, CODE, TOOL), keep_outputs=True)
    with dspy.context(lm=scripted_lm(echo)):
        parcel = program_parcel(student, exact, settings, EXAMPLES)
        executor = PooledExecutor(worker(student), pool_of(spawned), 1, parcel)
        executor.submit(request)
        found = executor.next_answer()
        executor.close()
    assert found.rollout.output.answer == "Say it."


def test_the_callers_usage_tracker_sees_what_was_used_elsewhere(spawned):
    """`dspy.track_usage` around a run tells all of it."""
    with dspy.track_usage() as tracker:
        there_alone(spawned)
    totals = tracker.get_total_tokens()
    assert sum(entry["total_tokens"] for entry in totals.values()) == 4


def there_alone(spawned):
    student = Program()
    with dspy.context(lm=scripted_lm(echo)):
        parcel = program_parcel(student, exact, WorkerSettings(), EXAMPLES)
        executor = PooledExecutor(worker(student), pool_of(spawned), 1, parcel)
        executor.submit(RolloutRequest(SEED, 0, traced=False))
        executor.next_answer()
        executor.close()


class Holding(Program):
    def __init__(self, held):
        super().__init__()
        self.index = {"store": held}


def counting():
    lock = threading.Lock()

    def metric(gold, pred, trace=None):
        with lock:
            return 1.0

    return metric


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"student": Holding(threading.Lock())}, r"The program\.index\['store'\]"),
        ({"metric": counting()}, r"The metric \(its variable lock\)"),
        ({"price": (each for each in ())}, r"price"),
        ({"lm": threading.Lock()}, r"dspy\.settings\['lm'\]"),
    ],
)
def test_what_cannot_travel_is_named_before_anything_is_paid(given, place):
    """Program, metric, price function and models are tried, each under its own name."""
    lm = given.get("lm") or scripted_lm(echo)
    settings = WorkerSettings(price=given.get("price"))
    with dspy.context(lm=lm), pytest.raises(SettingsError, match=f"^{place}.*cannot be sent"):
        program_parcel(
            given.get("student", Program()), given.get("metric", exact), settings, EXAMPLES
        )


def test_models_whose_key_would_travel_are_known():
    """A key that was given to a model is in what is sent; one of the environment is not."""
    student = Program()
    student.final.lm = dspy.LM("openai/with-a-key", api_key="sk-secret")
    with dspy.context(lm=dspy.LM("openai/without")):
        assert keys_in(student) == ["openai/with-a-key"]

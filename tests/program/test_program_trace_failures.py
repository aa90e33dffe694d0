"""What a recording says about calls and programs that failed."""

from __future__ import annotations

import asyncio
import inspect
import json

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from recorded_run import called, echo, recorded, step
from scripted_engine import ContextLengthError, answer, scripted_lm

from dspy_gepa.core.rollout import Step, Trace
from dspy_gepa.models.failures import failure_text


@pytest.mark.parametrize("ending", [SystemExit(1), asyncio.CancelledError()], ids=repr)
def test_a_program_that_ends_its_thread_has_failed_no_more(ending):
    """Neither sys.exit nor a cancelled task ends the run."""

    class Quitting(dspy.Module):
        async def aforward(self, question):
            raise ending

    _, error = recorded(Quitting(), scripted_lm(echo), question="a")
    assert type(ending).__name__ in failure_text(error)


def test_a_crash_keeps_what_came_before():
    """The failure names kind, message and the user's own line; the steps until then are there."""

    class Crashing(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question):
            return int(self.answer(question=question).answer)

    trace, error = recorded(Crashing(), scripted_lm(echo), question="a")
    assert trace == Trace({"question": "a"}, {}, (step("answer", "a", "a!"),))
    line = inspect.getsourcelines(Crashing.forward)[1] + 1
    assert failure_text(error) == (
        "ValueError: invalid literal for int() with base 10: 'a!' (in forward, line "
        f"{line} of test_program_trace_failures.py: "
        "return int(self.answer(question=question).answer))"
    )


def test_an_error_deep_in_a_library_is_placed_in_the_users_code():
    """The reader is told where the program went wrong, not where json did."""

    class Crashing(dspy.Module):
        def forward(self, question):
            return json.loads(question)

    _, error = recorded(Crashing(), scripted_lm(echo), question="{")
    assert "(in forward, line" in failure_text(error)
    assert failure_text(error).startswith("JSONDecodeError: ")


def test_a_long_message_is_cut():
    """A failure text fits in a prompt."""
    assert len(failure_text(ValueError("x" * 99_999))) < 1_100
    assert failure_text(ValueError()) == "ValueError"


class Two(dspy.Module):
    """The second of two predictors needs two fields."""

    def __init__(self):
        super().__init__()
        self.first = dspy.Predict("question -> answer")
        self.second = dspy.Predict("question, hint -> answer, why")

    def forward(self, question):
        hint = self.first(question=question).answer
        return self.second(question=f"{question}{question}", hint=hint)


@pytest.mark.parametrize(
    ("reply", "found"),
    [("I would rather not.", "none"), (answer(answer="partly"), "answer")],
    ids=["not at all", "partly"],
)
def test_an_unreadable_reply_is_a_failed_step(reply, found):
    """It belongs to the predictor that asked, with its own inputs, its fields and the raw reply."""
    lm = scripted_lm(lambda prompt: reply if "`why`" in prompt else echo(prompt))
    trace, error = recorded(Two(), lm, question="a")
    reason = f"The reply could not be read. Output fields expected: answer, why; found: {found}."
    assert trace == Trace(
        {"question": "a"},
        {},
        (
            step("first", "a", "a!"),
            Step("second", {"question": "aa", "hint": "a!"}, {}, reason, reply),
        ),
    )
    assert failure_text(error) == f"{reason} The model's raw reply: {reply}"


def test_a_swallowed_failure_is_a_step_in_its_place():
    """A program that tries again shows both attempts, in order."""

    class Persistent(dspy.Module):
        def __init__(self):
            super().__init__()
            self.strict = dspy.Predict("question -> number: int")
            self.loose = dspy.Predict("question -> answer")

        def forward(self, question):
            before = self.loose(question=question).answer
            try:
                return self.strict(question=before)
            except AdapterParseError:
                return self.loose(question="again")

    lm = scripted_lm(lambda prompt: "no number" if "number" in prompt else echo(prompt))
    trace, output = recorded(Persistent(), lm, question="a")
    assert called(trace) == ["loose", "strict", "loose"]
    assert [bool(each.failure) for each in trace.steps] == [False, True, False]
    assert trace.steps[1].reply == "no number"
    assert output.answer == "again!"


def test_a_failure_in_a_frozen_module_is_nobodys_step():
    """The program's failure says it; there is no component whose text could mend it."""

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.frozen = Two()
            self.frozen._compiled = True
            self.live = dspy.Predict("question -> answer")

        def forward(self, question):
            return self.frozen(question=self.live(question=question).answer)

    lm = scripted_lm(lambda prompt: "no" if "`why`" in prompt else echo(prompt))
    trace, error = recorded(Program(), lm, question="a")
    assert called(trace) == ["live"]
    assert "The model's raw reply: no" in failure_text(error)


def test_a_predictor_whose_forward_is_called_directly_is_found_by_its_signature():
    """Callbacks do not see such a call; the error says which signature failed."""

    class Direct(Two):
        def forward(self, question):
            return self.second.forward(question=question, hint="h")

    trace, _ = recorded(Direct(), scripted_lm("no"), question="a")
    assert called(trace) == ["second"]
    assert trace.steps[0].reply == "no"


def test_a_context_that_is_too_long_is_the_candidates_doing():
    """It is the one refusal of a model that a shorter instruction may cure."""

    def refuse(prompt):
        raise ContextLengthError("too long")

    trace, error = recorded(Two(), scripted_lm(refuse), question="a")
    assert called(trace) == ["first"]
    assert trace.steps[0].failure.startswith(
        "ContextWindowExceededError: [scripted/model] too long"
    )
    assert failure_text(error).startswith("ContextWindowExceededError: ")

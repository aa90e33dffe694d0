"""Rollout requests answered with a real program and a real metric."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dspy
from scripted_engine import ContextLengthError, scripted_lm
from small_worker import EXAMPLES, SEED, Counted, Program, Tolerant, echo, exact, rolled, worker

from dspy_gepa.core.budget import Usage
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, RolloutKey, Step, Trace
from dspy_gepa.core.work import RequestFailure, RolloutAnswer, RolloutRequest
from dspy_gepa.errors import MetricError
from dspy_gepa.program.program import components_of

TWO_CALLS = Usage(total_tokens=4)


def test_a_rollout_is_run_and_judged():
    """Untraced it carries score and feedback only, under the request's own key."""
    request = RolloutRequest(SEED, 0, traced=False)
    with dspy.context(lm=scripted_lm(echo)):
        answered = worker()(request)
    assert answered == RolloutAnswer(
        RolloutKey(SEED.digest, 0),
        Rollout(1.0, "Score: 1.\nExpected answer: a!\nGiven answer: a!", usage=TWO_CALLS),
    )
    assert answered.key == request.key
    assert (answered.rollout.trace, answered.rollout.output) == (Trace(), None)


def test_a_traced_rollout_shows_what_happened():
    """Every call with its inputs and outputs, in order, inside what the program was given."""
    rollout = rolled(worker(), traced=True).rollout
    assert rollout.trace == Trace(
        {"question": "a"},
        {"answer": "a!"},
        (
            Step("draft", {"question": "a"}, {"answer": "a!"}),
            Step("final", {"question": "a", "draft": "a!"}, {"answer": "a!"}),
        ),
    )


def test_outputs_are_kept_where_that_is_asked_for():
    """The very answer of the program."""
    assert rolled(worker(keep_outputs=True)).rollout.output == dspy.Prediction(answer="a!")


def test_feedback_and_objectives_reach_the_rollout():
    """What the metric said, in words and numbers."""
    said = {"score": 0.5, "feedback": "half", "objective_scores": {"short": 1}}
    assert rolled(worker(metric=lambda gold, pred: said)).rollout == Rollout(
        0.5, "half", {"short": 1.0}, usage=TWO_CALLS
    )


def test_the_candidates_own_texts_are_run():
    """A rollout runs what it was asked for, and never the student."""
    student = Program()
    made, lm = worker(student), scripted_lm(echo)
    candidate = SEED.rewritten({"final": "Say it again."})
    rolled(made, lm=lm, candidate=candidate)
    assert ["Say it again." in prompt for prompt in lm.engine.prompts] == [False, True]
    assert components_of(student) == SEED
    assert student.history == []


def test_a_crash_is_a_failure_that_was_not_judged():
    """The failure score, the reason in words, the steps until then, and no metric call."""

    class Crashing(Program):
        def forward(self, question):
            self.draft(question=question)
            return 1 / 0

    counted = Counted(exact)
    rollout = rolled(worker(Crashing(), counted, failure_score=-1.0), traced=True).rollout
    assert rollout.failure.startswith("ZeroDivisionError: division by zero (in forward, line ")
    assert (rollout.score, rollout.feedback, rollout.metric_calls, counted.calls) == (
        -1.0,
        "",
        0,
        0,
    )
    assert [each.component for each in rollout.trace.steps] == ["draft"]


def test_an_unreadable_reply_is_a_failure():
    """It shows the raw reply, also where no trace is asked for."""
    rollout = rolled(worker(), lm=scripted_lm("I would rather not.")).rollout
    assert rollout == Rollout(
        0.0,
        failure="The reply could not be read. Output fields expected: answer; found: none. "
        "The model's raw reply: I would rather not.",
        metric_calls=0,
        usage=TWO_CALLS,  # a reply that cannot be read is asked for once more, in another form
    )


def test_a_prompt_that_is_too_long_is_a_failure():
    """A candidate whose text does not fit scores accordingly, and the run goes on."""

    def refuse(prompt):
        raise ContextLengthError("too long")

    rollout = rolled(worker(), lm=scripted_lm(refuse)).rollout
    assert (rollout.score, rollout.metric_calls) == (0.0, 0)
    assert "too long" in rollout.failure


def test_a_metric_that_raises_was_called():
    """The failure score and the reason; the call counts, and the trace shows what was judged."""

    def raising(gold, pred):
        return {}["missing"]

    counted = Counted(raising)
    rollout = rolled(worker(metric=counted, failure_score=-1.0), traced=True).rollout
    assert rollout.failure.startswith("The metric raised KeyError: 'missing' (in raising, line ")
    assert (rollout.score, rollout.metric_calls, counted.calls) == (-1.0, 1, 1)
    assert rollout.trace.outputs == {"answer": "a!"}


def test_an_unusable_score_stops_the_run():
    """It is the metric's bug and not this candidate's, so it is no score."""
    answered = rolled(worker(metric=lambda gold, pred: None), example=2)
    assert isinstance(answered, RequestFailure)
    assert isinstance(answered.error, MetricError)
    assert "example 2" in answered.cause


def test_a_candidate_of_another_program_is_a_breakdown():
    """A worker raises nothing."""
    answered = rolled(worker(), candidate=Candidate.of({"other": "text"}))
    assert isinstance(answered, RequestFailure)
    assert "no components ['other']" in answered.cause


def test_an_answer_that_is_no_prediction_is_the_metrics_to_judge():
    """A program may answer with text."""

    class Text(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question):
            return self.answer(question=question).answer

    made = worker(Text(), lambda gold, pred: float(pred == gold.answer))
    assert [rolled(made, example).rollout.score for example in (0, 2)] == [1.0, 0.0]


def test_examples_are_never_changed():
    """Neither by the program's run nor by scoring."""
    before = [dict(example) for example in EXAMPLES]
    for example in range(3):
        rolled(worker(), example, traced=True)
    assert [dict(example) for example in EXAMPLES] == before


def test_rollouts_of_one_candidate_share_a_program():
    """As in DSPy's own evaluation; candidates do not share one."""
    made, seen = worker(), []
    for candidate in (SEED, SEED, SEED.rewritten({"final": "x"})):
        rolled(made, candidate=candidate)
        seen.append(made._programs.get(candidate.digest).program)
    assert seen[0] is seen[1]
    assert seen[0] is not seen[2]


def test_many_threads_at_once():
    """Each rollout has its own trace, and the shared model's history knows every call."""
    made, lm = worker(), scripted_lm(echo)
    student_lm = made._student
    student_lm.set_lm(lm)
    requests = [RolloutRequest(SEED, example % 3, traced=True) for example in range(30)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(made, requests))
    for request, each in zip(requests, answers, strict=True):
        asked = EXAMPLES[request.example].question
        assert [s.component for s in each.rollout.trace.steps] == ["draft", "final"]
        assert {s.inputs["question"] for s in each.rollout.trace.steps} == {asked}
    assert len(lm.history) == len(lm.engine.prompts) == 60


def test_a_tolerant_program_still_shows_what_failed():
    """What it swallows is no outage but an unreadable reply: a failed step, and its own answer."""
    rollout = rolled(worker(Tolerant()), lm=scripted_lm("no"), traced=True).rollout
    assert rollout.trace.outputs == {"answer": "sorry"}
    assert [(each.component, each.reply) for each in rollout.trace.steps] == [("draft", "no")]

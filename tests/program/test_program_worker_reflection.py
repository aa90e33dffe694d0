"""Reflection requests: what a reflection is told, and what becomes of its answer."""

from __future__ import annotations

import threading
from dataclasses import replace

import dspy
from scripted_engine import ContextLengthError, RateLimitError, scripted_lm
from small_worker import SEED, Program, echo, exact, locked, rolled, worker

from dspy_gepa.core.budget import Usage
from dspy_gepa.core.rollout import Opaque, Remark, RemarkKey, Rollout, Step, Trace
from dspy_gepa.core.work import (
    Evidence,
    ReflectionAnswer,
    ReflectionKey,
    ReflectionRequest,
    RemarkAnswer,
    RemarkRequest,
    RequestFailure,
)
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.models.media import captured
from dspy_gepa.reflect.records import records_of


def reflected(made, *, components=("final",), examples=(0,), candidate=SEED):
    """The answer to a reflection on traced rollouts of the candidate."""
    evidence = tuple(
        Evidence(example, rolled(made, example, candidate=candidate, traced=True).rollout)
        for example in examples
    )
    return told(made, evidence, components, candidate)


def told(made, evidence, components=("final",), candidate=SEED):
    """The answer to a reflection on this evidence, the metric asked first as the search does it."""
    with dspy.context(lm=scripted_lm(echo)):
        remarked = []
        for each in evidence:
            asked = components if made._metric.asks_per_component else ()
            called = [name for name in asked if each.rollout.trace.calls_of(name)]
            answers = [made(RemarkRequest(candidate, name, each)) for name in called]
            if broken := [answer for answer in answers if isinstance(answer, RequestFailure)]:
                return broken[0]
            remarks = {answer.key.component: answer.remark for answer in answers}
            remarked.append(replace(each, remarks=remarks))
        return made(ReflectionRequest(7, candidate, components, tuple(remarked)))


def saying(texts, **more):
    return lambda request, descriptions, feedback: ReflectionAnswer(request.ticket, texts, **more)


def test_what_a_reflection_says_comes_back():
    """Texts, problems and the count of its calls."""
    made = worker(reflect=saying({"final": "Say it."}, problem="in a hurry", lm_calls=2))
    assert reflected(made) == ReflectionAnswer(7, {"final": "Say it."}, "in a hurry", lm_calls=2)


def test_a_reflection_sees_what_the_components_are_for():
    """Descriptions of all components, and no component feedback that nobody asked for."""
    seen = []
    made = worker(reflect=lambda *given: seen.append(given) or ReflectionAnswer(7))
    reflected(made)
    ((_, descriptions, feedback),) = seen
    assert list(descriptions) == ["draft", "final"]
    assert "Asks twice." in descriptions["final"]
    assert feedback == {}


def test_a_score_is_shown_with_the_words_of_the_same_call():
    """A judge that varies scores otherwise when it is asked about a component, and says why there.

    So each component's record has the score that came with the words on that component; where it
    is given words alone, or none, it has the rollout's score.
    """
    said = {
        "draft": dspy.Prediction(score=0.25, feedback="A quarter."),
        "final": dspy.Prediction(score=0.5, feedback="A half."),
    }
    answers = [said, said | {"final": {"feedback": "No number."}}, said | {"final": 0.75}]
    shown = [("A half.", 0.5), ("No number.", 0.125), ("An eighth.", 0.125)]
    for returned, expected in zip(answers, shown, strict=True):
        seen = []

        def metric(gold, pred, *, pred_name, returned=returned):
            return returned.get(pred_name, (0.125, "An eighth."))

        def reflect(request, descriptions, feedback, seen=seen):
            for name in ("draft", "final"):
                (record,) = records_of(request, [name], feedback=feedback)
                seen.append((record.feedback, record.score))
            return ReflectionAnswer(7)

        reflected(worker(metric=metric, reflect=reflect), components=("draft", "final"))
        assert seen == [("A quarter.", 0.25), expected]


def test_a_reflection_that_raises_is_a_problem():
    """A custom proposer may raise anything; the run goes on."""

    def crash(request, descriptions, feedback):
        raise ZeroDivisionError("by zero")

    answered = reflected(worker(reflect=crash))
    assert answered.texts == {}
    assert answered.problem.startswith("The reflection raised ZeroDivisionError: by zero (in crash")


def test_a_prompt_too_long_for_the_reflection_is_a_problem():
    """Another parent or minibatch may fit."""

    def refuse(prompt):
        raise ContextLengthError("too long")

    lm = scripted_lm(refuse)
    answered = reflected(worker(reflect=lambda *given: lm("reflect")))
    assert isinstance(answered, ReflectionAnswer)
    assert "too long" in answered.problem


def test_a_reflection_without_a_model_is_a_setback():
    """Its key is wrong, and will be next time."""
    lm = scripted_lm(locked)
    answered = reflected(worker(reflect=lambda *given: lm("reflect")))
    assert isinstance(answered, RequestFailure)
    assert "wrong key" in answered.cause


def test_a_busy_reflection_model_is_a_setback_that_passes():
    """The whole reflection can be done again a little later."""

    def busy(prompt):
        raise RateLimitError("busy")

    lm = scripted_lm(busy)

    def reflect(request, descriptions, feedback):
        return ReflectionAnswer(request.ticket, {"final": lm("reflect")[0]})

    answered = reflected(worker(reflect=reflect))
    assert isinstance(answered, RequestFailure)
    assert (answered.key, answered.is_lasting) == (ReflectionKey(7), False)


def test_a_setback_of_a_reflection_counts_the_calls_of_the_reflection_lm():
    """Of two that one question takes, one was answered: both were made, and are made again."""
    outcomes = iter([False, True])

    def reply(prompt):
        if next(outcomes):
            raise RateLimitError("busy")
        return "Good."

    lm = scripted_lm(reply)

    def reflect(request, descriptions, feedback):
        return ReflectionAnswer(request.ticket, {"final": lm("one")[0] + lm("two")[0]})

    answered = reflected(worker(reflect=reflect))
    assert isinstance(answered, RequestFailure)
    assert answered.lost.total_tokens == 2
    assert answered.lost.reflection_calls == len(lm.engine.prompts) == 2


def test_a_swallowed_outage_of_the_reflection_is_a_setback():
    """A proposer that catches everything gives no texts; that is no problem of the candidate's."""
    lm = scripted_lm(locked)

    def reflect(request, descriptions, feedback):
        try:
            lm("reflect")
        except dspy.LMError:
            return ReflectionAnswer(request.ticket, problem="no idea")

    assert isinstance(reflected(worker(reflect=reflect)), RequestFailure)


def test_nothing_of_a_reflection_lands_in_the_callers_trace():
    """Reflections may use predictors of their own."""
    made = worker(
        reflect=lambda *given: (
            dspy.Predict("question -> answer")(question="x") and ReflectionAnswer(7)
        )
    )
    trace = []
    with dspy.context(trace=trace):
        reflected(made)
    assert trace == []


class Asked:
    """A metric of dspy.GEPA's kind that notes what it is asked."""

    def __init__(self):
        self.questions = []
        self._lock = threading.Lock()

    def __call__(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
        with self._lock:
            self.questions.append((gold.question, pred.answer, pred_name, trace, pred_trace))
        if pred_name is None:
            return dspy.Prediction(score=exact(gold, pred), feedback="on the whole")
        return dspy.Prediction(score=0.1, feedback=f"{pred_name} on {gold.question}")


def heard(metric, **given):
    """The component feedback that a reflection is given, and the answer."""
    seen = []

    def reflect(request, descriptions, feedback):
        seen.append(feedback)
        return ReflectionAnswer(request.ticket, {"final": "Say it."}, metric_calls=0)

    made = worker(metric=metric, reflect=reflect)
    return made, seen, reflected(made, **given)


def test_a_metric_that_asks_is_asked_about_every_called_component():
    """With the live prediction, the whole trace and the component's own calls; each call counts."""
    asked = Asked()
    _, seen, _ = heard(asked, components=("draft", "final"), examples=(0, 1))
    assert seen == [
        {
            "draft": {0: "draft on a", 1: "draft on b"},
            "final": {0: "final on a", 1: "final on b"},
        }
    ]
    assert len(asked.questions) == 2 + 4
    question, given, name, trace, own = asked.questions[2]
    assert (question, given, name) == ("a", "a!", "draft")
    assert [type(each[0]) for each in trace] == [dspy.Predict, dspy.Predict]
    assert own == trace[:1]
    assert own[0][1:] == ({"question": "a"}, dspy.Prediction(answer="a!"))


def test_scoring_asks_without_a_component():
    """While scoring such a metric gets None for all that it would be told."""
    asked = Asked()
    rolled(worker(metric=asked), traced=True)
    assert asked.questions == [("a", "a!", None, None, None)]


def test_a_reflection_itself_asks_the_metric_nothing():
    """What the metric said before comes with the question; where nothing does, nothing is asked."""
    asked = Asked()
    made, seen, _ = heard(asked)
    same = Evidence(0, rolled(worker(metric=Asked()), 0, traced=True).rollout)
    again = made(ReflectionRequest(8, SEED, ("final",), (same, same)))
    assert (len(asked.questions), again.metric_calls) == (2, 0)
    assert seen == [{"final": {0: "final on a"}}, {}]


def test_every_question_to_the_metric_counts_what_it_cost():
    """A judge's call for it is told with the words: each question is an answer of its own."""
    judge = scripted_lm("well")

    def judged(gold, pred, trace=None, pred_name=None, pred_trace=None):
        return (0.25, judge("how?")[0]) if pred_name else 0.0

    made = worker(metric=judged)
    evidence = Evidence(0, rolled(made, traced=True).rollout)
    said = made(RemarkRequest(SEED, "final", evidence))
    assert said == RemarkAnswer(
        RemarkKey(SEED.digest, 0, "final"), Remark("well", 0.25, usage=Usage(total_tokens=2))
    )


def resumed(outputs):
    """What is asked, told and counted after a resume, where only the stored rollout is left."""
    asked = Asked()
    made, seen, _ = heard(asked)
    before = len(asked.questions)
    steps = (Step("final", {"question": "b"}, {"answer": "b!"}),)
    old = Evidence(1, Rollout(0.0, "said long ago", trace=Trace({}, outputs, steps)))
    told(made, (old,))
    return asked.questions[before:], seen[-1]


def test_a_stored_run_is_put_together_again():
    """After a resume the metric is asked about it as if it had just been carried out."""
    ((question, given, name, trace, own),), words = resumed({"answer": "b!"})
    assert (question, given, name) == ("b", "b!", "final")
    assert own == trace
    assert own[0][1:] == ({"question": "b"}, dspy.Prediction(answer="b!"))
    assert words == {"final": {1: "final on b"}}


def test_a_stored_run_is_shown_to_the_metric_with_its_media():
    """Not with what the trace holds in its place."""
    image = dspy.Image(url="https://a.example/b.png")
    ((_, given, _, _, _),), _ = resumed(captured({"answer": [image]}))
    assert given == [image]


def test_a_reflection_sees_what_was_attached():
    """To the whole rollout, and to what was said about a component, each under its own name."""
    pages = [dspy.Image(url=f"https://a.example/{number}.png") for number in range(3)]

    def pointing(gold, pred, trace=None, pred_name=None, pred_trace=None):
        if pred_name is None:
            return Feedback(0.0, ["see", pages[0]], attachments={"note": {"page": pages[1]}})
        return Feedback(0.0, {"draft": [pages[0], pages[2]], "final": None}[pred_name])

    seen = []

    def reflect(request, descriptions, feedback):
        (evidence,) = request.evidence
        seen.append((evidence.rollout.feedback, evidence.rollout.attachments, feedback))
        return ReflectionAnswer(request.ticket, {"final": "Say it."})

    reflected(worker(metric=pointing, reflect=reflect), components=("draft", "final"))
    ((words, attachments, feedback),) = seen
    on_all = '["see", "(attachment: image 1)"]'
    assert words == on_all
    assert feedback == {
        "draft": {0: '["(attachment: image 1)", "(attachment: image 2)"]'},
        "final": {0: on_all},
    }
    assert attachments == captured(
        {"note": {"page": pages[1]}, "image 1": pages[0], "image 2": pages[2]}
    )


def test_what_is_no_longer_known_has_the_rollouts_own_feedback():
    """Where only the text of a value was stored, nothing is asked and nothing counted."""
    opaque = Opaque("a picture")
    assert resumed({"answer": opaque}) == ([], {"final": {1: "said long ago"}})
    old = Evidence(1, Rollout(0.0, trace=Trace({}, {"answer": opaque}, (Step("final", {}, {}),))))
    assert worker(metric=Asked())(RemarkRequest(SEED, "final", old)).remark == Remark(
        metric_calls=0
    )


def test_a_component_that_was_not_called_is_not_asked_about():
    """The program may have taken another way."""

    class Short(Program):
        def forward(self, question):
            return self.draft(question=question)

    asked = Asked()
    made = worker(Short(), asked, saying({}))
    reflected(made, components=("draft", "final"))
    assert [each[2] for each in asked.questions] == [None, "draft"]


def test_a_metric_that_raises_when_asked_was_called():
    """The rollout's own feedback stands in, and the call counts."""

    def moody(gold, pred, trace=None, pred_name=None, pred_trace=None):
        if pred_name:
            raise RuntimeError
        return (0.0, "on the whole")

    made, seen, _ = heard(moody)
    assert seen == [{"final": {0: "on the whole"}}]
    evidence = Evidence(0, rolled(made, traced=True).rollout)
    assert made(RemarkRequest(SEED, "final", evidence)).remark == Remark()


def test_an_outage_while_the_metric_is_asked_is_a_setback():
    """Its judge needs a key for this question too."""
    judge = scripted_lm(locked)

    def judged(gold, pred, trace=None, pred_name=None, pred_trace=None):
        return judge("well?") if pred_name else 0.0

    assert isinstance(heard(judged)[2], RequestFailure)

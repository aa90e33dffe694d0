"""The user's metric: every shape that it may have, and everything that it may return."""

from __future__ import annotations

import functools
import logging
import math
import re
from fractions import Fraction
from types import SimpleNamespace

import dspy
import numpy as np
import pytest
from dspy.evaluate import SemanticF1, answer_exact_match
from metric_shapes import FORWARDING, GIVEN, SHAPES
from scripted_engine import answer, scripted_lm
from stable_ids import stable_id

from dspy_gepa.errors import MetricError, SettingsError, WrongType
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.judging.words import FeedbackText
from dspy_gepa.metrics import F1, Classification, ExactMatch, Judge, ValidJSON
from dspy_gepa.program.rollouts.metric import Judgement, Metric

GOLD = dspy.Example(question="What is 1+1?", answer="2").with_inputs("question")
RIGHT = dspy.Prediction(answer="2")
WRONG = dspy.Prediction(answer="3")


@pytest.fixture(autouse=True)
def _forgetting():
    GIVEN.clear()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_is_called_once_with_nothing_beyond_the_prediction(shape, caplog):
    """Scoring calls the metric once; roles are None and other parameters keep their defaults."""
    metric = Metric(shape.metric)
    assert metric.score(GOLD, RIGHT, 0).score == 1.0
    assert shape.given == GIVEN[0]
    assert len(GIVEN) == 1
    assert metric.asks_per_component is shape.asks
    assert caplog.records == []


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.asks])
def test_a_metric_that_asks_is_given_the_component_and_its_traces(name):
    """Feedback calls pass trace, name and the component's own calls, whatever they are called."""
    whole = [(dspy.Predict("question -> answer"), {"question": "q"}, RIGHT)] * 2
    own = whole[:1]
    assert Metric(SHAPES[name].metric).feedback(GOLD, RIGHT, whole, "hop", own) is None
    role = {"trace": whole, "t": whole, "program_trace": whole, "pred_trace": own, "pt": own}
    role |= {"rest": (whole, "hop", own)[-len(SHAPES[name].given.get("rest", ())) :]}
    role |= {"more": (whole, "hop", own), "kwargs": {}}
    if name == "the rest and a name":
        role["rest"] = ()
    assert [{each: role.get(each, "hop") for each in SHAPES[name].given}] == GIVEN


@pytest.mark.parametrize("hidden", FORWARDING.values(), ids=FORWARDING)
@pytest.mark.parametrize("name", ["two", "three", "five", "a fourth of its own", "five required"])
def test_what_cannot_be_told_beforehand_is_tried_once(hidden, name, caplog):
    """A metric that forwards what it is given is called as the one behind it can be called.

    Of a vain first attempt the caller is told, so that it can be counted; there is no second one.
    """
    shape, again = SHAPES[name], []
    metric = Metric(hidden(shape.metric))
    for _ in range(2):
        assert metric.score(GOLD, RIGHT, 0, again=lambda: again.append(name)).score == 1.0
    assert metric.asks_per_component is shape.asks
    assert len(again) == (0 if shape.asks else 1)
    assert len(GIVEN) == 2
    assert caplog.records == []
    if shape.asks:
        metric.feedback(GOLD, RIGHT, [], "hop", [])
        assert GIVEN[-1]["pred_name"] == "hop"


@pytest.mark.parametrize(
    "metric", [ExactMatch(), F1(), Classification(), ValidJSON(), Judge("It is right.")], ids=repr
)
def test_our_own_metrics_are_asked_once(metric):
    """They take what dspy.GEPA passes and say the same of every predictor."""
    assert (Metric(metric).is_unsure, Metric(metric).asks_per_component) == (False, False)


@pytest.mark.parametrize("name", ["two", "five"])
def test_what_was_tried_in_an_earlier_process_holds(name):
    """How often it was called for a rollout says how it can be called, so it is not tried again."""
    shape, again = SHAPES[name], []
    metric = Metric(undeclared := FORWARDING["decorator"](shape.metric))
    assert (metric.is_unsure, undeclared.__name__) == (True, "timed")
    metric.recall([0, 1, 1] if shape.asks else [0, 2, 1])
    assert metric.asks_per_component is shape.asks
    metric.score(GOLD, RIGHT, 0, again=lambda: again.append(name))
    assert (again, metric.is_unsure) == ([], False)


def test_a_metric_that_fails_either_way_is_called_in_the_usual_way_from_then_on():
    """Its own error comes out, and the next example is not paid twice."""
    calls = []

    def anything(*args):
        calls.append(len(args))
        raise KeyError("total")

    metric = Metric(anything)
    for _ in range(3):
        with pytest.raises(KeyError, match="total"):
            metric.score(GOLD, RIGHT, 0)
    assert calls == [5, 2, 2, 2]


def test_a_dead_server_says_nothing_about_what_a_metric_takes():
    """An outage inside the first attempt passes through, and the attempt is made again later."""
    calls = []

    def anything(*args):
        calls.append(len(args))
        if len(calls) == 1:
            raise dspy.LMAuthError(message="wrong key", model="judge")
        return 1.0

    metric = Metric(anything)
    with pytest.raises(dspy.LMAuthError):
        metric.score(GOLD, RIGHT, 0)
    assert metric.score(GOLD, RIGHT, 0).score == 1.0
    assert calls == [5, 5]


def unsuited():
    async def asynchronous(gold, pred):
        return 1.0

    class Asynchronous(dspy.Module):
        async def aforward(self, gold, pred):
            return 1.0

    class AsynchronousCall:
        async def __call__(self, gold, pred):
            return 1.0

    def needs_more(gold, pred, trace, weight):
        return 1.0

    def needs_a_keyword(gold, pred, *, weight):
        return 1.0

    return {
        "nothing": None,
        "a number": 3,
        "one parameter": lambda gold: 1.0,
        "one keyword": lambda *, gold: 1.0,
        "more": needs_more,
        "a keyword": needs_a_keyword,
        "asynchronous": asynchronous,
        "asynchronous module": Asynchronous(),
        "asynchronous call": AsynchronousCall(),
        "a class": SemanticF1,
    }


@pytest.mark.parametrize("name", unsuited())
def test_a_metric_that_cannot_be_called_is_refused_at_once(name):
    """The constructor says so, as SettingsError and as TypeError, before anything is spent."""
    with pytest.raises(WrongType) as raised:
        Metric(unsuited()[name])
    assert isinstance(raised.value, (SettingsError, TypeError))
    assert "metric" in str(raised.value)


class Verdict:
    """Somebody's own class for results."""

    def __init__(self, score, feedback=None):
        self.score = score
        self.feedback = feedback


@pytest.mark.parametrize(
    ("returned", "score"),
    [
        (0.5, 0.5),
        (1, 1.0),
        (True, 1.0),
        (False, 0.0),
        (-2.5, -2.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.bool_(True), 1.0),
        (Fraction(1, 2), 0.5),
        (dspy.Prediction(score=0.5), 0.5),
        (dspy.Prediction(score=0.5, feedback=None), 0.5),
        (Verdict(0.5), 0.5),
        ({"score": 0.5}, 0.5),
        ({"score": 0.5, "feedback": ""}, 0.5),
        ((0.5, None), 0.5),
    ],
    ids=stable_id,
)
def test_a_score_alone_comes_with_what_was_expected_and_given(returned, score):
    """Where the metric says nothing in words, the feedback names score, label and output."""
    judged = Metric(lambda gold, pred: returned).score(GOLD, WRONG, 0)
    assert judged == Judgement(score, f"Score: {score:g}.\nExpected answer: 2\nGiven answer: 3")


@pytest.mark.parametrize(
    "returned",
    [
        (0.5, "too short"),
        [0.5, "too short"],
        {"score": 0.5, "feedback": "too short"},
        dspy.Prediction(score=0.5, feedback="too short"),
        Verdict(0.5, "too short"),
        SimpleNamespace(score=np.float64(0.5), feedback="  too short\n"),
    ],
    ids=stable_id,
)
def test_feedback_is_taken_from_wherever_it_stands(returned):
    """A tuple, a dict, a Prediction and any object with both attributes say the same."""
    judged = Metric(lambda gold, pred: returned).score(GOLD, RIGHT, 0)
    assert judged == Judgement(0.5, "too short")


@pytest.mark.parametrize("kind", [dict, dspy.Prediction, SimpleNamespace], ids=lambda k: k.__name__)
def test_objective_scores_are_read(kind):
    """Named partial scores become plain numbers."""
    returned = kind(
        score=1.5, feedback="ok", objective_scores={"short": True, "right": np.int64(2)}
    )
    judged = Metric(lambda gold, pred: returned).score(GOLD, RIGHT, 0)
    assert judged == Judgement(1.5, "ok", {"short": 1.0, "right": 2.0})


@pytest.mark.parametrize("kind", [dict, dspy.Example, lambda **named: list(named.items())])
def test_objective_scores_are_whatever_makes_a_dict(kind):
    """As `dict` takes it."""
    returned = {"score": 1.0, "objective_scores": kind(short=0.5)}
    assert Metric(lambda gold, pred: returned).score(GOLD, RIGHT, 0).objectives == {"short": 0.5}


class Loose:
    """Has neither a score nor a value as a number."""


@pytest.mark.parametrize(
    "returned",
    [
        None,
        math.nan,
        math.inf,
        -math.inf,
        "0.5",
        b"1",
        "right",
        1j,
        [0.5],
        (0.5,),
        (0.5, "a", "b"),
        {},
        {"feedback": "no score"},
        {"score": None},
        {"score": "0.5"},
        dspy.Prediction(answer="x"),
        dspy.Prediction(score=None),
        dspy.Prediction(score=math.nan),
        (math.nan, "text"),
        np.array([0.5, 0.5]),
        Loose(),
        {"score": 1.0, "objective_scores": {"a": None}},
        {"score": 1.0, "objective_scores": {"a": math.nan}},
        {"score": 1.0, "objective_scores": 3},
    ],
    ids=stable_id,
)
def test_what_is_no_score_is_refused_with_metric_and_example(returned):
    """The error names the metric, the example's id, what was returned and what is allowed."""

    def strictness(gold, pred):
        return returned

    with pytest.raises(MetricError, match=r"(?s)strictness .*example 17.*finite number") as caught:
        Metric(strictness).score(GOLD, RIGHT, "example 17")
    assert re.search(r"[^.]\. Return a finite number", str(caught.value))


def test_what_the_metric_returns_and_is_given_is_never_changed():
    """A Prediction without feedback comes back as it was, and so do example and prediction."""
    returned = dspy.Prediction(score=0.5, feedback=None)
    before = (dict(returned), dict(GOLD), dict(WRONG))
    metric = Metric(lambda gold, pred, trace, pred_name, pred_trace: returned)
    metric.score(GOLD, WRONG, 0)
    metric.feedback(GOLD, WRONG, [], "a", [], first_score=0.5)
    assert (dict(returned), dict(GOLD), dict(WRONG)) == before


def test_the_feedback_call_gives_words_only():
    """Its score is ignored even where it is none; where nothing is said there is None."""
    said = [dspy.Prediction(feedback="look again"), 0.7, None, {"score": "x", "feedback": "b"}, "c"]
    answers = iter(said)
    metric = Metric(lambda gold, pred, trace, pred_name, pred_trace: next(answers))
    assert [metric.feedback(GOLD, RIGHT, [], "a", [], first_score=0.7) for _ in said] == [
        FeedbackText("look again", {}),
        None,
        None,
        FeedbackText("b", {}),
        FeedbackText("c", {}),
    ]


def test_a_score_that_changes_when_asked_about_a_component_is_warned_of_once(caplog):
    """The first score stands, and one warning names both."""
    metric = Metric(lambda gold, pred, trace, pred_name, pred_trace: (0.25, "more"))
    with caplog.at_level(logging.WARNING):
        said = [metric.feedback(GOLD, RIGHT, [], "a", [], first_score=1.0) for _ in range(3)]
    assert said == [FeedbackText("more", {}, 0.25)] * 3
    assert [record.getMessage().split(".")[0] for record in caplog.records] == [
        "The metric <lambda> scored 1, but 0"
    ]


def test_long_values_are_cut_in_synthesised_feedback():
    """A long answer does not swell every prompt."""
    feedback = Metric(lambda g, p: 0).score(GOLD, dspy.Prediction(answer="x" * 9_999), 0).feedback
    assert len(feedback) < 500


def test_an_answer_that_is_no_prediction_can_be_judged():
    """Programs may answer with text or nothing; the metric decides."""
    metric = Metric(lambda gold, pred: pred == "2")
    assert metric.score(GOLD, "2", 0) == Judgement(
        1.0, "Score: 1.\nExpected answer: 2\nGiven output: 2"
    )
    assert metric.score(GOLD, None, 0) == Judgement(0.0, "Score: 0.\nExpected answer: 2")


def test_an_exception_of_the_metric_passes_through():
    """What the metric raises is the caller's business."""
    with pytest.raises(ZeroDivisionError):
        Metric(lambda gold, pred: 1 / 0).score(GOLD, RIGHT, 0)


def test_dspys_own_metrics_work():
    """Exact match compares in full, and SemanticF1 gives the measure and not pass or fail."""
    exact = Metric(answer_exact_match)
    assert [exact.score(GOLD, each, 0).score for each in (RIGHT, WRONG)] == [1.0, 0.0]
    gold = dspy.Example(question="q", response="r").with_inputs("question")
    judge = scripted_lm(answer(reasoning="half", recall=0.5, precision=0.5))
    with dspy.context(lm=judge):
        judged = Metric(SemanticF1()).score(gold, dspy.Prediction(response="r"), 0)
    assert judged.score == 0.5


def test_a_builtin_that_does_not_say_what_it_takes_is_accepted():
    """Some built-ins have no signature to inspect, and are taken at their word."""
    metric = Metric(max)
    assert (metric.name, metric.asks_per_component) == ("max", False)


def test_names_for_messages():
    """Functions, partials and objects are named as the user knows them."""
    named = [
        Metric(m).name for m in (answer_exact_match, functools.partial(answer_exact_match, frac=1))
    ]
    assert [*named, Metric(SemanticF1()).name] == [*["answer_exact_match"] * 2, "SemanticF1"]


IMAGE = dspy.Image(
    url="data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
)
SIDE = {"problem": "Wrong.", "seen": [IMAGE]}
FORMS = {
    "Feedback": Feedback(0.5, SIDE, attachments={"note": "short"}),
    "Prediction": dspy.Prediction(score=0.5, feedback=SIDE, attachments={"note": "short"}),
    "dict": {"score": 0.5, "feedback": SIDE, "attachments": {"note": "short"}},
    "object": SimpleNamespace(score=0.5, feedback=SIDE, attachments={"note": "short"}),
}


@pytest.mark.parametrize("returned", FORMS.values(), ids=FORMS)
def test_side_information_is_read_in_every_form(returned):
    """The words as JSON with a name where media stood, and everything that is attached by name."""
    assert Metric(lambda gold, pred: returned).score(GOLD, RIGHT, 0) == Judgement(
        0.5,
        '{"problem": "Wrong.", "seen": ["(attachment: image 1)"]}',
        attachments={"note": "short", "image 1": IMAGE},
    )


def test_a_tuple_may_hold_anything_as_feedback():
    """Its second half is the feedback, whatever that is."""
    judged = Metric(lambda gold, pred: (1, IMAGE)).score(GOLD, RIGHT, 0)
    assert judged == Judgement(1.0, "(attachment: image 1)", attachments={"image 1": IMAGE})
    judged = Metric(lambda gold, pred: (0, KeyError("price"))).score(GOLD, RIGHT, 0)
    assert judged == Judgement(0.0, "KeyError: 'price'")


@pytest.mark.parametrize(
    ("given", "attachments"),
    [
        (IMAGE, {"attachment": IMAGE}),
        ([IMAGE, "x"], {"attachment 1": IMAGE, "attachment 2": "x"}),
        (None, {}),
    ],
)
def test_attachments_without_names_are_given_some(given, attachments):
    """A metric of one's own need not name what it hands over."""
    judged = Metric(lambda gold, pred: {"score": 1, "attachments": given}).score(GOLD, RIGHT, 0)
    assert judged.attachments == attachments


def test_what_cannot_be_attached_is_an_error():
    """It names the example and what may be attached."""
    metric = Metric(lambda gold, pred: {"score": 1, "attachments": {"raw": b"x"}})
    with pytest.raises(MetricError, match=r"example 7. The attachment 'raw' is a bytes. Attach a"):
        metric.score(GOLD, RIGHT, "example 7")


def test_feedback_that_is_put_together_has_no_encoded_content():
    """Of media among expected and given values, a description is told."""
    gold = dspy.Example(question="?", answer=IMAGE).with_inputs("question")
    judged = Metric(lambda gold, pred: 0.0).score(gold, dspy.Prediction(answer=[IMAGE]), 0)
    assert "iVBORw0KGgo" not in judged.feedback
    assert "Expected answer: (image, " in judged.feedback
    assert "Given answer: [(image, " in judged.feedback


def test_an_error_about_a_metric_has_no_encoded_content():
    """Whatever it returned."""
    with pytest.raises(MetricError) as caught:
        Metric(lambda gold, pred: str(IMAGE)).score(GOLD, RIGHT, 0)
    assert "iVBORw0KGgo" not in str(caught.value)

"""Feedback of any kind: what a metric may say, and how it is put into words."""

from __future__ import annotations

import copy
import cProfile
import json
import pickle
import pstats

import dspy
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.judging.feedback import Feedback
from dspy_gepa.judging.words import FeedbackText, in_words

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)
IMAGE = dspy.Image(url=PIXEL)
OTHER = dspy.Image(url="https://a.example/other.png")
SOUND = dspy.Audio(data="UklGRg==", audio_format="wav")
PAPER = dspy.File(file_data="data:application/pdf;base64,JVBERi0=", filename="a.pdf")


class Page(pydantic.BaseModel):
    title: str
    picture: dspy.Image


def raised():
    """An exception with a traceback."""
    try:
        int("twelve")
    except ValueError as error:
        return error


def test_feedback_is_a_prediction_that_counts_as_its_score():
    """It adds, compares and converts as DSPy's optimizers need it."""
    half = Feedback(0.5, "The unit is missing.")
    assert isinstance(half, dspy.Prediction)
    assert (half.score, half.feedback) == (0.5, "The unit is missing.")
    assert (half.objective_scores, half.attachments) == ({}, {})
    assert (float(half), half + half, sum([half, half]), half / 2) == (0.5, 1.0, 1.0, 0.25)
    assert half < Feedback(1)
    assert half >= 0.5
    assert half == Feedback(0.5, "The unit is missing.")


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), Feedback.copy]
)
def test_feedback_can_be_copied_and_pickled(again):
    """With media in it."""
    given = Feedback(0.5, ["see", IMAGE], objectives={"brevity": 1}, attachments={"more": {"a": 1}})
    assert (type(again(given)), again(given)) == (Feedback, given)


def test_a_copy_takes_other_fields():
    """As that of any dspy.Example does; the original stays."""
    given = Feedback(0.5, "x")
    assert given.copy(score=1.0) == Feedback(1.0, "x")
    assert given.without("attachments").keys() == ["score", "feedback", "objective_scores"]
    assert given == Feedback(0.5, "x")


@pytest.mark.parametrize("score", [True, 1, np.float32(1.0), np.int64(1), dspy.Prediction(score=1)])
def test_every_number_is_a_score(score):
    """It is kept as a float."""
    found = Feedback(score).score
    assert (type(found), found) == (float, 1.0)


@pytest.mark.parametrize(
    ("arguments", "kind", "part"),
    [
        ({"score": None}, WrongType, "The score is None"),
        ({"score": "0.5"}, WrongType, "The score is '0.5'"),
        ({"score": float("nan")}, SettingsError, "The score is nan"),
        ({"score": 1, "objectives": {"a": "x"}}, WrongType, "The objective 'a' is 'x'"),
        ({"score": 1, "objectives": {"a": float("inf")}}, SettingsError, "is inf"),
        ({"score": 1, "objectives": 0.5}, WrongType, "The objectives are a float"),
        ({"score": 1, "attachments": [IMAGE]}, WrongType, "The attachments are a list"),
        ({"score": 1, "attachments": {"": IMAGE}}, WrongType, "is named ''"),
        ({"score": 1, "attachments": {3: IMAGE}}, WrongType, "is named 3"),
        ({"score": 1, "attachments": {"raw": b"\0"}}, WrongType, "'raw' is a bytes"),
    ],
)
def test_what_is_no_feedback_is_refused(arguments, kind, part):
    """The error says what was given and what is needed."""
    with pytest.raises(kind, match=r"needed|Attach") as caught:
        Feedback(**arguments)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("said", "text", "attachments"),
    [
        (None, "", {}),
        ("  look  ", "look", {}),
        ({"b": 1, "a": [True, None]}, '{"b": 1, "a": [true, null]}', {}),
        (IMAGE, "(attachment: image 1)", {"image 1": IMAGE}),
        (
            ["left", IMAGE, OTHER, IMAGE],
            '["left", "(attachment: image 1)", "(attachment: image 2)", "(attachment: image 1)"]',
            {"image 1": IMAGE, "image 2": OTHER},
        ),
        (
            {"heard": (SOUND,), "read": {"it": PAPER}},
            '{"heard": ["(attachment: audio 1)"], "read": {"it": "(attachment: file 1)"}}',
            {"audio 1": SOUND, "file 1": PAPER},
        ),
        (
            Page(title="one", picture=IMAGE),
            '{"title": "one", "picture": "(attachment: image 1)"}',
            {"image 1": IMAGE},
        ),
        (
            dspy.Prediction(title="one", picture=IMAGE),
            '{"title": "one", "picture": "(attachment: image 1)"}',
            {"image 1": IMAGE},
        ),
        ({"b", "a"}, '["a", "b"]', {}),
        (0.5, "0.5", {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_words_are_told_and_media_is_taken_out(said, text, attachments):
    """Where media stood, its name stands; the same object has one name."""
    assert in_words(said) == FeedbackText(text, attachments)


def test_what_is_attached_keeps_its_name():
    """In the words it goes by that name, and new media gets a name that is free."""
    found = in_words(["see", IMAGE, OTHER], {"image 1": IMAGE, "note": "short", "page": {"p": 1}})
    assert found == FeedbackText(
        '["see", "(attachment: image 1)", "(attachment: image 2)"]',
        {"image 1": IMAGE, "note": "short", "page": {"p": 1}, "image 2": OTHER},
    )


def test_what_is_known_is_referred_to():
    """It is not attached once more."""
    found = in_words([IMAGE, OTHER], known={"image 1": OTHER})
    assert found == FeedbackText(
        '["(attachment: image 2)", "(attachment: image 1)"]', {"image 2": IMAGE}
    )


def test_what_was_attached_under_a_name_that_is_taken_has_another():
    """In the words too; what is known already keeps the name that it is known by."""
    of_one, of_other = Feedback(0, ["one", IMAGE]), Feedback(0, [SOUND, OTHER, IMAGE])
    known = {"image 1": OTHER, "note": "short"}
    found = in_words(of_one.feedback, of_one.attachments, known)
    assert found == FeedbackText('["one", "(attachment: image 2)"]', {"image 2": IMAGE})
    known |= found.attachments
    found = in_words(of_other.feedback, {**of_other.attachments, "note": "long"}, known)
    places = ["(attachment: audio 1)", "(attachment: image 1)", "(attachment: image 2)"]
    assert json.loads(found.text) == places
    assert found.attachments["note 2"] == "long"


def test_feedback_within_feedback_speaks_of_its_own_media():
    """A metric of several parts can hand on what each of them said."""
    parts = [Feedback(0, ["header", IMAGE]), Feedback(1, ["footer", OTHER])]
    whole = Feedback(0.5, parts)
    assert whole.attachments == {"image 1": IMAGE, "image 2": OTHER}
    told = [json.loads(part["feedback"]) for part in json.loads(whole.feedback)]
    assert told == [["header", "(attachment: image 1)"], ["footer", "(attachment: image 2)"]]


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: {"error": error}])
def test_an_exception_tells_kind_message_and_place(wrap):
    """Also within a container."""
    text = Feedback(0, wrap(raised())).feedback
    assert "ValueError: invalid literal for int() with base 10: 'twelve'" in text
    assert "in raised, line " in text
    assert "test_judging_feedback.py" in text


def test_an_exception_tells_what_it_was_raised_from():
    """The cause often says more than what became of it."""
    error = RuntimeError("no order")
    error.__cause__ = raised()
    assert "raised from ValueError: invalid literal" in Feedback(0, error).feedback


@pytest.mark.parametrize("of", [lambda profile: profile, pstats.Stats])
def test_a_profile_tells_its_costliest_functions(of):
    """At most a dozen rows, the dearest first."""
    profile = cProfile.Profile()
    profile.runcall(sorted, range(100), key=lambda number: -number)
    text = Feedback(0, of(profile)).feedback
    assert "seconds in all" in text
    assert "100  <lambda> (line " in text
    assert len(text.splitlines()) <= 14


@given(
    said=st.recursive(
        st.sampled_from([IMAGE, SOUND, PAPER]) | st.text(max_size=5) | st.integers(),
        lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(), items, max_size=3),
        max_leaves=6,
    )
)
def test_no_content_of_media_is_ever_in_words(said):
    """However deep it stands."""
    text = in_words(said).text
    for media in (PIXEL[-40:], "UklGRg==", "JVBERi0="):
        assert media not in text


def test_encoded_content_in_a_text_is_replaced():
    """Also where a user has written it there."""
    text = in_words(f"see {IMAGE} and {PIXEL}").text
    assert PIXEL[30:60] not in text
    assert text.count("(image/png, 96 characters, sha256 ") == 2


def answer_of(metric, kind):
    """The score that some optimizer or evaluation sees."""
    program = dspy.Predict("question -> answer")
    trainset = [dspy.Example(question=str(n), answer="x").with_inputs("question") for n in range(3)]
    lm = dspy.utils.DummyLM([{"answer": "x"}] * 100, adapter=dspy.ChatAdapter())
    with dspy.context(lm=lm):
        if kind == "evaluate":
            return dspy.Evaluate(devset=trainset, metric=metric, num_threads=1)(program).score
        reflection = dspy.utils.DummyLM(
            [{"new_instruction": "better"}] * 9, adapter=dspy.JSONAdapter()
        )
        optimizer = dspy.GEPA(
            metric, reflection_lm=reflection, max_metric_calls=15, num_threads=1, track_stats=True
        )
        found = optimizer.compile(program, trainset=trainset, valset=trainset)
        return found.detailed_results.val_aggregate_scores[0]


@pytest.mark.parametrize(("kind", "score"), [("evaluate", 50.0), ("gepa", 0.5)])
def test_dspys_own_evaluation_and_gepa_take_it(kind, score):
    """Unchanged, with objectives and media in it."""
    seen = []

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        seen.append(pred_name)
        return Feedback(0.5, ["see", IMAGE], objectives={"brevity": 1})

    assert answer_of(metric, kind) == score
    assert (None in seen, "self" in seen) == (True, kind == "gepa")

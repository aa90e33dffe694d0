"""The LLM judge."""

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from model_server import model_server
from scripted_engine import scripted_lm

from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.metrics import Judge

GOLD = dspy.Example(question="How much?", answer="2 coins").with_inputs("question")
PRED = dspy.Prediction(answer="two")


def verdicts(*said):
    """A model that gives these scores and reasons in turn, and counts what it was asked."""
    replies = iter(said)

    def reply(prompt):
        prompts.append(prompt)
        found = next(replies)
        if isinstance(found, str):
            return found
        score, reason = found
        return (
            f"[[ ## reason ## ]]\n{reason}\n\n[[ ## score ## ]]\n{score}\n\n[[ ## completed ## ]]"
        )

    prompts = []
    return scripted_lm(reply, cache=True), prompts


def test_one_judgement_is_score_and_reason():
    """The model sees criteria, inputs, the expected answer and the given one."""
    lm, prompts = verdicts((7, "The unit is missing."))
    found = Judge("It names an amount.", lm=lm)(GOLD, PRED)
    assert (found.score, found.feedback) == (0.7, "Judged 0.70: The unit is missing.")
    for part in ("It names an amount.", "How much?", "2 coins", "two"):
        assert part in prompts[0]


def test_repeats_are_asked_anew_and_averaged():
    """All reasons are kept, and how far the judgements lie apart is said."""
    lm, prompts = verdicts((10, "Good."), (4, "No unit."), (10, "Good."))
    found = Judge("It is right.", repeats=3, lm=lm)(GOLD, PRED)
    assert found.score == pytest.approx(0.8)
    assert len(prompts) == 3
    assert found.feedback.splitlines() == [
        "Judged 1.00: Good.",
        "Judged 0.40: No unit.",
        "Judged 1.00: Good.",
        "The judgements differ, from 0.40 to 1.00.",
    ]


def test_a_judgement_that_cannot_be_read_is_left_out():
    """What is said about it is how many; where none can be read, that is raised."""
    lm, _ = verdicts("mumble", "mumble", (5, "Half."))
    found = Judge("It is right.", repeats=2, lm=lm)(GOLD, PRED)
    assert found.score == 0.5
    assert found.feedback.endswith("1 of 2 judgements could not be read.")
    lm, _ = verdicts(*["mumble"] * 4)
    with pytest.raises(AdapterParseError):
        Judge("It is right.", repeats=2, lm=lm)(GOLD, PRED)


@pytest.mark.parametrize("score", ["NaN", "Infinity", "-Infinity"])
def test_a_score_that_is_no_finite_number_cannot_be_read(score):
    """It is left out of the mean, and raised where no other judgement remains."""
    lm, _ = verdicts((9, "Good."), (score, "Cannot say."))
    found = Judge("It is right.", repeats=2, lm=lm)(GOLD, PRED)
    assert (found.score, found.feedback.splitlines()) == (
        0.9,
        ["Judged 0.90: Good.", "1 of 2 judgements could not be read."],
    )
    lm, _ = verdicts((score, "Cannot say."))
    with pytest.raises(AdapterParseError, match=r"The score is -?(nan|inf); a finite number"):
        Judge("It is right.", lm=lm)(GOLD, PRED)


@pytest.mark.parametrize(("given", "score"), [(12, 1.0), (-1, 0.0), (4, 0.8)])
def test_scores_stay_on_the_scale(given, score):
    """Whatever a model says lies between 0 and 1."""
    lm, _ = verdicts((given, "x"))
    assert Judge("It is right.", lm=lm, highest_score=5)(GOLD, PRED).score == score


def test_the_configured_model_judges_and_no_trace_shows_it():
    """A program's open trace holds the program's calls alone."""
    lm, prompts = verdicts((10, "Good."))
    trace = []
    with dspy.context(lm=lm, trace=trace):
        assert Judge("It is right.")(GOLD, PRED).score == 1.0
    assert (len(prompts), trace) == (1, [])
    with dspy.context(lm=None), pytest.raises(SettingsError, match="no model to judge with"):
        Judge("It is right.")(GOLD, PRED)


def test_images_are_shown_to_the_judge():
    """As structured parts, like everything that DSPy sends."""
    gold = dspy.Example(page=dspy.Image(url="https://a.example/1.png"), answer="2").with_inputs(
        "page"
    )
    text = "[[ ## reason ## ]]\nGood.\n\n[[ ## score ## ]]\n10\n\n[[ ## completed ## ]]"
    with model_server(200, text=text) as server:
        assert Judge("It is right.", lm=server.lm())(gold, PRED).score == 1.0
        (request,) = server.requests
    parts = request["messages"][-1]["content"]
    assert {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}} in parts


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"criteria": " "}, SettingsError),
        ({"criteria": "x", "repeats": 0}, SettingsError),
        ({"criteria": "x", "repeats": True}, SettingsError),
        ({"criteria": "x", "highest_score": 0.5}, SettingsError),
        ({"criteria": "x", "lm": "openai/gpt-5"}, WrongType),
    ],
)
def test_wrong_settings_are_refused(settings, kind):
    """When the judge is made."""
    with pytest.raises(kind):
        Judge(**settings)

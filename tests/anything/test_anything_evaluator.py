"""What an evaluator may take and return."""

import functools
from types import SimpleNamespace

import dspy
import numpy as np
import pytest
from gepa.image import Image

from dspy_gepa import Feedback
from dspy_gepa.artifact.evaluator import Evaluator
from dspy_gepa.artifact.returned import judged
from dspy_gepa.core.candidate import Candidate
from dspy_gepa.errors import MetricError, SettingsError, WrongType
from dspy_gepa.values.media import Media

TEXT = Candidate.of({"artifact": "abc"})


class Judge:
    def method(self, artifact, example):
        return f"{artifact}/{example}"

    def __call__(self, artifact, example):
        return f"{artifact}/{example}"


async def waiting(one, other):
    return f"{one}/{other}"


def keyword_only(candidate, *, example):
    return f"{candidate}/{example}"


@pytest.mark.parametrize(
    "evaluate",
    [
        lambda artifact, example: f"{artifact}/{example}",
        lambda a, b: f"{a}/{b}",
        lambda a, b=None, c=3: f"{a}/{b}",
        lambda *parts: "/".join(parts),
        lambda *parts, **more: "/".join(parts),
        functools.partial(lambda tail, a, b: f"{a}/{b}", ""),
        Judge(),
        Judge().method,
        waiting,
        keyword_only,
        lambda a, **more: f"{a}/{more['example']}",
        "{}/{}".format,
    ],
)
def test_an_evaluator_is_called_by_position(evaluate):
    """Whatever its parameters are called, the artifact comes first and the example second."""
    assert Evaluator(evaluate, takes_example=True, is_lone=True)(TEXT, "x") == "abc/x"


@pytest.mark.parametrize(
    "evaluate", [len, lambda a: len(str(a)), lambda a, b=None: len(a), lambda *a: len(a[0])]
)
def test_without_examples_it_gets_the_artifact_alone(evaluate):
    """One that could take an example does without it."""
    assert Evaluator(evaluate, takes_example=False, is_lone=True)(TEXT, None) == 3


def test_an_artifact_of_several_texts_is_a_dict_of_its_own():
    """What the evaluator does with it changes nothing for others."""
    candidate = Candidate.of({"code": "a", "prompt": "b"})
    evaluator = Evaluator(lambda texts: texts.pop("code"), takes_example=False, is_lone=False)
    assert [evaluator(candidate, None), evaluator(candidate, None)] == ["a", "a"]


@pytest.mark.parametrize(
    ("evaluate", "takes_example", "said"),
    [
        (lambda artifact: 0, True, "no dataset"),
        (lambda artifact, example: 0, False, "Give a dataset"),
        (lambda: 0, False, "artifact alone"),
        (lambda artifact, *, model: 0, False, "artifact alone"),
        (lambda artifact, *, model: 0, True, None),
        (3, False, "a function is needed"),
        ("fn", False, "a function is needed"),
        (lambda artifact, opt_state: 0, True, "carry it"),
        (lambda artifact, example, opt_state=None: 0, True, "carry it"),
        (lambda example, candidate: 0, True, "artifact first"),
    ],
)
def test_what_cannot_be_called_is_refused_beforehand(evaluate, takes_example, said):
    """Binding says so, and the error says what to do."""
    if said is None:
        assert Evaluator(evaluate, takes_example=takes_example, is_lone=True)(TEXT, 1) == 0
        return
    with pytest.raises(SettingsError, match=said):
        Evaluator(evaluate, takes_example=takes_example, is_lone=True)


def read(returned, components=("artifact",)):
    return judged(returned, name="judge", example=3, components=components)


@pytest.mark.parametrize(
    ("returned", "score", "feedback"),
    [
        (2, 2.0, ""),
        (True, 1.0, ""),
        (np.float32(0.5), 0.5, ""),
        (-1e300, -1e300, ""),
        ((0.5, "too long"), 0.5, "too long"),
        ((0.5, None), 0.5, ""),
        ((0.5, {}), 0.5, ""),
        ((0.5, {"Feedback": "too long"}), 0.5, "too long"),
        ((0.5, ["a", "b"]), 0.5, '["a", "b"]'),
        ({"score": 0.5}, 0.5, ""),
        ({"score": 0.5, "feedback": "too long"}, 0.5, "too long"),
        (Feedback(0.5, "too long"), 0.5, "too long"),
        (dspy.Prediction(score=0.5, feedback="too long"), 0.5, "too long"),
        (SimpleNamespace(score=0.5, feedback="too long"), 0.5, "too long"),
        ((0.5, ValueError("no")), 0.5, "ValueError: no"),
        ((0.5, {"log": "a\nb", "n": 3}), 0.5, "log:\na\nb\n\nn: 3"),
    ],
)
def test_every_sane_return_form_is_read(returned, score, feedback):
    """A number alone or with anything, by position, by name or as an object."""
    found = read(returned)
    assert (found.score, found.feedback) == (score, feedback)


@pytest.mark.parametrize(
    "returned",
    [
        None,
        "0.5",
        float("nan"),
        float("inf"),
        (float("nan"), "x"),
        ("0.5", "x"),
        (0.5, "output", {}),
        {"scores": {"a": 1}},
        {},
        [0.5],
        (0.5, {"scores": {"a": float("nan")}}),
    ],
)
def test_what_is_no_score_is_told_with_what_is(returned):
    """The error names evaluator and example, and the forms that can be read."""
    with pytest.raises(MetricError, match=r"judge returned .* for example 3.*Return a finite"):
        read(returned)


def test_scores_by_name_are_objectives():
    """Under gepa's name and under DSPy's; what is no table of numbers is feedback."""
    assert read((1, {"scores": {"speed": 2, "size": 3}})).objectives == {"speed": 2.0, "size": 3.0}
    assert read({"score": 1, "objective_scores": {"speed": 2}}).objectives == {"speed": 2.0}
    found = read((1, {"scores": [1, 0, 1]}))
    assert (found.objectives, "scores" in found.feedback) == ({}, True)


def test_what_is_about_one_component_is_kept_apart():
    """`<component>_specific_info` goes to its component, everything else to all."""
    side = {"code_specific_info": {"Error": "line 3"}, "Feedback": "wrong"}
    found = read((1, side), ("code", "prompt"))
    assert found.feedback == "wrong"
    assert list(found.by_component) == ["code"]
    assert "line 3" in found.by_component["code"]
    assert side["Feedback"] == "wrong"


def test_images_are_taken_out_by_name(tmp_path):
    """DSPy's and gepa's, wherever they stand; nothing but a note of them is in the words."""
    path = tmp_path / "plot.png"
    path.write_bytes(b"pixels")
    pixels = "cGl4ZWxz"
    side = {
        "Rendered": Image(base64_data=pixels, media_type="image/png"),
        "others": [Image(path=str(path)), dspy.Image("https://example.org/a.png")],
    }
    found = read((1, side))
    assert list(found.attachments.values()) == [
        Media("image", f"data:image/png;base64,{pixels}"),
        Media("image", "https://example.org/a.png"),
    ]
    assert pixels not in found.feedback
    assert found.feedback.count("attachment: image") == 3


def test_what_was_returned_is_not_changed():
    """The evaluator may return the same dict again and again."""
    side = {"scores": {"a": 1}, "log": "x", "score": 2}
    for _ in range(2):
        assert read(side).objectives == {"a": 1.0}
    assert side == {"scores": {"a": 1}, "log": "x", "score": 2}


def test_of_both_kinds_of_errors_one_is_a_type_error():
    """Callers may catch what Python itself would have raised."""
    with pytest.raises(TypeError):
        Evaluator(None, takes_example=False, is_lone=True)
    assert issubclass(WrongType, TypeError)


@pytest.mark.parametrize("field", ["Feedback", "score", "scores", "feedback", "table"])
def test_what_compares_by_its_parts_is_feedback_like_any_other(field):
    """Arrays and tables answer a comparison with as many truths as they have parts."""
    said = judged((0.5, {field: np.arange(3), "more": ""}), name="e", example=0, components=[])
    assert said.score == 0.5
    assert "0" in said.feedback
    assert "2" in said.feedback


def test_a_number_beyond_all_floats_is_no_score():
    """It is the evaluator's error, and no failure of the artifact."""
    with pytest.raises(MetricError, match="finite"):
        judged(10**400, name="e", example=0, components=[])

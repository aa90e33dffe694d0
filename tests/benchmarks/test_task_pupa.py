"""PUPA: what the untrusted model was told, and a judge that is asked in both orders."""

import dspy
import pytest
from dspy.utils import DummyLM
from task_trials import UNREADABLE, checked_shape, from_folder, hub_of, judged
from tasks import load

ROWS = [
    {
        "user_query": f"Write to Ada Ford in Lille about invoice {number}.",
        "target_response": "Dear Ada, ...",
        "pii_units": "Ada Ford||Lille",
    }
    for number in range(3)
]


@pytest.fixture
def task(tmp_path):
    """The task over three rows."""
    return from_folder(tmp_path, "pupa", {"pupa/pupa_new.jsonl": ROWS})


def verdict(task, better, **answer):
    """The score and feedback where the judge says these in turn."""
    lm = DummyLM([{"better": each} for each in better])
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        return judged(task, task.train[0], **answer)


def test_the_untrusted_model_sees_the_request_alone(task):
    """Neither the query nor an instruction of ours is sent with it."""
    replies = [
        {"reasoning": "r", "request": "Write a polite letter about an invoice."},
        {"reply": "Dear ..."},
        {"response": "Dear Ada, ..."},
    ]
    lm = DummyLM(replies)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        prediction = task.program(query=task.train[0].query)
    assert lm.history[1]["messages"] in (None, []) or "Lille" not in str(lm.history[1]["messages"])
    assert lm.history[1]["prompt"] == "Write a polite letter about an invoice."
    assert prediction.request == "Write a polite letter about an invoice."
    assert "Dear ..." in str(lm.history[2]["messages"])
    checked_shape(task)


@pytest.mark.parametrize(
    ("better", "quality"),
    [
        (("first", "second"), 1),
        (("equal", "equal"), 1),
        (("first", "first"), 0.5),
        (("second", "first"), 0),
    ],
)
def test_quality_is_judged_in_both_orders(task, better, quality):
    """A judge that prefers the first place gives half."""
    answer = {"request": "Write a letter.", "response": "Dear Ada"}
    score, feedback = verdict(task, better, **answer)
    assert score == (quality + 1) / 2
    assert f"Quality {quality:.2f}, leakage 0.00." in feedback


def test_what_was_told_is_named(task):
    """One of two private values told is half of the leakage, in any case of letters."""
    answer = {"request": "Write to someone in LILLE.", "response": "Dear Ada"}
    score, feedback = verdict(task, ("equal", "equal"), **answer)
    assert score == 0.75
    assert "tells these private values: Lille." in feedback


class Untrusted(DummyLM):
    """A simulated model that replies to a bare prompt with what it is made with."""

    def __init__(self, replies, to_a_prompt):
        super().__init__(replies)
        self.to_a_prompt = to_a_prompt

    def __call__(self, prompt=None, messages=None, **settings):
        """One reply, as DSPy gives those of a provider."""
        if prompt is not None:
            return [self.to_a_prompt]
        return super().__call__(messages=messages, **settings)


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ("Dear ...", "Dear ..."),
        ({"text": "Dear ...", "reasoning_content": "Hm."}, "Dear ..."),
        ({"text": None, "reasoning_content": "Hm."}, ""),
        (None, ""),
    ],
)
def test_the_untrusted_model_s_text_is_shown(task, reply, shown):
    """Its reasoning is not, and where it said nothing, nothing is."""
    lm = Untrusted([{"reasoning": "r", "request": "Write."}, {"response": "Dear Ada"}], reply)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        task.program(query=task.train[0].query)
    prompt = lm.history[-1]["messages"][-1]["content"]
    assert prompt.split("[[ ## reply ## ]]\n")[1].split("\n\n")[0].strip() == shown


def test_a_private_value_that_a_row_names_twice_counts_once(tmp_path):
    """Told one of two private values, the leakage is a half, however often the row names it."""
    rows = [{**row, "pii_units": "Ada Ford||Lille || Lille||"} for row in ROWS]
    task = from_folder(tmp_path, "pupa", {"pupa/pupa_new.jsonl": rows})
    answer = {"request": "Write to someone in Lille.", "response": "Dear Ada"}
    score, feedback = verdict(task, ("equal", "equal"), **answer)
    assert score == 0.75
    assert feedback.endswith("tells these private values: Lille.")


@pytest.mark.parametrize("answer", [each for each in UNREADABLE if each not in ("???", "\ud83d")])
def test_unreadable_answers(task, answer):
    """No point, and no judge is asked."""
    assert judged(task, task.train[0], request="r", response=answer)[0] == 0
    assert judged(task, task.train[0], request=answer, response="r")[0] == 0


def test_the_same_task_from_the_hub(task, monkeypatch):
    """The hub's rows give the same task; that the metric asks a model is said."""
    hub_of(monkeypatch, {"Columbia-NLP/PUPA": ROWS})
    assert load("pupa").origin.digest == task.origin.digest
    assert "the metric asks a model" in task.origin.differs

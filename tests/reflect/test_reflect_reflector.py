"""A reflection request becomes texts, problems and a true count of LM calls."""

from __future__ import annotations

import pytest

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionAnswer, ReflectionRequest
from dspy_gepa.reflect.prompt import Limits
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.templates import CLOSING_MARK, OPENING_MARK, Template

CANDIDATE = Candidate.of({"label": "Label the message.", "reply": "Reply to it.", "rest": "Rest."})


def request(*components, candidate=CANDIDATE):
    steps = (
        Step("label", {"message": "refund"}, {"label": "K1"}),
        Step("reply", {"label": "K1"}, {"text": "Hello"}),
    )
    rollout = Rollout(0.0, "K3 means refund.", trace=Trace(steps=steps))
    return ReflectionRequest(4, candidate, components, (Evidence(7, rollout),))


def marked(text):
    return f"{OPENING_MARK}\n{text}\n{CLOSING_MARK}"


class Script:
    """An LM that gives these replies in order and keeps what it was asked."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.prompts = []

    def __call__(self, prompt):
        self.prompts.append(prompt)
        return self.replies.pop(0)


def test_each_component_gets_its_own_text():
    """Components are rewritten one by one, each shown its description, text and feedback."""
    lm = Script(marked("Label K3 for refunds."), marked("Reply politely."))
    answer = Reflector(lm)(
        request("label", "reply"),
        {"label": "Fields: message -> label", "reply": "Fields: label -> text"},
        {"reply": {7: "Too short."}},
    )
    texts = {"label": "Label K3 for refunds.", "reply": "Reply politely."}
    assert answer == ReflectionAnswer(4, texts, lm_calls=2)
    first, second = lm.prompts
    for shown in ("Fields: message -> label", "Label the message.", "K3 means refund.", "refund"):
        assert shown in first
    assert "Too short." in second
    assert "K3 means refund." not in second


def test_an_unreadable_reply_is_asked_for_once_more():
    """The repair repeats the request with the problem, and is counted."""
    lm = Script("I'm sorry, I can't help with that.", marked("Label K3."))
    answer = Reflector(lm)(request("label"), {}, {})
    assert answer == ReflectionAnswer(4, {"label": "Label K3."}, lm_calls=2)
    first, second = lm.prompts
    assert second.startswith(first)
    assert "it refuses to write a new instruction" in second[len(first) :]


def test_two_unreadable_replies_are_a_problem_of_that_component_alone():
    """What worked is returned, and the problem names what did not and why."""
    lm = Script("", f"{OPENING_MARK}\nLabel", marked("Reply politely."))
    answer = Reflector(lm)(request("label", "reply"), {}, {})
    assert answer.texts == {"reply": "Reply politely."}
    assert answer.lm_calls == 3
    assert answer.problem.startswith("label: the reply could not be used: it was cut off")
    assert "reply:" not in answer.problem


def test_a_component_without_evidence_costs_no_call():
    """Nothing is asked where there is nothing to show."""
    answer = Reflector(Script())(request("rest"), {}, {})
    assert answer == ReflectionAnswer(4, problem="rest: no rollout of the evidence called it")


def test_a_text_too_long_for_the_prompt_costs_no_call():
    """An instruction that leaves no room is a problem, not a cut prompt."""
    long = Candidate.of({"label": "x" * 4_000})
    reflector = Reflector(Script(), limits=Limits(prompt_characters=4_000))
    answer = reflector(request("label", candidate=long), {}, {})
    assert answer.lm_calls == 0
    assert "label: the current instruction has 4,000 characters" in answer.problem


def test_a_repair_that_has_no_room_is_left_out():
    """Where the repair would exceed the limit, the first problem stands."""
    template = Template("{{instruction}}{{examples}}")
    long = Candidate.of({"label": "x" * 3_100})
    lm = Script("")
    reflector = Reflector(lm, template=template, limits=Limits(prompt_characters=4_000))
    answer = reflector(request("label", candidate=long), {}, {})
    assert answer.lm_calls == 1
    assert answer.problem == "label: the reply could not be used: it is empty"


def test_prompts_and_repairs_keep_the_limit():
    """Neither a prompt nor its repair exceeds the limit."""
    steps = (Step("label", {"message": "x" * 9_000}, {"label": "K1"}),)
    evidence = tuple(
        Evidence(n, Rollout(0.0, "f" * 900, trace=Trace(steps=steps))) for n in range(9)
    )
    lm = Script("", "")
    reflector = Reflector(lm, limits=Limits(prompt_characters=5_000))
    reflector(ReflectionRequest(1, CANDIDATE, ("label",), evidence), {}, {})
    assert len(lm.prompts) == 2
    assert all(len(prompt) <= 5_000 for prompt in lm.prompts)


def test_a_text_that_changes_nothing_is_asked_for_once_more():
    """The second prompt says what was wrong; a text that is new then is taken."""
    lm = Script(marked("Label the message."), marked("Label it K3."))
    answer = Reflector(lm)(request("label"), {}, {})
    assert answer.texts == {"label": "Label it K3."}
    assert answer.lm_calls == 2
    assert "repeats the current instruction" in lm.prompts[1]


def test_white_space_around_the_same_text_is_no_new_text():
    """A text that twice differs only in outer white space comes back as the current one."""
    lm = Script(marked("\nLabel the message. \n"), marked(" Label the message."))
    answer = Reflector(lm)(request("label"), {}, {})
    assert answer.texts == {"label": "Label the message."}
    assert answer.lm_calls == 2


def test_what_the_lm_raises_is_passed_on():
    """A broken LM is not a problem of the text."""

    def broken(prompt):
        raise ConnectionError("no server")

    with pytest.raises(ConnectionError, match="no server"):
        Reflector(broken)(request("label"), {}, {})


def test_an_unknown_component_is_refused():
    """A component that the candidate does not have is the caller's mistake."""
    with pytest.raises(KeyError):
        Reflector(Script())(request("nothing"), {}, {})

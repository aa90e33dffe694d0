"""A reflection request becomes texts, problems and a true count of LM calls."""

from __future__ import annotations

import pytest

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Attempt, Evidence, ReflectionAnswer, ReflectionRequest
from dspy_gepa.errors import SettingsError, WrongType
from dspy_gepa.reflect.exchange import Reply
from dspy_gepa.reflect.prompt import Limits
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.reflect.templates import CLOSING_MARK, OPENING_MARK, Template

CANDIDATE = Candidate.of({"label": "Label the message.", "reply": "Reply to it.", "rest": "Rest."})


def request(*components, candidate=CANDIDATE, attempts=()):
    steps = (
        Step("label", {"message": "refund"}, {"label": "K1"}),
        Step("reply", {"label": "K1"}, {"text": "Hello"}),
    )
    rollout = Rollout(0.0, "K3 means refund.", trace=Trace(steps=steps))
    return ReflectionRequest(4, candidate, components, (Evidence(7, rollout),), attempts)


def marked(text):
    return f"{OPENING_MARK}\n{text}\n{CLOSING_MARK}"


class Script:
    """An LM that gives these replies in order and keeps what it was asked."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.prompts = []

    def __call__(self, prompt):
        self.prompts.append(prompt.text)
        reply = self.replies.pop(0)
        return reply if isinstance(reply, Reply) else Reply(reply)


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


def test_who_repeats_the_text_is_asked_without_it_and_adds_to_it():
    """A small model that sees its text again repeats it again; nothing of that text is lost."""
    lm = Script(marked("Label the message."), marked("Label it K3 for refunds."))
    tried = Attempt(CANDIDATE.rewritten({"label": "Label it Z9."}), "it scored 0")
    answer = Reflector(lm)(request("label", attempts=(tried,)), {}, {})
    assert answer.texts == {"label": "Label the message.\n\nLabel it K3 for refunds."}
    assert answer.lm_calls == 2
    first, second = lm.prompts
    for shown in ("Label the message.", "Z9"):
        assert shown in first
        assert shown not in second
    assert "K3 means refund." in second
    assert "could not be used" not in second


def test_what_is_added_is_held_to_the_limits_of_the_whole():
    """Frozen parts stay once, and the room that is told is what the current text leaves."""
    lm = Script(marked("Label the message."), marked("Label refunds K3."))
    rules = Rules(frozen={"label": ["the message"]}, max_instruction_tokens=40, count_tokens=len)
    answer = Reflector(lm, rules=rules)(request("label"), {}, {})
    assert answer.texts == {"label": "Label the message.\n\nLabel refunds K3."}
    assert "Write at most 22 tokens" in lm.prompts[1]
    longer = Script(marked("Label the message."), marked("Label refunds K3 and returns K4."))
    answer = Reflector(longer, rules=rules)(request("label"), {}, {})
    assert "it has 52 tokens and at most 40 are allowed" in answer.problem


@pytest.mark.parametrize("again", [" Label the message.", "the message"])
def test_who_has_nothing_to_add_changes_nothing(again):
    """A text that comes twice, but for outer white space or in part, is the current one."""
    lm = Script(marked("\nLabel the message. \n"), marked(again))
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


def test_a_text_that_breaks_a_rule_is_asked_for_once_more():
    """The rules are told beforehand, the repair says which one was broken, and both are counted."""
    lm = Script(marked("Label it."), marked("Label the message, K3 for refunds."))
    rules = Rules(frozen={"label": ["the message"]}, constraints=["Be polite."])
    answer = Reflector(lm, rules=rules)(request("label"), {}, {})
    assert answer == ReflectionAnswer(
        4, {"label": "Label the message, K3 for refunds."}, lm_calls=2
    )
    first, second = lm.prompts
    assert '- Be polite.\n- Repeat this part to the character: "the message"\n' in first
    assert 'it has the fixed part "the message" 0 times' in second


def test_a_text_that_no_program_says_is_asked_for_once_more():
    """What comes back is what a program says, and the rules are about that."""

    def shouted(component, text):
        if "sh" in text:
            raise SettingsError(f"{component} does not whisper")
        return text.upper()

    lm = Script(marked("Label K3, sh."), marked("Label it."), marked("Label K3."))
    rules = Rules(frozen={"label": ["LABEL"]}, normalised=shouted)
    current = Candidate.of({**CANDIDATE, "label": "LABEL IT."})
    answer = Reflector(lm, rules=rules)(request("label", candidate=current), {}, {})
    assert "label does not whisper" in lm.prompts[1]
    assert answer.texts == {"label": "LABEL IT."}
    again = Reflector(lm, rules=rules)(request("label", candidate=current), {}, {})
    assert again.texts == {"label": "LABEL K3."}


@pytest.mark.parametrize("own", [{}, {"label": Template("OWN {{instruction}} {{examples}}")}])
def test_whether_a_text_is_added_does_not_hang_on_the_template(own):
    """The current text stays, and in a repair too lines to be added are asked for."""
    lm = Script("", marked("K3 means refund."))
    answer = Reflector(lm, adds=True, templates=own)(request("label"), {}, {})
    assert answer.texts == {"label": "Label the message.\n\nK3 means refund."}
    assert "continue with the lines to be added" in lm.prompts[1]


def test_a_text_that_breaks_a_rule_twice_is_a_problem():
    """It is never proposed."""
    lm = Script(marked("Label it."), marked("Label it K3."))
    answer = Reflector(lm, rules=Rules(frozen={"*": ["the message"]}))(request("label"), {}, {})
    assert answer.texts == {}
    assert answer.lm_calls == 2
    assert answer.problem.startswith("label: the new text was refused: it has the fixed part")


def test_a_reply_that_the_server_cut_off_is_asked_for_once_more():
    """Also where it looks like a whole text."""
    lm = Script(Reply("Label K3 for", is_truncated=True), Reply("Label K3 for refunds."))
    answer = Reflector(lm)(request("label"), {}, {})
    assert answer.texts == {"label": "Label K3 for refunds."}
    assert "it was cut off" in lm.prompts[1]


def test_guidance_references_and_own_templates_reach_the_prompt():
    """A component's own template replaces the common one for it alone."""
    lm = Script(marked("One."), marked("Two."))
    Reflector(
        lm,
        template=Template("COMMON {{instruction}} {{examples}}"),
        templates={"reply": Template("OWN {{guidance}} {{instruction}} {{examples}}")},
        guidance="Prefer short rules.",
        references={"Style": "Say please."},
    )(request("label", "reply"), {}, {})
    assert lm.prompts[0].startswith("COMMON Label the message.")
    assert lm.prompts[1].startswith("OWN \n# Words of the program's author\n\nPrefer short rules.")
    for prompt in lm.prompts:
        assert "Prefer short rules." in prompt
        assert "## Style\n\nSay please." in prompt


def test_media_go_beside_the_prompt_and_never_into_the_text():
    """What the metric attached is shown, and a text that speaks of it is refused."""
    picture = object()
    trace = Trace(steps=(Step("label", {"message": "refund", "scan": picture}, {"label": "K1"}),))
    rollout = Rollout(0.0, "See the map.", attachments={"map": picture}, trace=trace)
    seen = []

    def lm(prompt):
        seen.append(prompt)
        return Reply(marked("Look at [image 1]." if len(seen) == 1 else "Look at the scan."))

    kind = {id(picture): "image"}
    reflector = Reflector(lm, media_kind=lambda value: kind.get(id(value), ""))
    answer = reflector(ReflectionRequest(4, CANDIDATE, ("label",), (Evidence(7, rollout),)), {}, {})
    assert answer.texts == {"label": "Look at the scan."}
    assert [prompt.media for prompt in seen] == [(("[image 1]", picture),)] * 2
    assert "scan: [image 1]" in seen[0].text
    assert "With the feedback:\nmap: [image 1]" in seen[0].text
    assert "it speaks of image 1," in seen[1].text


@pytest.mark.parametrize("wrong", [{"template": "{{x}}"}, {"limits": 3}, {"rules": {}}], ids=str)
def test_parts_of_other_types_are_refused(wrong):
    """In the constructor, by name."""
    (name,) = wrong
    with pytest.raises(WrongType, match=name):
        Reflector(Script(), **wrong)

"""A reflection request becomes texts, repairs, problems and a true count of LM calls."""

from __future__ import annotations

import contextvars
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from dspy_gepa.core.candidate import Candidate
from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import (
    Evidence,
    Fault,
    Lesson,
    ReflectionAnswer,
    ReflectionRequest,
    Repair,
    faults_in_words,
)
from dspy_gepa.errors import SettingsError
from dspy_gepa.reflect.exchange import PromptTooLong, Reply
from dspy_gepa.reflect.form import Form
from dspy_gepa.reflect.predicates import (
    TextFacts,
    copies_no_examples,
    keeps_placeholders,
    names_output_fields,
)
from dspy_gepa.reflect.prompt import EvidenceLimits
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.rules import Rules
from dspy_gepa.reflect.templates import ADDITION, TRANSCRIPTION, Template

CANDIDATE = Candidate.of({"label": "Label the message.", "reply": "Reply to it.", "rest": "Rest."})
FIVE = Candidate.of({name: f"Do {name} with \t odd  spaces.\n\nTwice. " for name in "abcde"})
OWN = Template("OWN {{instruction}}\n{{examples}}\n{{lessons}}\n{{form}}")


def rollout(score=0.0, feedback="K3 means refund.", components=("label", "reply")):
    steps = tuple(Step(name, {"message": "refund"}, {name: "K1"}) for name in components)
    return Rollout(score, feedback, trace=Trace({"message": "refund"}, steps=steps))


def request(*components, candidate=CANDIDATE, **more):
    evidence = (Evidence(7, rollout(components=tuple(candidate)[:5])),)
    if candidate is CANDIDATE:
        evidence = (Evidence(7, rollout()),)
    return ReflectionRequest(4, candidate, components, evidence, **more)


def marked(text, component=""):
    named = f' component="{component}"' if component else ""
    return f"<new_text{named}>\n{text}\n</new_text>"


class Script:
    """An LM that gives these replies in order and keeps what it was asked."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.prompts = []

    def __call__(self, prompt):
        self.prompts.append(prompt.text)
        reply = self.replies.pop(0)
        return reply if isinstance(reply, Reply) else Reply(reply)


def one_by_one(lm, **settings):
    """Asks about each component alone, as is asked about small models and descriptions."""
    return Reflector(lm, template=TRANSCRIPTION, is_joint=False, **settings)


def asked_twice(reflector, asked):
    """The first answer, and the second one where something is to be repaired, as a run asks."""
    first = reflector(asked, {}, {})
    if not first.repairs:
        return first, None
    return first, reflector(replace(asked, repairs=first.repairs), {}, {})


def missing(answer):
    """Why texts are missing, in words."""
    return faults_in_words(answer.shortfalls)


def test_one_question_is_about_all_components():
    """A proposal for a program of five predictors is one call, whatever is changed."""
    lm = Script(f"<diagnosis>\nc.\n</diagnosis>\n{marked('Do c well.', 'c')}")
    answer = Reflector(lm)(request(*"abcde", candidate=FIVE), {}, {})
    assert answer == ReflectionAnswer(4, {"c": "Do c well."}, lm_calls=1, diagnosis="c.", naming=1)
    (prompt,) = lm.prompts
    for name, text in FIVE.items():
        assert f"## {name}\n\n{text}" in prompt
    assert "each component that is at fault, of a, b, c, d, e; the others keep" in prompt
    assert prompt.count("message: refund") == 5


def test_innocent_components_keep_their_texts_byte_for_byte():
    """They are no part of the answer, so that the child has what the parent has."""
    lm = Script(marked("Do b well.", "b"))
    answer = Reflector(lm)(request(*"abcde", candidate=FIVE), {}, {})
    child = FIVE.rewritten(answer.texts)
    assert {name for name in FIVE if child[name] != FIVE[name]} == {"b"}
    repeated = Script("\n".join(marked(FIVE[name], name) for name in "abcde"))
    answer = Reflector(repeated)(request(*"abcde", candidate=FIVE), {}, {})
    assert FIVE.rewritten(answer.texts) == FIVE
    assert not answer.repairs


def test_what_is_said_of_one_component_stands_beside_what_is_said_of_the_whole():
    """Under its name, with the description of each."""
    lm = Script("<no_change/>")
    described = {"label": "Fields: message -> label", "reply": "Fields: label -> text"}
    Reflector(lm)(request("label", "reply"), described, {"reply": {7: "Too short."}})
    (prompt,) = lm.prompts
    for shown in ("K3 means refund.", "Feedback on reply:\nToo short.", *described.values()):
        assert shown in prompt


def test_no_change_is_an_answer():
    """It costs one call, has nothing to repair and keeps what was said."""
    lm = Script("<diagnosis>\nThe label of the data is wrong.\n</diagnosis>\n<no_change/>")
    answer = Reflector(lm)(request("label", "reply"), {}, {})
    assert answer == ReflectionAnswer(
        4, lm_calls=1, diagnosis="The label of the data is wrong.", is_unchanged=True
    )


def test_contrasts_and_lessons_are_shown_where_the_question_is_a_diagnosis():
    """What went well, and what became of earlier changes, in words and numbers."""
    lessons = (
        Lesson(2, ("label",), "K1 is the rest", True, gained=3, lost=1, examples=8),
        Lesson(3, ("label", "reply"), "", False, gained=0, lost=0, examples=0),
    )
    asked = request(
        "label",
        "reply",
        contrasts=tuple(Evidence(n, rollout(1.0, f"Fine {n}.")) for n in range(20, 28)),
        lessons=lessons,
    )
    lm = Script("<no_change/>")
    Reflector(lm)(asked, {}, {})
    (prompt,) = lm.prompts
    assert (
        '- Change 2 of label: "K1 is the rest". Kept: of 8 examples 3 came out better, 1 worse.\n'
        "- Change 3 of label, reply: Dropped.\n"
    ) in prompt
    assert prompt.count("score 1, right") == 3
    alone = Script(marked("Label K3."))
    one_by_one(alone)(replace(asked, components=("label",)), {}, {})
    assert "score 1" not in alone.prompts[0]
    assert "Change 2" not in alone.prompts[0]


@pytest.mark.parametrize("is_joint", [True, False])
def test_lessons_and_form_reach_a_template_that_asks_for_them(is_joint):
    """Whoever writes the template decides what is shown."""
    lm = Script(marked("Label K3."))
    lessons = (Lesson(2, ("label",), "K1 is the rest", True, 3, 1, 8),)
    asked = request("label", lessons=lessons)
    Reflector(lm, template=OWN, is_joint=is_joint)(asked, {}, {})
    (prompt,) = lm.prompts
    assert "K1 is the rest" in prompt
    assert ("<diagnosis>" in prompt) == is_joint
    assert "<new_text>\n(the whole new text)\n</new_text>" in prompt


class Meeting:
    """An LM that answers when so many have asked it, each by its own component."""

    def __init__(self, count):
        self.barrier = threading.Barrier(count, timeout=60)
        self.prompts = []
        self.seen = []

    def __call__(self, prompt):
        self.seen.append(PLACE.get())
        self.barrier.wait()
        self.prompts.append(prompt.text)
        return Reply(marked(f"New, {len(prompt.text)}."))


PLACE = contextvars.ContextVar("place", default="elsewhere")


def test_several_questions_are_asked_side_by_side_in_the_callers_context():
    """A component with a template of its own is asked about alone, the others together."""
    lm = Meeting(3)
    reflector = Reflector(lm, templates={"a": OWN, "d": OWN})
    PLACE.set("here")
    answer = reflector(request("a", "b", "d", candidate=FIVE), {}, {})
    assert answer.lm_calls == 3
    assert sorted(answer.texts) == ["a", "b", "d"]
    assert lm.seen == ["here"] * 3
    own = sorted(prompt.split("\n")[0] for prompt in lm.prompts if prompt.startswith("OWN"))
    assert own == ["OWN Do a with \t odd  spaces.", "OWN Do d with \t odd  spaces."]
    (joint,) = [prompt for prompt in lm.prompts if not prompt.startswith("OWN")]
    assert "Do b with" in joint
    assert "Do a with" not in joint


def test_a_style_without_a_joint_question_asks_once_a_component_side_by_side():
    """Every text in its own answer, in the order of the components."""
    lm = Meeting(2)
    answer = one_by_one(lm)(request("label", "reply"), {}, {})
    assert list(answer.texts) == ["label", "reply"]
    assert answer.lm_calls == 2


def test_an_unreadable_reply_is_to_be_repaired():
    """The first answer says what is wrong; the second question is about that reply alone."""
    lm = Script("I'm sorry, I can't help with that.", marked("Label K3."))
    first, second = asked_twice(Reflector(lm), request("label"))
    problem = "no new text stands between <new_text> and </new_text>"
    reply = "I'm sorry, I can't help with that."
    repair = Repair(("label",), reply, (Fault(("label",), problem),))
    assert first == ReflectionAnswer(4, lm_calls=1, repairs=(repair,))
    assert second == ReflectionAnswer(4, {"label": "Label K3."}, lm_calls=1, is_repair=True)
    question = lm.prompts[1]
    for shown in (f"- {problem}\n", reply, "## label\n\nLabel the message.", "<no_change/>"):
        assert shown in question
    assert "K3 means refund." not in question
    assert len(question) < len(lm.prompts[0]) / 2


EDIT = '<edit component="label">\n<old>\n{}\n</old>\n<new>\nK3\n</new>\n</edit>'


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (EDIT.format("Name"), "label: edit 1: «Name» is not in the text"),
        (EDIT.format("Label a message."), "the nearest is «Label the message.»"),
        (EDIT.format("e"), "label: edit 1: «e» stands 4 times in the text; take more"),
        (EDIT.format("Label")[:-8], "label: the mark <edit> is not closed"),
        (marked("K3", "rest"), "a block names no component; there are label, reply"),
        (marked("K3."), "a block names no component; there are label, reply"),
        (marked("...", "reply"), "reply: there is no word in it"),
        (f"{marked('K3.', 'label')}\n<no_change/>", "it has <no_change/> and new texts as well"),
    ],
)
def test_a_repair_is_told_the_exact_reason(reply, reason):
    """In a line of its own, with the component that it is about."""
    lm = Script(reply, "<no_change/>")
    first, _ = asked_twice(Reflector(lm), request("label", "reply"))
    assert reason in faults_in_words(first.repairs[0].faults)
    assert any(line.startswith("- ") and reason in line for line in lm.prompts[1].splitlines())


NAMELESS = (
    "<new_text>\n{}\n</new_text>",
    '{{"new_instruction": "{}"}}',
    "```\n{}\n```",
    "<improved>\n{}\n</improved>",
)
KEPT = "Label the message. Reply to it. K3."
"""A text that goes on from either of the current ones."""


@pytest.mark.parametrize("text", NAMELESS)
def test_a_text_that_is_nobodys_is_asked_about_once_and_stays_a_slip_if_it_is_named_then(text):
    """One short call, and the next question is about all components again."""
    lm = Script(text.format(KEPT), marked(KEPT, "label"))
    first, second = asked_twice(Reflector(lm), request("label", "reply"))
    assert [repair.components for repair in first.repairs] == [("label", "reply")]
    assert (first.naming, second.naming, second.lm_calls) == (0, 1, 1)
    assert second.texts == {"label": KEPT}


@pytest.mark.parametrize("text", NAMELESS)
def test_who_names_no_component_when_asked_for_it_is_asked_about_each(text):
    """Such a model answers one question with one text; whose it is, is then known."""
    lm = Script(*[text.format(KEPT)] * 4)
    first, second = asked_twice(Reflector(lm), request("label", "reply"))
    assert second.texts == {"label": KEPT, "reply": KEPT}
    assert (first.lm_calls, second.lm_calls, second.after(first).naming) == (1, 3, -1)
    assert "message: refund" not in lm.prompts[1]
    assert all("message: refund" in prompt for prompt in lm.prompts[2:])


@pytest.mark.parametrize("text", NAMELESS)
def test_where_calls_count_the_second_one_is_about_one_component(text):
    """It gives a text more surely than the name of one; each question is asked about once more."""
    lm = Script(*[text.format(KEPT)] * 2)
    first, second = asked_twice(Reflector(lm, counts_calls=True), request("label", "reply"))
    assert [repair.components for repair in first.repairs] == [("label",)]
    assert second.texts == {"label": KEPT}
    assert (first.naming, second.lm_calls, second.shortfalls) == (-1, 1, ())


@pytest.mark.parametrize(
    ("counts", "asked"), [(True, [("label",)]), (False, [("label",), ("reply",)])]
)
def test_who_is_asked_apart_is_asked_once_more_as_anybody_is(counts, asked):
    """A text in a form of its own is compared with the current one as always."""
    lm = Script(*["```\nOops: 502 gateway error, try later again.\n```"] * 4)
    reflector = Reflector(lm, counts_calls=counts)
    first = reflector(request("label", "reply", asks_apart=True), {}, {})
    assert (first.texts, first.naming) == ({}, 0)
    assert [repair.components for repair in first.repairs] == asked
    assert len(lm.prompts) == len(asked)


@pytest.mark.parametrize(
    "reply",
    ["I can't help.", "", '{"label": "", "x": "K3"}', marked("K3.", "label"), "<no_change/>"],
)
def test_who_says_nothing_or_names_one_does_not_count_as_naming_none(reply):
    """Nor where nothing comes after it."""
    first, second = asked_twice(Reflector(Script(reply, "Hm.")), request("label", "reply"))
    said = second.after(first) if second else first
    assert said.naming == ("K3." in reply)


def test_a_component_asked_about_apart_changes_with_the_proposal():
    """So that all have their turn where calls count."""
    reflector = Reflector(Script(*[marked("K3.")] * 4), counts_calls=True)
    asked = request("label", "reply", asks_apart=True)
    texts = [reflector(replace(asked, ticket=ticket), {}, {}).texts for ticket in range(4)]
    assert [list(one) for one in texts] == [["label"], ["reply"]] * 2


def test_every_reason_is_a_line_of_its_own():
    """Whatever it quotes."""
    said = f"{EDIT.format('no; such words')}\n{marked('...', 'reply')}"
    lm = Script(said, "<no_change/>")
    asked_twice(Reflector(lm), request("label", "reply"))
    assert (
        "\n\n- label: edit 1: «no; such words» is not in the text\n"
        "- reply: there is no word in it\n\n"
    ) in lm.prompts[1]


def test_of_a_reply_in_parts_the_good_blocks_are_kept():
    """They need not be given again, and are used with what the repair gives."""
    half = EDIT.format("nowhere").replace("label", "reply")
    lm = Script(f"{marked('Label K3.', 'label')}\n{half}", marked("Say K3.", "reply"))
    first, second = asked_twice(Reflector(lm), request("label", "reply"))
    assert first.texts == {"label": "Label K3."}
    assert [fault.components for fault in first.repairs[0].faults] == [("reply",)]
    whole = second.after(first)
    assert whole.texts == {"label": "Label K3.", "reply": "Say K3."}
    assert whole.shortfalls == ()


def test_a_repair_may_say_that_nothing_is_to_be_changed():
    """Then good blocks of the first reply stand for themselves."""
    _, second = asked_twice(Reflector(Script("Hm.", "<no_change/>")), request("label"))
    assert second.is_unchanged
    assert (second.texts, missing(second)) == ({}, "")
    half = f"{marked('Label K3.', 'label')}\n{marked('...', 'reply')}"
    first, second = asked_twice(Reflector(Script(half, "<no_change/>")), request("label", "reply"))
    whole = second.after(first)
    assert whole.texts == {"label": "Label K3."}
    assert not whole.is_unchanged
    assert not whole.shortfalls


GOOD_AND_EMPTY = f"{marked('Label K3.', 'label')}\n{marked('...', 'reply')}"


@pytest.mark.parametrize(
    ("second_reply", "reason"),
    [
        ("Hm.", "no new text stands between <new_text> and </new_text>"),
        ("", "it is empty"),
        (marked("!", "reply"), "there is no word in it"),
        (f"{marked('A.', 'reply')}\n{marked('B.', 'reply')}", "there are several new texts for it"),
        (f"{marked('A.', 'reply')}\n<no_change/>", "it has <no_change/> and new texts as well"),
        ("<think>\nHm.", "it was cut off while it was still reasoning"),
        (marked("Say K3.", "other"), "a block names no component; there are label, reply"),
    ],
)
def test_what_was_good_stays_whatever_becomes_of_the_repair(second_reply, reason):
    """And whose text is missing is told, with the newest reason."""
    lm = Script(GOOD_AND_EMPTY, second_reply)
    first, second = asked_twice(Reflector(lm), request("label", "reply"))
    whole = second.after(first)
    assert whole.texts == {"label": "Label K3."}
    (fault,) = whole.shortfalls
    assert fault.components == ("reply",)
    assert fault.reason.startswith(f"the reply could not be used: {reason}")
    assert (second.lm_calls, second.repairs) == (1, ())


def test_what_a_repair_says_nothing_of_is_at_fault_as_before():
    """Of three texts one is mended, one was good, and one stays as it was."""
    three = [marked("Do a well.", "a"), marked("...", "b"), marked("...", "c")]
    lm = Script("\n".join(three), marked("Do b well.", "b"))
    first, second = asked_twice(Reflector(lm), request("a", "b", "c", candidate=FIVE))
    whole = second.after(first)
    assert whole.texts == {"a": "Do a well.", "b": "Do b well."}
    assert whole.shortfalls == (Fault(("c",), "there is no word in it"),)


def test_what_is_unclear_as_a_whole_gives_no_text():
    """Where marks contradict each other, none of the texts can be told to be meant."""
    for unclear in (f"{marked('K3.', 'label')}\n<no_change/>", f"{GOOD_AND_EMPTY}\n</new_text>"):
        first, second = asked_twice(Reflector(Script(unclear, "Hm.")), request("label", "reply"))
        whole = second.after(first)
        assert whole.texts == {}
        assert missing(whole).startswith("label, reply: the reply could not be used: no new text")


def test_a_text_that_changes_nothing_does_not_hide_that_another_is_missing():
    """In a repair, too, a problem is told."""
    lm = Script("Hm.", f"{marked('Label the message.', 'label')}\n{marked('...', 'reply')}")
    _, second = asked_twice(Reflector(lm), request("label", "reply"))
    assert missing(second) == "reply: the reply could not be used: there is no word in it"


def test_questions_are_repaired_each_on_its_own_side_by_side():
    """What one of them gave needs no second question."""
    replies = {"OWN Do a": ["Hm.", marked("A.")], "OWN Do b": [marked("B.")]}

    def lm(prompt):
        own = [key for key in replies if prompt.text.startswith(key)]
        return Reply(replies[own[0] if own else "OWN Do a"].pop(0))

    reflector = Reflector(lm, templates=dict.fromkeys("ab", OWN))
    first, second = asked_twice(reflector, request("a", "b", candidate=FIVE))
    assert (first.texts, first.lm_calls) == ({"b": "B."}, 2)
    assert [repair.components for repair in first.repairs] == [("a",)]
    assert (second.texts, second.lm_calls) == ({"a": "A."}, 1)
    assert second.after(first).texts == {"a": "A.", "b": "B."}


def test_a_component_without_evidence_costs_no_call():
    """Nothing is asked where there is nothing to show."""
    answer = Reflector(Script())(request("rest"), {}, {})
    assert answer.lm_calls == 0
    assert answer.faults == (Fault(("rest",), "no rollout of the evidence called it"),)


def test_a_text_too_long_for_the_prompt_costs_no_call():
    """An instruction that leaves no room is a problem, not a cut prompt."""
    long = Candidate.of({"label": "x" * 4_000})
    reflector = Reflector(Script(), limits=EvidenceLimits(prompt_characters=4_000))
    answer = reflector(request("label", candidate=long), {}, {})
    assert answer.lm_calls == 0
    assert "label: the current instruction has 4,000 characters" in missing(answer)


def test_a_prompt_that_turns_out_too_long_is_halved_until_it_is_read():
    """Where nobody knows beforehand how much the model can read: once in place of a repair, so
    that no question takes more calls than are held for it, and in all that follows."""
    steps = (Step("label", {"message": "x" * 9_000}, {"label": "K1"}),)
    evidence = tuple(
        Evidence(n, Rollout(0.0, f"F{n}.", trace=Trace(steps=steps))) for n in range(5)
    )
    asked = ReflectionRequest(4, CANDIDATE, ("label",), evidence)
    sizes = []

    def small(prompt):
        sizes.append(len(prompt.text))
        if len(prompt.text) > 12_000:
            raise PromptTooLong("at most 3,000 tokens")
        assert all(f"F{n}." in prompt.text for n in range(5))
        return Reply(marked("Label K3."))

    reflector = Reflector(small)
    with pytest.raises(PromptTooLong):
        reflector(asked, {}, {})
    assert len(sizes) == 2
    answer = reflector(asked, {}, {})
    assert answer.texts == {"label": "Label K3."}
    assert answer.lm_calls == 1
    assert len(sizes) == 3
    assert all(later <= earlier // 2 for earlier, later in pairwise(sizes))
    # Another process is told by the run what it has learned.
    sizes.clear()
    again = Reflector(small)(replace(asked, room=answer.room), {}, {})
    assert (again.texts, again.room) == (answer.texts, answer.room)
    assert len(sizes) == 1


def test_who_can_read_no_prompt_at_all_is_told():
    """Below a few thousand characters nothing useful can be asked."""

    def none(prompt):
        raise PromptTooLong("at most 10 tokens")

    with pytest.raises(PromptTooLong, match="10 tokens"):
        Reflector(none)(request("label"), {}, {})


def test_edits_are_offered_where_a_text_is_long_and_never_for_additions():
    """A short text is soon written whole."""
    long = Candidate.of({"label": "Label the message. " * 200, "reply": "Reply to it."})
    for names, candidate, is_offered in (
        (["label"], CANDIDATE, False),
        (["label"], long, True),
        (["label", "reply"], long, True),
        (["reply"], long, False),
    ):
        lm = Script("<no_change/>")
        asked = replace(request(*names), candidate=candidate)
        Reflector(lm)(asked, {}, {})
        assert ("<old>" in lm.prompts[0]) == is_offered
    lm = Script(marked("K3."))
    one_by_one(lm, adds=True)(replace(request("label"), candidate=long), {}, {})
    assert "<old>" not in lm.prompts[0]


@pytest.mark.parametrize("where", ["instruction", "input", "contrast"])
def test_where_a_text_of_the_prompt_holds_our_marks_they_have_a_number(where):
    """And a reply with the plain ones says what to write, as the form does."""
    said = "Answer between <new_text> and </new_text>."
    candidate = CANDIDATE.rewritten({"label": said}) if where == "instruction" else CANDIDATE
    run = Rollout(0.0, trace=Trace(steps=(Step("label", {"m": said}, {}),)))
    asked = replace(
        request("label", candidate=candidate),
        evidence=(Evidence(7, run if where == "input" else rollout()),),
        contrasts=(Evidence(8, replace(run, score=1.0)),) if where == "contrast" else (),
    )
    numbered = f"<new_text_2>\n{said} Say K3.\n</new_text_2>"
    lm = Script(numbered)
    answer = Reflector(lm)(asked, {}, {})
    assert answer.texts == {"label": f"{said} Say K3."}
    assert "<new_text_2>\n(the whole new text)\n</new_text_2>" in lm.prompts[0]
    assert "<no_change_2/>" in lm.prompts[0]


def test_marks_of_a_repair_are_those_that_its_question_shows():
    """Also where the first question had numbered ones."""
    run = Rollout(0.0, trace=Trace(steps=(Step("label", {"m": "</new_text>"}, {}),)))
    asked = replace(request("label"), evidence=(Evidence(7, run),))
    prompts = []

    def obedient(prompt):
        prompts.append(prompt.text)
        form = prompt.text.rsplit("\n\n", 1)[1]
        return Reply("Hm." if len(prompts) == 1 else form.replace("(the whole new text)", "K3."))

    _, second = asked_twice(Reflector(obedient), asked)
    assert second.texts == {"label": "K3."}
    assert "<new_text_2>" in prompts[0]


def test_a_text_that_breaks_a_rule_is_to_be_repaired():
    """The rules are told beforehand, the repair says which one was broken."""
    lm = Script(marked("Label it."), marked("Label the message, K3 for refunds."))
    rules = Rules(frozen={"label": ["the message"]}, constraints=["Be polite."])
    first, second = asked_twice(Reflector(lm, rules=rules), request("label"))
    assert first.lm_calls == second.lm_calls == 1
    assert second.texts == {"label": "Label the message, K3 for refunds."}
    assert '- Be polite.\n- Repeat this part to the character: "the message"\n' in lm.prompts[0]
    assert 'it has the fixed part "the message" 0 times' in lm.prompts[1]


def test_limits_of_several_components_name_whose_they_are():
    """What is for all of them is said once, without a name."""
    lm = Script("<no_change/>")
    rules = Rules(frozen={"label": ["the message"]}, constraints=["Be polite."])
    Reflector(lm, rules=rules)(request("label", "reply"), {}, {})
    assert (
        '- Be polite.\n- label: Repeat this part to the character: "the message"\n\n'
    ) in lm.prompts[0]


def test_a_text_that_breaks_a_rule_twice_is_a_problem():
    """It is never proposed."""
    lm = Script(marked("Label it."), marked("Label it K3."))
    reflector = Reflector(lm, rules=Rules(frozen={"*": ["the message"]}))
    _, second = asked_twice(reflector, request("label"))
    assert second.texts == {}
    assert missing(second).startswith("label: the new text was refused: it has the fixed part")


def test_a_text_that_no_program_says_is_to_be_repaired():
    """What comes back is what a program says, and the rules are about that."""

    def shouted(component, text):
        if "sh" in text:
            raise SettingsError(f"{component} does not whisper")
        return text.upper()

    lm = Script(marked("Label K3, sh."), marked("Label it."), marked("Label K3."))
    rules = Rules(frozen={"label": ["LABEL"]}, normalised=shouted)
    current = Candidate.of({**CANDIDATE, "label": "LABEL IT."})
    _, second = asked_twice(Reflector(lm, rules=rules), request("label", candidate=current))
    assert "label does not whisper" in lm.prompts[1]
    assert second.texts == {"label": "LABEL IT."}
    again = Reflector(lm, rules=rules)(request("label", candidate=current), {}, {})
    assert again.texts == {"label": "LABEL K3."}


def test_a_text_that_copies_an_example_is_a_text_like_any_other():
    """A policy, a schema or a code that the feedback quotes may well be the instruction."""
    policy = "Refunds are paid within thirty days to the card that was used, never in cash, and K3."
    new = f"Rate {{user}}. {policy}"
    asked = replace(
        request("label", candidate=CANDIDATE.rewritten({"label": "Fill `label` from {message}."})),
        evidence=(Evidence(7, rollout(feedback=f"Wrong, because {policy}")),),
    )
    assert Reflector(Script(marked(new)))(asked, {}, {}).texts == {"label": new}


PREDICATES = (keeps_placeholders, names_output_fields, copies_no_examples(8))


@pytest.mark.parametrize("count", range(len(PREDICATES) + 1))
@pytest.mark.parametrize("settings", [{}, {"template": TRANSCRIPTION, "is_joint": False}])
def test_who_does_what_the_prompt_says_is_never_refused(count, settings):
    """Prompt and checks agree: what is refused was told, and what is told is enough."""
    remark = "The word for a refund is K3, and nobody has ever said anything else about it."
    current = "Fill `label` from {message}, at most one word. Stop."
    rules = Rules(
        frozen={"label": ["at most one word", "Stop."]},
        max_instruction_tokens=60,
        predicates=PREDICATES[:count],
    ).with_facts(TextFacts({"label": ["label"]}, lambda: [remark]))
    told = []

    def obedient(prompt):
        limits = prompt.text.split("# Limits that the new instruction has to keep to")[1]
        told.extend(line for line in limits.split("\n\n")[1].splitlines() if line)
        said = {
            "Repeat this part": ["at most one word", "Stop."],
            "Keep these placeholders": ["{message}"],
            "Keep naming these output fields": ["the field `label`"],
        }
        kept = [part for rule, parts in said.items() if rule in limits for part in parts]
        copied = [] if "Copy no" in limits else [remark]
        return Reply(marked(" ".join(["Say K3.", *kept, *copied])))

    asked = request("label", candidate=CANDIDATE.rewritten({"label": current}))
    asked = replace(asked, evidence=(Evidence(7, rollout(feedback=remark)),))
    answer = Reflector(obedient, rules=rules, **settings)(asked, {}, {})
    assert (answer.repairs, missing(answer)) == ((), "")
    assert "label" in answer.texts
    assert len(told) == 3 + count


OBEDIENT_STYLES = {
    "diagnose": {},
    "transcribe": {"template": TRANSCRIPTION, "is_joint": False},
    "append": {"template": ADDITION, "is_joint": False, "adds": True},
}


@pytest.mark.parametrize("settings", OBEDIENT_STYLES.values(), ids=OBEDIENT_STYLES)
@pytest.mark.parametrize("components", [("label",), ("label", "reply")], ids=["one", "two"])
@pytest.mark.parametrize("filler", ["", "Mind the tone. " * 200], ids=["short", "long"])
@pytest.mark.parametrize("example", ["", "Answer as\n<new_text>\nx\n</new_text>\nand stop."])
def test_who_changes_one_rule_in_the_form_that_is_shown_is_never_refused(
    settings, components, filler, example
):
    """In either style and in parts that are added; by edits where they are shown, of one component
    or of several, and of texts that hold the marks themselves."""
    rule, better = "A refund is K1.", "A refund is K3."
    current = f"Fill `out` from {{message}}.\n{filler}\n{rule} Stop.\n{example}".strip()
    rules = Rules(frozen={"*": ["Stop."]}, predicates=PREDICATES).with_facts(
        TextFacts({name: ["out"] for name in components}, lambda: ["K3 means refund."])
    )

    def obedient(prompt):
        shown = prompt.text.rpartition("Answer in")[2]
        form = next(form for form in map(Form, range(1, 9)) if form.names[1] + ">" in shown)
        tag = form.names[2 if "<old>" in shown else 1]
        pair = f"<old>\n{rule}\n</old>\n<new>\n{better}\n</new>"
        whole = better if "adds" in settings else current.replace(rule, better)
        text = pair if "<old>" in shown else whole
        named = [f' component="{name}"' for name in components if f'"{name}"' in shown]
        named = [f' component="{name}"' for name in components] if named else [""]
        return Reply("\n".join(f"<{tag}{whose}>\n{text}\n</{tag}>" for whose in named))

    candidate = CANDIDATE.rewritten(dict.fromkeys(components, current))
    answer = Reflector(obedient, rules=rules, **settings)(
        request(*components, candidate=candidate), {}, {}
    )
    assert (answer.repairs, missing(answer)) == ((), "")
    wanted = f"{current}\n\n{better}" if "adds" in settings else current.replace(rule, better)
    assert answer.texts == dict.fromkeys(components, wanted)


@pytest.mark.parametrize("predicate", PREDICATES, ids=lambda one: type(one).__name__)
def test_what_a_check_refuses_was_told_beforehand(predicate):
    """In the first question, and again with the reason in the second."""
    remark = "The word for a refund is K3, and nobody has ever said anything else about it."
    rules = Rules(predicates=[predicate]).with_facts(
        TextFacts({"label": ["label"]}, lambda: [remark])
    )
    current = "Fill `label` from {message}."
    lm = Script(marked(remark), "<no_change/>")
    asked = request("label", candidate=CANDIDATE.rewritten({"label": current}))
    first, _ = asked_twice(Reflector(lm, rules=rules), asked)
    (told,) = rules.told("label", current)
    assert f"- {told}\n" in lm.prompts[0]
    ((fault,),) = [repair.faults for repair in first.repairs]
    assert fault.reason.startswith("the new text was refused: ")
    assert f"- {fault.reason}\n" in lm.prompts[1]


def test_who_repeats_the_text_is_asked_for_an_addition_without_it():
    """A small model that sees its text again repeats it again; nothing of that text is lost."""
    lm = Script(marked("Label the message."), marked("Label it K3 for refunds."))
    first, second = asked_twice(one_by_one(lm), request("label"))
    assert first.texts == {}
    assert second.texts == {"label": "Label the message.\n\nLabel it K3 for refunds."}
    assert "Label the message." in lm.prompts[0]
    assert "Label the message." not in lm.prompts[1]
    assert "K3 means refund." in lm.prompts[1]
    assert "could not be used" not in lm.prompts[1]


def test_a_diagnosis_that_repeats_the_text_is_taken_at_its_word():
    """A strong model that changes nothing means it."""
    answer = Reflector(Script(marked("Label the message.")))(request("label"), {}, {})
    assert (answer.texts, answer.repairs) == ({"label": "Label the message."}, ())


def test_what_is_added_is_held_to_the_limits_of_the_whole():
    """Frozen parts stay once, and the room that is told is what the current text leaves."""
    lm = Script(marked("Label the message."), marked("Label refunds K3."))
    rules = Rules(frozen={"label": ["the message"]}, max_instruction_tokens=40, count_tokens=len)
    _, second = asked_twice(one_by_one(lm, rules=rules), request("label"))
    assert second.texts == {"label": "Label the message.\n\nLabel refunds K3."}
    assert "Write at most 22 tokens" in lm.prompts[1]
    longer = Script(marked("Label the message."), marked("Label refunds K3 and returns K4."))
    _, second = asked_twice(one_by_one(longer, rules=rules), request("label"))
    assert "it has 52 tokens and at most 40 are allowed" in missing(second)


@pytest.mark.parametrize("again", [" Label the message.", "the message"])
def test_who_has_nothing_to_add_changes_nothing(again):
    """A text that comes twice, but for outer white space or in part, is the current one."""
    lm = Script(marked("\nLabel the message. \n"), marked(again))
    _, second = asked_twice(one_by_one(lm), request("label"))
    assert second.texts == {"label": "Label the message."}
    assert not missing(second)


@pytest.mark.parametrize("own", [{}, {"label": OWN}])
def test_whether_a_text_is_added_does_not_hang_on_the_template(own):
    """The current text stays, and in a repair too lines to be added are asked for."""
    lm = Script("", marked("K3 means refund."))
    reflector = Reflector(lm, template=ADDITION, is_joint=False, adds=True, templates=own)
    _, second = asked_twice(reflector, request("label"))
    assert second.texts == {"label": "Label the message.\n\nK3 means refund."}
    assert "(the lines to be added)" in lm.prompts[0]
    assert "(the lines to be added)" in lm.prompts[1]


def test_a_reply_that_the_server_cut_off_is_told_so():
    """What to do is said: a shorter one."""
    lm = Script(Reply("Label K3 for", is_truncated=True), marked("Label K3."))
    _, second = asked_twice(Reflector(lm), request("label"))
    assert second.texts == {"label": "Label K3."}
    assert "- it was cut off, so it has to be shorter\n" in lm.prompts[1]


def test_prompts_and_repairs_keep_the_limit():
    """However long the evidence and the reply are."""
    steps = (Step("label", {"message": "x" * 9_000}, {"label": "K1"}),)
    evidence = tuple(
        Evidence(n, Rollout(0.0, "f" * 900, trace=Trace(steps=steps))) for n in range(9)
    )
    lm = Script("Hm. " * 9_000, "")
    reflector = Reflector(lm, limits=EvidenceLimits(prompt_characters=6_000))
    asked_twice(reflector, ReflectionRequest(1, CANDIDATE, ("label",), evidence))
    assert len(lm.prompts) == 2
    assert all(len(prompt) <= 6_000 for prompt in lm.prompts)


def test_what_the_lm_raises_is_passed_on():
    """A broken LM is not a problem of the text, alone or side by side."""

    def broken(prompt):
        raise ConnectionError("no server")

    for reflector in (Reflector(broken), one_by_one(broken)):
        with pytest.raises(ConnectionError, match="no server"):
            reflector(request("label", "reply"), {}, {})


def test_guidance_and_references_reach_every_prompt():
    """A component's own template replaces the common one for it alone."""
    own = Template("OWN {{guidance}} {{instruction}} {{examples}}")
    prompts = []

    def lm(prompt):
        prompts.append(prompt.text)
        return Reply(marked("New."))

    Reflector(
        lm,
        template=Template("COMMON {{instruction}} {{examples}}"),
        templates={"reply": own},
        guidance="Prefer short rules.",
        references={"Style": "Say please."},
    )(request("label", "reply"), {}, {})
    common, alone = sorted(prompts)
    assert common.startswith("COMMON Label the message.")
    assert alone.startswith("OWN \n# Words of the program's author\n\nPrefer short rules.")
    for prompt in prompts:
        assert "Prefer short rules." in prompt
        assert "## Style\n\nSay please." in prompt


def test_media_go_beside_the_prompt_and_never_into_the_text():
    """What the metric attached is shown, and a text that speaks of it is refused."""
    picture = object()
    trace = Trace(steps=(Step("label", {"message": "refund", "scan": picture}, {"label": "K1"}),))
    run = Rollout(0.0, "See the map.", attachments={"map": picture}, trace=trace)
    seen = []

    def lm(prompt):
        seen.append(prompt)
        return Reply(marked("Look at [image 1]." if len(seen) == 1 else "Look at the scan."))

    kind = {id(picture): "image"}
    reflector = Reflector(lm, media_kind=lambda value: kind.get(id(value), ""))
    asked = ReflectionRequest(4, CANDIDATE, ("label",), (Evidence(7, run),))
    first, second = asked_twice(reflector, asked)
    assert first.texts == {}
    assert second.texts == {"label": "Look at the scan."}
    assert [prompt.media for prompt in seen] == [(("[image 1]", picture),), ()]
    assert "scan: [image 1]" in seen[0].text
    assert "With the feedback:\nmap: [image 1]" in seen[0].text
    assert "it speaks of image 1," in seen[1].text

"""Replies of every shape are read, or it is said why nobody can tell what they give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dspy_gepa.reflect.form import Form
from dspy_gepa.reflect.reply import Reading, read_reply, unusable

CORPORA = sorted((Path(__file__).parents[2] / "benchmarks").glob("reply_shapes*.json"))
WRONG = {"reply_shapes": 12, "reply_shapes_6": 6}
"""How many of a corpus become a wrong text at most; of the others, one."""
ONE = {"label": "Label it."}
TWO = {"label": "Label it.", "reply.predict": "Reply to it.\nBe brief."}
TEXT = "Read the message.\nAnswer K3 for a refund, K1 otherwise."
NESTED = 'Use this form:\n```json\n{"label": "{x}"}\n```\n[[ ## label ## ]]\n{{examples}}'
DIAGNOSIS = "<diagnosis>\nIt does not know K3.\n</diagnosis>\n"


def marked(text, component="", tag="new_text"):
    named = f' component="{component}"' if component else ""
    return f"<{tag}{named}>\n{text}\n</{tag}>"


def pair(old, new):
    return f"<old>\n{old}\n</old>\n<new>\n{new}\n</new>"


def edit(old, new, component=""):
    return marked(pair(old, new), component, "edit")


def fenced(texts):
    return "\n\n".join(f"By {name}:\n```\n{text}\n```" for name, text in texts.items())


OF_ONE = {
    "marks": marked(TEXT),
    "marks with the name": marked(TEXT, "label"),
    "name in single quotes": marked(TEXT).replace("text>", "text component='label'>", 1),
    "name without quotes": marked(TEXT).replace("text>", "text component=label>", 1),
    "name in escaped quotes": marked(TEXT).replace("text>", 'text component=\\"label\\">', 1),
    "diagnosis before, lesson after": f"{DIAGNOSIS}{marked(TEXT)}\n<lesson>\nK3.\n</lesson>",
    "talk around": f"Sure! Here you go:\n\n{marked(TEXT)}\n\nI hope it helps.",
    "marks in one line": f"<new_text>{TEXT}</new_text>",
    "marks decorated": f"**<new_text>**\n{TEXT}\n**</new_text>**",
    "marks as code": f"`<new_text>`\n{TEXT}\n`</new_text>`",
    "marks in upper case": f"<NEW_TEXT>\n{TEXT}\n</New_Text>",
    "marks indented": f"  <new_text>\n{TEXT}\n  </new_text>  ",
    "line ends of Windows": marked(TEXT).replace("\n", "\r\n"),
    "line ends of an old Mac": marked(TEXT).replace("\n", "\r"),
    "blank lines around": marked(f"\n \n{TEXT}\n\n"),
    "marks within a fence": f"```xml\n{marked(TEXT)}\n```",
    "a fence within the marks": marked(f"```text\n{TEXT}\n```"),
    "CDATA": marked(f"<![CDATA[\n{TEXT}\n]]>"),
    "marks twice around": marked(marked(TEXT)),
    "marks spoken of before": f"I write between <new_text> and </new_text>:\n{marked(TEXT)}",
    "the same text twice": f"{marked(TEXT)}\nOnce more:\n{marked(TEXT)}",
    "the form first": f"{marked('(the whole new text)')}\nFilled in:\n{marked(TEXT)}",
    "reasoning before": f"<think>\nHm, <new_text> then?\n</think>\n\n{marked(TEXT)}",
    "a draft in reasoning": f"<think>{marked('No.')}</think>{marked(TEXT)}",
    "reasoning opened by the server": f"First, a draft.\n</think>\n\n{marked(TEXT)}",
    "a draft in reasoning opened by the server": f"{marked('No.')}\nHm.\n</think>\n{marked(TEXT)}",
    "reasoning with a name space": f"<seed:think>Hm.</seed:think>{marked(TEXT)}",
    "reasoning in brackets": f"[THINK]Hm.[/THINK]{marked(TEXT)}",
    "channels": f"<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>{marked(TEXT)}",
    "the end of a turn": f"{marked(TEXT)}<|im_end|>",
}


@pytest.mark.parametrize("reply", OF_ONE.values(), ids=OF_ONE)
def test_the_text_of_one_component_is_found_in_every_shape_that_can_be_meant(reply):
    """Whole and alone."""
    reading = read_reply(reply, ONE)
    assert (reading.texts, reading.problems) == ({"label": TEXT}, {})
    assert not reading.is_unchanged


IN_OTHER_FORM = {
    "one element of another name": f"Here it is:\n<instruction>\n{TEXT}\n</instruction>\nDone.",
    "one element with a fence in it": f"<prompt>\n```\n{TEXT}\n```\n</prompt>",
    "one fence after analysis": f"By the feedback, K3 is missing.\n\n```\n{TEXT}\n```\nDone.",
    "one long fence": f"````markdown\n{TEXT}\n````",
    "JSON of one field": json.dumps({"new_instruction": TEXT}),
    "JSON by the component's name": json.dumps({"label": TEXT, "why": "K3"}),
    "DSPy's own form": f"[[ ## label ## ]]\n{TEXT}\n\n[[ ## completed ## ]]",
    "JSON with raw line breaks": f'{{"text": "{TEXT}"}}',
    "JSON in a fence": f"Here:\n```json\n{json.dumps({'text': TEXT})}\n```",
}


@pytest.mark.parametrize("reply", IN_OTHER_FORM.values(), ids=IN_OTHER_FORM)
def test_a_text_in_another_form_is_taken_where_it_goes_on_from_the_current_one(reply):
    """Or where nothing but a text was asked for. Else it may be anything: it is asked about."""
    taken = ({"label": TEXT}, {})
    reading = read_reply(reply, {"label": "Read the message. Answer K1."})
    assert (reading.texts, reading.problems) == taken
    reading = read_reply(reply, ONE, in_any_form=True)
    assert (reading.texts, reading.problems) == taken
    unlike = "Say which of the codes of the house it is: K1, K2 or K3."
    assert read_reply(reply, {"label": unlike}).problems


HELPER = "You are a helpful assistant. Answer the question in one short sentence."
KIND = "Be kind to everybody who asks."


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps({"detail": "You are not authorized to use this model. Ask your administrator."}),
        json.dumps({"message": "You are over your quota for this minute; please slow down."}),
        "<response>\nYou are asking me to rewrite an instruction that I cannot see.\n</response>",
    ],
)
def test_the_same_first_words_do_not_make_talk_a_text(reply):
    """Most instructions begin as much else does."""
    assert read_reply(reply, {"label": HELPER}).problems


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (f"```\n{HELPER}\n... (unchanged) ...\nBe brief.\n```", "it leaves a part out"),
        (f"<prompt>\n{HELPER}\n[... rest as it was ...]\n</prompt>", "it leaves a part out"),
        (f"```\n {HELPER}\n-{KIND}\n+Be brief.\n```", "it is a diff"),
    ],
)
@pytest.mark.parametrize("in_any_form", [False, True])
def test_a_text_in_another_form_has_to_be_whole_too(shape, words, in_any_form):
    """As one between the marks has to be."""
    reading = read_reply(shape, {"label": f"{HELPER}\n{KIND}"}, in_any_form=in_any_form)
    assert reading.texts == {}
    assert words in reading.problems["label"]


@pytest.mark.parametrize("head", ["[[ ## new_text ## ]]\n", "new_text: |\n  "])
def test_a_text_at_the_end_of_a_reply_that_was_cut_off_is_no_text(head):
    """Where its form has no end of its own."""
    cut = f"{head}{HELPER} Name the sour"
    assert read_reply(cut, {"label": HELPER}).texts
    reading = read_reply(cut, {"label": HELPER}, is_truncated=True)
    assert reading.problems == {"label": "it was cut off, so it has to be shorter"}


@pytest.mark.parametrize("reply", IN_OTHER_FORM.values(), ids=IN_OTHER_FORM)
def test_a_text_that_goes_on_from_nothing_is_taken_only_where_any_form_was_asked_for(reply):
    """Talk, plans, quotations and answers to the task stand in fences and fields, too. DSPy's short
    default instruction proves nothing of a text. The other text may be shorter than the current
    one."""
    current = {"label": "Given the fields `mail`, produce `code`."}
    assert read_reply(reply, current).problems
    assert read_reply(reply, current, in_any_form=True).texts == {"label": TEXT}
    longer = {"label": "Say which code it is. " * 9}
    assert read_reply(reply, longer, in_any_form=True).texts == {"label": TEXT}


@pytest.mark.parametrize("set_apart", [json.dumps, fenced], ids=["fields", "fences"])
def test_the_current_text_alone_is_to_stay(set_apart):
    """Beside another one it is quoted, whatever is said of it. To give it again is no failure."""
    assert read_reply(set_apart({"text": "Label it."}), ONE).texts == ONE
    both = {"old": "Label it.", "new": "Label it. K3 is a refund."}
    assert read_reply(set_apart(both), ONE).texts == {"label": both["new"]}


@pytest.mark.parametrize("set_apart", [json.dumps, fenced], ids=["fields", "fences"])
@pytest.mark.parametrize("in_any_form", [False, True])
@given(st.lists(st.booleans(), min_size=2, max_size=5))
def test_of_several_texts_the_last_is_taken_if_it_alone_goes_on(set_apart, in_any_form, alike):
    """Reasons and changes come before what they are for; of two drafts nobody can tell which one
    is meant, and what comes after a text says something about it."""
    texts = [
        f"{TEXT}{n}" if each else f"It lacks K{n}, so I add it." for n, each in enumerate(alike)
    ]
    reply = set_apart({f"part {n}": text for n, text in enumerate(texts)})
    is_clear = alike[-1] and sum(alike) == 1
    reading = read_reply(reply, {"label": "Read the message. Answer K1."}, in_any_form=in_any_form)
    assert reading.texts == ({"label": texts[-1]} if is_clear else {})


def test_a_diagnosis_alone_is_no_text_in_any_form():
    """Also where any text is heard: it says what is wrong, and would be run."""
    for said in (json.dumps({"diagnosis": TEXT}), json.dumps({"lesson": TEXT})):
        assert read_reply(said, ONE, in_any_form=True).problems


NO_INSTRUCTIONS = {
    "an answer to the program's task": '{"label": "Q7"}',
    "an answer and why": "```json\n"
    + json.dumps({"reply": "It is K3, as it is a refund."})
    + "\n```",
    "an answer in an element": "<answer>K3</answer>",
    "an answer in a fence": "```\nK3\n```",
    "an error in JSON": '{"detail": "Not Found"}',
    "an error of a gateway": "<html>\n<head><title>502</title></head>\n<body>Bad</body>\n</html>",
    "an error in XML": "<Error><Code>AccessDenied</Code></Error>",
    "an error in a page": "<!doctype html>\n<html>\n<body>\n<p>Wait.</p>\n</body>\n</html>",
    "a trace of calls": '```\nTraceback:\n  File "serve.py", line 8\nOutOfMemory\n```',
    "an element in an element": f"<call>\n<text>\n{TEXT}\n</text>\n</call>",
}


@pytest.mark.parametrize("reply", NO_INSTRUCTIONS.values(), ids=NO_INSTRUCTIONS)
def test_what_is_no_reply_or_an_answer_to_the_task_is_asked_about(reply):
    """No list of tags or phrases tells: it says nothing of what the current text says."""
    current = {"label": "Read the message.\nAnswer with the code of the house that fits it."}
    assert read_reply(reply, current).problems


ASKED = {
    "nothing": ("", "it is empty"),
    "white space": (" \n\t", "it is empty"),
    "a plain text": (TEXT, "no new text stands between <new_text> and </new_text>"),
    "a heading and a text": (f"# New instruction\n\n{TEXT}", "no new text"),
    "a refusal": ("I'm sorry, but I can't assist with that.", "no new text"),
    "a question back": ("Which codes are there?", "no new text"),
    "an announcement": ("Add the following line: K3 is a refund.", "no new text"),
    "no change in words": ("No changes are needed.", "no new text"),
    "two fences": (f"```\n{TEXT}\n```\nor\n```\nLabel K3.\n```", "no new text"),
    "two elements": (f"<old>\nA\n</old>\n<new>\n{TEXT}\n</new>", "no new text"),
    "an element and a fence": (f"<x>\n{TEXT}\n</x>\n```\nLabel K3.\n```", "no new text"),
    "a fence of code": ("```python\nprint('K3')\n```", "no new text"),
    "JSON of two other fields": (json.dumps({"a": TEXT, "b": "K3"}), "no new text"),
    "JSON of a list": (json.dumps([TEXT]), "no new text"),
    "JSON of no text": (json.dumps({"label": [TEXT]}), "no new text"),
    "YAML": ("text: |\n  " + TEXT.replace("\n", "\n  "), "no new text"),
    "a draft left open": (f"<new_text>\nLabel\n\nNo, better:\n{marked(TEXT)}", "is not closed"),
    "a name in other case": (marked(TEXT, "Label"), "names no component; there are label"),
    "the form repeated": (marked("(the whole new text)"), "no new text"),
    "the form repeated without brackets": (marked("The whole new text."), "in place of one"),
    "a placeholder in the marks": (marked("[your text here]"), "such as a line in brackets"),
    "a placeholder in bold": (marked("**[Your new instruction]**"), "no new text"),
    "a placeholder as code": (marked("`<the new text>`."), "no new text"),
    "a placeholder with brackets in it": (marked("[the whole (new) text]"), "no new text"),
    "a placeholder in Chinese": (marked("（新的全文）"), "no new text"),
    "nothing in the marks": (marked(""), "there is no word in it"),
    "dots in the marks": (marked("..."), "there is no word in it"),
    "figures in the marks": (marked("1. 2. 3."), "there is no word in it"),
    "half a character": (marked("Label it \ud83d."), "no valid Unicode"),
    "the mark left open": (f"<new_text>\n{TEXT}", "the mark <new_text> is not closed"),
    "the closing mark cut off": (f"<new_text>\n{TEXT}\n</new_te", "is not closed"),
    "an edit left open": ("<edit>\n<old>\nit\n</old>", "the mark <edit> is not closed"),
    "two texts": (f"{marked('Label K1.')}\n{marked(TEXT)}", "several new texts for it"),
    "reasoning without an end": (f"<think>\nHm.\n{marked(TEXT)}", "still reasoning"),
    "another component": (marked(TEXT, "labels"), "names no component; there are label"),
    "a text and no change": (f"{marked(TEXT)}\n<no_change/>", "<no_change/> and new texts as well"),
    "a diff": (marked("-Label it.\n+Label it K3."), "it is a diff of the current text"),
    "a diff of a place": (marked("@@ -1 +1,2 @@\n Label it.\n+K3 is a refund."), "it is a diff"),
    "a diff without its lines": (marked("@@\n-Label it.\n+Label K3."), "it is a diff"),
    "a diff and how it ends": (marked("-Label it.\n+K3.\n\\ No newline at end"), "it is a diff"),
    "an edit of other words": (edit("Name it", "x"), "edit 1: «Name it» is not in the text"),
    "an edit without parts": (marked("K3", tag="edit"), "edit 1 has no <old> and <new> part"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "reason"), ASKED.values(), ids=ASKED)
def test_of_what_cannot_be_told_the_reason_is_said(reply, reason):
    """In words that the reply's author understands; nothing is guessed, in no language."""
    reading = read_reply(reply, ONE)
    assert reason in "; ".join(reading.problems.values())
    assert not reading.is_unchanged


def test_a_reply_that_the_server_cut_off_is_told_so():
    """Where it gave nothing; what stands whole in its marks is taken all the same."""
    cut = read_reply("The codes are", ONE, is_truncated=True)
    assert cut.problems == {"": "it was cut off, so it has to be shorter"}
    assert read_reply(marked(TEXT), ONE, is_truncated=True).texts == {"label": TEXT}
    half = read_reply(f"```\n{TEXT}\n```\nThis", {"label": TEXT[:17]}, is_truncated=True)
    assert half.texts == {"label": TEXT}


@pytest.mark.parametrize(
    "mark",
    [
        "<no_change/>",
        "<no_change>",
        "<no_change />",
        "**<no_change/>**",
        "<NO_CHANGE/>",
        "<no_change></no_change>",
    ],
)
@pytest.mark.parametrize("current", [ONE, TWO], ids=["one", "several"])
def test_no_change_is_an_answer(mark, current):
    """With a diagnosis or without, for one component as for several."""
    assert read_reply(mark, current) == Reading(is_unchanged=True)
    said = read_reply(f"{DIAGNOSIS}{mark}\n<lesson>\nNone.\n</lesson>", current)
    assert said == Reading(is_unchanged=True, diagnosis="It does not know K3.", lesson="None.")


@pytest.mark.parametrize(
    "mark", ["<no_change/>", "<no_change />", "**<no_change/>**", "<NO_CHANGE>"]
)
def test_no_change_between_the_marks_of_a_text_leaves_that_component(mark):
    """The form shows a place for each component's text, so it may stand there for one of them."""
    alone = read_reply(f"<diagnosis>\nIt is right.\n</diagnosis>\n{marked(mark)}", ONE)
    assert (alone.texts, alone.problems, alone.is_unchanged) == ({}, {}, True)
    first, second = TWO
    both = read_reply(f"{marked(mark, first)}\n{marked(TEXT, second)}", TWO)
    assert (both.texts, both.problems, both.is_unchanged) == ({second: TEXT}, {}, False)
    quoted = f"Answer {mark} if nothing is wrong."
    assert read_reply(marked(quoted), ONE).texts == {"label": quoted}


def test_the_words_of_diagnosis_and_lesson_are_kept_and_never_needed():
    """Without the lines around them; the text stands for itself."""
    reply = f"<diagnosis>\n\n K3 is\nmissing. \n</diagnosis>\n{marked(TEXT)}"
    assert read_reply(reply, ONE) == Reading({"label": TEXT}, diagnosis=" K3 is\nmissing.")
    assert read_reply(marked(TEXT), ONE) == Reading({"label": TEXT})


def test_several_components_are_told_apart_by_their_names():
    """Those without a block keep their texts; what cannot be used of one leaves the others."""
    both = f"{marked('Label K3.', 'label')}\n{marked('Say K3.', 'reply.predict')}"
    assert read_reply(both, TWO).texts == {"label": "Label K3.", "reply.predict": "Say K3."}
    assert read_reply(marked("Say K3.", "reply.predict"), TWO) == Reading(
        {"reply.predict": "Say K3."}
    )
    half = f"{marked('Label K3.', 'label')}\n{edit('nowhere', 'x', 'reply.predict')}"
    reading = read_reply(half, TWO)
    assert reading.texts == {"label": "Label K3."}
    assert list(reading.problems) == ["reply.predict"]


@pytest.mark.parametrize(
    "reply",
    [
        marked(TEXT),
        marked(TEXT, "draft"),
        f"```\n{TEXT}\n```",
        f"<instruction>\n{TEXT}\n</instruction>",
        json.dumps({"new_text": TEXT}),
    ],
)
def test_of_several_components_one_is_never_guessed(reply):
    """A text without the name of one of them is asked about."""
    reading = read_reply(reply, TWO)
    assert reading.texts == {}
    assert reading.problems


def test_the_names_that_there_are_are_said():
    """Where a block names none of them."""
    assert read_reply(marked(TEXT, "draft"), TWO).problems == {
        "": "a block names no component; there are label, reply.predict"
    }


def test_fields_by_the_components_names_are_texts_of_several():
    """Names tell them apart as marks do; each has to go on from its own text."""
    texts = {"label": "Label it. K3 is a refund.", "reply.predict": "Reply to it. Be exact."}
    assert read_reply(json.dumps(texts), TWO).texts == texts
    assert read_reply(json.dumps({**texts, "label": "K3 is a refund."}), TWO).problems


def test_edits_apply_to_the_current_text():
    """Several in one block or in several, beside a whole text of another component."""
    long = {"label": "Label it.\nBe brief.\nStop.", "reply.predict": "Reply."}
    one = marked(f"{pair('Be brief.', 'Be exact.')}\n{pair('', 'K3.')}", "label", "edit")
    two = f"{edit('Be brief.', 'Be exact.', 'label')}\n{edit('', 'K3.', 'label')}"
    for said in (one, two):
        reading = read_reply(f"{said}\n{marked('Say K3.', 'reply.predict')}", long)
        assert reading.texts == {
            "label": "Label it.\nBe exact.\nStop.\nK3.",
            "reply.predict": "Say K3.",
        }


def test_edits_of_one_component_are_all_or_nothing():
    """Half a change is not what the lesson speaks of."""
    said = f"{edit('it', 'them')}\n{edit('Label it', 'K3')}"
    assert read_reply(said, ONE) == Reading(
        problems={"label": "edit 2: «Label it» is not in the text; the nearest is «Label them.»"}
    )


def test_edits_beside_a_whole_text_have_to_say_the_same():
    """Where both differ, nobody can tell which was meant."""
    whole = marked("Label them.")
    assert read_reply(f"{edit('it', 'them')}\n{whole}", ONE).texts == {"label": "Label them."}
    reading = read_reply(f"{edit('it', 'K3')}\n{whole}", ONE)
    assert reading.problems == {"label": "there are edits and a whole text for it, which differ"}


def test_line_ends_of_the_current_text_do_not_keep_an_edit_from_applying():
    """Replies have newlines, and a text that was written on Windows has others."""
    current = {"label": "Label it.\r\nBe brief.\r\n"}
    reading = read_reply(edit("it.\nBe brief.", "K3.\nBe exact."), current)
    assert reading.texts == {"label": "Label K3.\nBe exact.\n"}


@pytest.mark.parametrize(
    "text",
    [
        "Write an improved prompt for the image model.",
        "I am unable to lie, and neither are you.",
        "Write release notes.\nKey changes:\nlist them first.",
        "No change.",
        "Reason between\n<think>\nand\n</think>\nthen answer.",
        "Stop at\n</think>\nthen answer.",
        "<answer>\nK3\n</answer>",
        "Say\n<diagnosis>\nK3",
        "Answer\n<lesson>\nin one word\n</lesson>\nand stop.",
        "Use\n<new_text>\nx\n</new_text>\nas marks.",
        NESTED,
        '"Quoted as a whole."',
        "(a) label it\n(b) say why",
        "Kürzel: 退款 → K3. ✓",
        "  indented\nless",
        "&lt;b&gt; is bold.",
        "- Label it.\n+ Or not.",
        "Answer so:\nCode:\n...the code...\nWhy:\n...",
        "Show a change so:\n@@ -1 +1 @@\n-Label it.\n+Label K3.",
        "a",
    ],
)
def test_words_between_the_marks_are_never_taken_for_talk(text):
    """Whatever they say: the marks decide, and nothing is cut off or dropped."""
    assert read_reply(marked(text), ONE).texts == {"label": text.strip("\n")}


def test_a_diff_is_known_by_its_signed_lines():
    """Some models write the lines that stay without a sign. A list has a space behind its signs."""
    current = {"label": "Label it. \nBe brief."}
    diff = read_reply(marked("-Label it.\n+Label it K3.\nBe brief."), current)
    assert diff.problems == {"label": "it is a diff of the current text, and not the new one"}
    points = "- Label it.\n- Be brief."
    assert read_reply(marked(points), current).texts == {"label": points}


RULES = ["Label the message.", "K1 is a question.", "K2 is a login.", "Answer with the code."]


@pytest.mark.parametrize(
    "line",
    [
        "... (as before) ...",
        "\u2026 the other codes \u2026",
        "# ... the other rules ...",
        "[rest unchanged]",
        "(the codes as before)",
        "*(keep the codes)*",
        "2-3. (unverändert)",
        "【其余不变】",
    ],
)
@pytest.mark.parametrize(
    ("before", "after"), [(RULES[:1], RULES[3:]), (RULES[:2], []), ([], RULES[2:])]
)
def test_a_line_that_stands_for_a_part_of_the_current_text_makes_no_whole(line, before, after):
    """In whatever words: it stands where that part is missing, and the rest is there."""
    text = "\n".join(["Be exact. K3 is a refund.", *before, line, *after])
    reading = read_reply(marked(text), {"label": "\n".join(RULES)})
    assert reading.problems == {"label": f"it leaves a part out: {line}"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (RULES, [*RULES, "(K3 is a refund.)"]),
        (RULES, [RULES[0], "(The message may be long.)", *RULES[1:]]),
        (RULES, ["Say which code it is.", "[K1, K2 or K3]"]),
        (RULES, [RULES[0], "Answer so:", "[code]", "[why]", "[source]", "... or (more)"]),
        ([*RULES[:1], "(as before)", *RULES[2:]], [RULES[0], "(as before)"]),
    ],
)
def test_a_line_in_brackets_that_stands_for_nothing_is_text(old, new):
    """Where nothing is missing there, where all is written anew, where there are many of them, and
    where the current text has it."""
    texts = {"label": "\n".join(new)}
    assert read_reply(marked(texts["label"]), {"label": "\n".join(old)}).texts == texts


def test_a_phrase_that_is_there_twice_does_not_hide_what_is_left_out():
    """It stands above the line and, in the current text, below what is missing as well."""
    end = "Answer with the code alone."
    current = {"label": f"{end}\n{TEXT}\nA bill is K2.\nA greeting is K4.\n{end}"}
    for below in ("Be brief.", end):
        reading = read_reply(marked(f"{end}\n[the codes as they were]\n{below}"), current)
        assert reading.problems == {"label": "it leaves a part out: [the codes as they were]"}
    whole = f"{end}\n[Codes]\n{TEXT}\nA bill is K2.\nA greeting is K4.\n{end}"
    assert read_reply(marked(whole), current).texts == {"label": whole}


LONG = "\n".join(f"{n}. A message about {subject} is K{n}." for n, subject in enumerate(
    ["bills", "refunds", "parcels", "passwords", "opening hours", "jobs", "complaints", "prices"]
))  # fmt: skip


@pytest.mark.parametrize(
    "line", ["...", "  …", "[...]", "| ... | ... |", "⋮", "<!-- the other codes -->", "- (ebenso)"]
)
def test_lines_of_dots_and_comments_stand_for_what_is_missing(line):
    """In whatever signs of their place."""
    first, *_, last = LONG.splitlines()
    cut = read_reply(marked(f"{first}\n{line}\n{last}\nElse K9."), {"label": LONG})
    assert cut.problems == {"label": f"it leaves a part out: {line.strip()}"}
    added = f"{LONG}\n{line}\nElse K9."
    assert read_reply(marked(added), {"label": LONG}).texts == {"label": added}


def test_dots_within_the_current_text_excuse_no_line_of_dots():
    """A line is its own only if the current text has the same line."""
    first, *_, last = LONG.splitlines()
    lines = f"{first}\n...\n{last}"
    reading = read_reply(marked(lines), {"label": f"{LONG}\nThe rest (spam, ads...) is K9."})
    assert reading.problems == {"label": "it leaves a part out: ..."}
    assert read_reply(marked(lines), {"label": f"{LONG}\n..."}).texts == {"label": lines}


def test_a_line_of_an_instruction_that_is_written_anew_stands_for_nothing():
    """Though a few words are those of the present one."""
    anew = (
        "Sort letters.\n[Subject]\nFind out who writes, what for and how soon somebody has to "
        "answer. Then write the number of the desk that has to do with it, and no more. "
        "A message about bills is K0."
    )
    assert read_reply(marked(anew), {"label": LONG}).texts == {"label": anew}


def test_thirty_words_are_missed_however_long_the_text_is():
    """A fifth of a long text is many rules."""
    long = "\n".join(f"{LONG}\nSo much for desk {n}, which is open." for n in range(9))
    lines = long.splitlines()
    cut = "\n".join([*lines[:3], "[as before]", *lines[9:]])
    reading = read_reply(marked(cut), {"label": long})
    assert reading.problems == {"label": "it leaves a part out: [as before]"}


def test_lines_in_brackets_are_data_where_texts_are_no_prose():
    """Lisp, and tuples. Dots stand for what is left out there, too."""
    current = {"code": "(load base)\n(define (area r) (* 3 r r))\n(print (area 2))"}
    new = "(load base)\n(print 12)"
    assert read_reply(marked(new), current, unmarked=dict).texts == {"code": new}
    cut = read_reply(marked("(load base)\n; ...\n... as before"), current, unmarked=dict)
    assert cut.problems == {"code": "it leaves a part out: ... as before"}


@pytest.mark.parametrize(("old", "new"), [("0.5", "-0.5"), ("x + y", "-x + y"), ("1\n2", "-1\n2")])
def test_a_minus_before_what_is_no_prose_is_its_own(old, new):
    """One sign alone makes no diff: the other number can be tried."""
    reading = read_reply(marked(new), {"value": old}, unmarked=lambda _reply, _current: {})
    assert (reading.texts, reading.problems) == ({"value": new}, {})


@pytest.mark.parametrize(
    "text",
    [
        "[INST] Label the message. [/INST]",
        "(In French) label it with one of the codes (K1, K2 or K3)",
        "{{greeting}} label it, then say {{farewell}}",
        "[SYSTEM] Label [urgent] messages K3.",
    ],
)
def test_a_text_that_begins_and_ends_with_brackets_is_a_text(text):
    """It is not in one pair of them, as what a form has in place of a text is."""
    assert read_reply(marked(text), {"label": "Label it."}).texts == {"label": text}


def test_where_the_current_text_is_a_line_in_brackets_a_new_one_may_be():
    """Such as a prompt in JSON. What our form has in place of a text is none all the same."""
    current = {"label": '{"task": "Label it."}'}
    new = '{"task": "Label it K3."}'
    assert read_reply(marked(new), current).texts == {"label": new}
    assert read_reply(marked("(the whole new text)"), current).problems


LINES = [
    "Label it K3.", "", "   ", "```", "```json", "~~~", "````", "<think>", "</think>", "[/THINK]",
    "<new_text>", "</new_text>", '<new_text component="label">', "<edit>", "</edit>", "<old>",
    "</old>", "<new>", "</new>", "<diagnosis>", "</diagnosis>", "<lesson>", "</lesson>",
    "<no_change/>", "<new_text_2>", "</new_text_2>", "====", "<<<<<<< SEARCH", ">>>>>>> REPLACE",
    "# New instruction", "---", "**Changes made:**", '"', "'''", '{"label": "K3"}', "key: |",
    "[[ ## label ## ]]", "<|im_end|>", "<|channel|>final<|message|>", "</s>", "  indented",
    "> quoted", "<![CDATA[", "]]>", "&lt;new_text&gt;", "(the whole new text)",
    "{{instruction}}", "I'm sorry.",
]  # fmt: skip
nasty = st.lists(st.sampled_from(LINES), min_size=1, max_size=12).map("\n".join)


def form_and_reply(*texts):
    """The form that is asked for where a prompt holds these texts, and a reply that gives them."""
    form = Form.unlike(texts)
    blocks = [
        f"{form.mark('new_text', name)}\n{text}\n</{form.names[1]}>"
        for name, text in zip(TWO, texts, strict=False)
    ]
    before, after = marked_with(form, "diagnosis"), marked_with(form, "lesson")
    return form, "\n".join([before, *blocks, after])


def marked_with(form, tag):
    """A block of the form that says something."""
    return form.mark(tag) + "\nIt is K3.\n" + form.mark(tag).replace("<", "</")


def without_blank_lines_around(text):
    lines = text.split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join(lines)


@example("```\nK3", "```")
@example("Label it.\n<|im_end|>", "</think>")
@example("<new_text>\nLabel it.", "</new_text>\nK3")
@given(nasty, nasty)
def test_any_text_between_marks_unlike_it_comes_back_unchanged(one, other):
    """But for blank lines around it. Where the current text is a fence, a fence is text too."""
    texts = dict(zip(TWO, map(without_blank_lines_around, (one, other)), strict=True))
    assume(not any(map(unusable, texts.values())))
    # A line in brackets is what a form has in place of a text.
    assume(not any(text[0] + text[-1] in ("()", "[]", "{}", "<>") for text in texts.values()))
    form, reply = form_and_reply(one, other)
    fenced = dict.fromkeys(TWO, "```\nx\n```")
    reading = read_reply(reply, fenced, form)
    assert (reading.texts, reading.problems) == (texts, {})
    if not any(text.startswith(("```", "~~~")) for text in texts.values()):
        assert read_reply(reply, TWO, form).texts == texts


@given(nasty, st.integers(1, 40))
def test_a_reply_that_was_cut_off_within_its_marks_gives_no_text(text, missing):
    """No beginning of a text is taken for the whole, where it does not end a reasoning."""
    assume(not unusable(text))
    assume(not any(end in text for end in ("</think>", "[/THINK]", "final<|message|>")))
    form = Form.unlike([text])
    reply = f"{form.mark('new_text')}\n{text}\n</{form.names[1]}>"
    cut = reply[: max(len(form.mark("new_text")), len(reply) - missing)]
    reading = read_reply(cut, {"label": "```\nx\n```"}, form)
    assert reading.texts == {}
    assert reading.problems


@given(st.one_of(nasty, st.text(st.characters()), st.lists(nasty).map("".join)), st.booleans())
def test_any_reply_is_read_or_asked_about(reply, has_several):
    """Reading never raises, is the same every time, and gives only what can be an instruction."""
    current = TWO if has_several else ONE
    reading = read_reply(reply, current)
    assert reading == read_reply(reply, current)
    assert set(reading.texts) <= set(current)
    assert not any(map(unusable, reading.texts.values()))
    assert bool(reading.texts) or bool(reading.problems) or reading.is_unchanged
    assert not (reading.texts and reading.is_unchanged)


@pytest.mark.parametrize(
    "reply",
    [
        "a: |\n" + "      x\n" * 40 + "end",
        " " * 300_000 + "x",
        "<" + " " * 300_000,
        "x\n\n" * 100_000,
        '{"a":' * 50_000,
        "```a\n" * 20_000,
        "```\n" * 30_000,
        "<new_text>\n" * 5_000,
        "<new_text>\n" * 5_000 + "</new_text>\n" * 5_000,
        "<answer>\n" * 30_000,
        "<answer>" + "</answer>" * 30_000,
        "<a>\n<b>\n" * 3_000 + "</b>\n</a>\n" * 3_000,
        "\n".join("`" * n for n in range(600, 2, -1))
        + "\nSee <new_text>\n"
        + "\n".join("`" * n for n in range(3, 601)),
        "<|channel|>analysis" * 9_000,
        "\n***" * 60_000,
        "[[ ## x ## ]]\n" * 9_000,
        "&lt;new_text&gt;\n" * 9_000,
        "<new_text " + "x " * 100_000,
        "[THINK][/THINK]\n" * 10_000,
        "<think></think>\n" * 5_000 + "</think> " * 10_000,
        "<edit>\n<old>\na\n</old>\n" * 3_000 + "</edit>",
        "component= " * 20_000,
        "<new_text component=" + "'" * 3_000 + ">\nx\n</new_text>",
        "<new_text>\n" + "(" * 50_000 + "\n</new_text>",
        "\t" * 100_000 + "<new_text>",
    ],
    ids=lambda reply: ascii(reply[:16]),
)
def test_reading_ends(reply):
    """Whatever repeats in 300,000 characters: by backtracking this would not end today."""
    assert isinstance(read_reply(reply, ONE), Reading)


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda path: path.stem)
def test_of_the_corpora_hardly_a_reply_becomes_a_wrong_text(corpus):
    """A wrong text costs a minibatch of rollouts, a second question one short call."""
    wrong = []
    shapes = json.loads(corpus.read_text(encoding="utf-8"))
    for shape in shapes:
        reading = read_reply(shape["reply"], shape["components"])
        if reading.problems:
            continue
        said = {"no_change": True} if reading.is_unchanged else {"texts": dict(reading.texts)}
        if said not in (shape["wanted"], *_listed(shape.get("also_fine"))):
            wrong.append(shape["name"])
    assert len(wrong) <= WRONG.get(corpus.stem, 1), wrong


def _listed(also_fine):
    return also_fine if isinstance(also_fine, list) else [also_fine]

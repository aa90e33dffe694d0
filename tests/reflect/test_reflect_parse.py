"""Replies of many shapes are read, or refused with the right reason."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dspy_gepa.reflect.parse import Unreadable, read_text
from dspy_gepa.reflect.talk import is_refusal
from dspy_gepa.reflect.templates import CLOSING_MARK, DEFAULT_TEMPLATE, OPENING_MARK, OWN_WORDS

TEXT = "Read the message.\nAnswer K3 for a refund, K1 otherwise."
MARKED = f"{OPENING_MARK}\n{TEXT}\n{CLOSING_MARK}"
REMARKS = "This instruction should cover refunds.\n\nLet me know if you need more."
NESTED = 'Use this form:\n```json\n{"label": "{x}"}\n```\n[[ ## label ## ]]\n{{examples}}'

READABLE = {
    "marks": (MARKED, TEXT),
    "marks with talk around": (f"Sure! Here you go:\n\n{MARKED}\n\nI hope it helps.", TEXT),
    "marks in one line": (f"{OPENING_MARK}Answer K3.{CLOSING_MARK}", "Answer K3."),
    "marks in one line of talk": (
        f"Mine: {OPENING_MARK} Answer K3. {CLOSING_MARK} Ok?",
        "Answer K3.",
    ),
    "marks in other case and spelling": (f"<New Instruction>\n{TEXT}\n</NEW-INSTRUCTION>", TEXT),
    "marks with escaped underscore": (f"<new\\_instruction>\n{TEXT}\n</new\\_instruction>", TEXT),
    "marks with CRLF": (f"{OPENING_MARK}\r\nA\r\nB\r\n{CLOSING_MARK}\r\n", "A\r\nB"),
    "marks indented": (f"  {OPENING_MARK}\n{TEXT}\n  {CLOSING_MARK}", TEXT),
    "marks within a fence": (f"```xml\n{MARKED}\n```", TEXT),
    "marks mentioned before": (f"I use {OPENING_MARK} and {CLOSING_MARK}:\n{MARKED}", TEXT),
    "opening mark mentioned before": (f"After {OPENING_MARK} it stands:\n{MARKED}", TEXT),
    "opening mark twice": (f"{OPENING_MARK}\n{MARKED}", TEXT),
    "closing mark twice": (f"{MARKED}\n{CLOSING_MARK}", TEXT),
    "opening mark as closing one": (f"{OPENING_MARK}\n{TEXT}\n{OPENING_MARK}", TEXT),
    "no opening mark": (f"Here is the new instruction:\n{TEXT}\n{CLOSING_MARK}", TEXT),
    "draft and final": (f"{OPENING_MARK}\nDraft.\n{CLOSING_MARK}\nBetter:\n{MARKED}", TEXT),
    "form shown again": (f"{MARKED}\nThe form was:\n{OPENING_MARK}\n...\n{CLOSING_MARK}", TEXT),
    "marks nested": (
        f"{OPENING_MARK}\nWrite\n{OPENING_MARK}\nx\n{CLOSING_MARK}\n{CLOSING_MARK}",
        f"Write\n{OPENING_MARK}\nx\n{CLOSING_MARK}",
    ),
    "fences and braces in marks": (f"{OPENING_MARK}\n{NESTED}\n{CLOSING_MARK}", NESTED),
    "quotes in marks stay": (f'{OPENING_MARK}\n"{TEXT}"\n{CLOSING_MARK}', f'"{TEXT}"'),
    "marks of another name": (f"<instruction>\n{TEXT}\n</instruction>", TEXT),
    "thinking, then marks": (f"<think>\nHm, {OPENING_MARK} then?\n</think>\n\n{MARKED}", TEXT),
    "thinking twice": (f"<think>a</think>\n<thinking>b</thinking>{MARKED}", TEXT),
    "thinking with a draft": (f"<think>{OPENING_MARK}\nNo\n{CLOSING_MARK}</think>{MARKED}", TEXT),
    "thinking opened by the server": (f"First, a draft.\n</think>\n\n{MARKED}", TEXT),
    "thinking opened by the server, plain": (f"First, a draft.\n</think>\n\n{TEXT}", TEXT),
    "a mark in thinking opened by the server": (
        f"It begins with\n{OPENING_MARK}\nand so on.\n</think>\n\n{MARKED}",
        TEXT,
    ),
    "thinking later, no marks": (f"Sure!\n<think>\nLet me see\n</think>\n{TEXT}", TEXT),
    "thinking within the text": (
        f"{OPENING_MARK}\nThink between\n<think>\n</think>\nthen answer.\n{CLOSING_MARK}",
        "Think between\n<think>\n</think>\nthen answer.",
    ),
    "end of thinking within the text": (
        f"{OPENING_MARK}\nStop at\n</think>\nthen answer.\n{CLOSING_MARK}",
        "Stop at\n</think>\nthen answer.",
    ),
    "fence": (f"```\n{TEXT}\n```", TEXT),
    "fence with CRLF": ("```\r\nA\r\nB\r\n```", "A\r\nB"),
    "fence with a language, announced": (
        f"Here's the improved instruction:\n```text\n{TEXT}\n```",
        TEXT,
    ),
    "fence after analysis": (
        f"Looking at the feedback, K3 is missing.\n\n```\n{TEXT}\n```\nDone.",
        TEXT,
    ),
    "fence with a fence inside": (f"```markdown\n{NESTED}\n```", NESTED),
    "long fence with a fence inside": ("````\nA\n```\nB\n```\nC\n````", "A\n```\nB\n```\nC"),
    "old and new in fences": (
        f"Old:\n```\nLabel it.\n```\n**New instruction:**\n```\n{TEXT}\n```",
        TEXT,
    ),
    "the same fence twice": (f"```\n{TEXT}\n```\n\nNew instruction:\n```\n{TEXT}\n```", TEXT),
    "plain text with a fenced example": (
        f'{TEXT}\nForm:\n```json\n{{"k": 1}}\n```',
        f'{TEXT}\nForm:\n```json\n{{"k": 1}}\n```',
    ),
    "JSON": ('{"new_instruction": "Answer \\"K3\\".\\nAlways."}', 'Answer "K3".\nAlways.'),
    "JSON with raw line breaks": (f'{{"Improved Instruction": "{TEXT}"}}', TEXT),
    "JSON in a fence": (
        f'Here is the instruction:\n```json\n{{"instruction": "{TEXT}"}}\n```',
        TEXT,
    ),
    "JSON with old and new": ('{"instruction": "Old.", "new_instruction": "New."}', "New."),
    "JSON with a list": ('{"instructions": ["Rule one.", "Rule two."]}', "Rule one.\nRule two."),
    "plain text": (TEXT, TEXT),
    "plain text in braces": ("{topic} is the topic.", "{topic} is the topic."),
    "plain text in quotes": (f'Here is the new instruction: "{TEXT}"', TEXT),
    "plain text in three quotes": (f'"""\n{TEXT}\n"""', TEXT),
    "two quoted words": ('"K3" for refunds, else "K1"', '"K3" for refunds, else "K1"'),
    "plain text, heading": (f"# Improved Instruction\n\n{TEXT}", TEXT),
    "plain text, bold label": (f"**New Instruction:** {TEXT}", TEXT),
    "plain text, bold begins it": ("New instruction: **Never** guess.", "**Never** guess."),
    "plain text, remarks after it": (
        f"Certainly! Here is the revised prompt:\n\n{TEXT}\n\n{REMARKS}",
        TEXT,
    ),
    "plain text, changes after it": (f"{TEXT}\n\n**Changes made:**\n- K3\n\n- K1", TEXT),
    "plain text, explanation after it": (f"{TEXT}\n\nExplanation: the feedback says K3.", TEXT),
    "explanation as a field": (
        f"{TEXT}\n\nExplanation: one sentence.",
        f"{TEXT}\n\nExplanation: one sentence.",
    ),
    "German": ("Hier ist die verbesserte Anweisung:\nAntworte mit K3.", "Antworte mit K3."),
    "French": ("Voici la nouvelle instruction :\nRéponds K3.", "Réponds K3."),
    "Spanish": ("Aquí está la instrucción mejorada:\nResponde K3.", "Responde K3."),
    "Chinese": ("以下是改进后的指令：\n退款回答 K3。", "退款回答 K3。"),
    "Chinese without announcement": ("退款回答 K3。", "退款回答 K3。"),
    "apology as a rule": (f"{TEXT} Say sorry first.", f"{TEXT} Say sorry first."),
    "follow these instructions": (
        "Follow these instructions:\n1. K3.",
        "Follow these instructions:\n1. K3.",
    ),
}

UNREADABLE = {
    "nothing": ("", "empty"),
    "white space": (" \n\t", "empty"),
    "nothing after thinking": ("<think>Hm.</think>\n", "empty"),
    "nothing in marks": (f"{OPENING_MARK}\n\n{CLOSING_MARK}", "empty"),
    "dots in marks": (f"{OPENING_MARK}\n...\n{CLOSING_MARK}", "empty"),
    "our filler in marks": (
        f"{OPENING_MARK}\n(the complete new instruction)\n{CLOSING_MARK}",
        "empty",
    ),
    "nothing in a fence": ("```\n\n```", "empty"),
    "long line of dashes": ("-" * 500, "empty"),
    "mark cut off": (f"{OPENING_MARK}\n{TEXT}", "cut off"),
    "closing mark cut off": (f"{OPENING_MARK}\n{TEXT}\n</new_instr", "cut off"),
    "cut off after a draft": (f"{MARKED}\nBetter:\n{OPENING_MARK}\nAnswer", "cut off"),
    "fence cut off": (f"Here is the instruction:\n```\n{TEXT}", "cut off"),
    "inner fence cut off": ("```\nForm:\n```json\n{}\n```", "cut off"),
    "thinking cut off": ("<think>\nLet me see, the feedback", "reasoning"),
    "later thinking cut off": (f"{TEXT}\n<think>\nLet me see", "reasoning"),
    "thinking that never ends, with marks": (f"<think>\n{MARKED}", "reasoning"),
    "JSON cut off": ('{"new_instruction": "Answer K3', "JSON"),
    "JSON answer to the task": ('{"label": "K3", "reason": "refund"}', "JSON"),
    "JSON answer in a fence": ('```json\n{"label": "K3"}\n```', "JSON"),
    "JSON with another value": ('{"instruction": {"rules": 3}}', "JSON"),
    "answer to the task": ("[[ ## label ## ]]\nK3\n\n[[ ## completed ## ]]", "answers one"),
    "two fences": (f"```\n{TEXT}\n```\nand\n```\nLabel it.\n```", "unclear"),
    "a bare fence in a bare fence": ("New prompt:\n```\nA\n```\nx\n```\nB\n```", "unclear"),
    "a bare fence after plain text": (f"{TEXT}\n```\nlabel: K3\n```", "unclear"),
    "refusal": ("I'm sorry, but I can't assist with that.", "refuses"),
    "refusal with a curly apostrophe": ("I can\u2019t help with this request.", "refuses"),
    "refusal in marks": (f"{OPENING_MARK}\nAs an AI, I may not.\n{CLOSING_MARK}", "refuses"),
    "our request, said again": (
        f"{OPENING_MARK}\nGiven the current one, write a new instruction. Say K3.\n{CLOSING_MARK}",
        "asks for",
    ),
    "a request for a prompt": (
        f"{OPENING_MARK}\nYour task is to create an improved prompt.\n{CLOSING_MARK}",
        "asks for",
    ),
    "announcement alone": ("Sure! Here is the improved instruction:", "empty"),
    "announcement in marks": (f"{OPENING_MARK}\nNew instruction:\n{CLOSING_MARK}", "empty"),
    "analysis": ("Okay, let me look at the examples. K3 is a refund.", "talks"),
    "analysis of the feedback": ("Based on the feedback, K3 stands for refunds.", "talks"),
    "analysis before a lone mark": (f"The current instruction lacks K3.\n{CLOSING_MARK}", "talks"),
    "our prompt": (DEFAULT_TEMPLATE.text.split(OPENING_MARK)[0], "repeats"),
    "our words in other case": (
        f"{OPENING_MARK}\n{TEXT} {OWN_WORDS[1].upper()}\n{CLOSING_MARK}",
        "repeats",
    ),
    "our words for no instruction": (
        f"{OPENING_MARK}\n{TEXT}\n\n(There is none yet)\n{CLOSING_MARK}",
        "repeats",
    ),
    "a mark of what we left out": (
        f"{OPENING_MARK}\nSay [... 12 characters left out ...]\n{CLOSING_MARK}",
        "repeats",
    ),
    "lone surrogate": (f"{OPENING_MARK}\nA\ud800\n{CLOSING_MARK}", "Unicode"),
}


@pytest.mark.parametrize(("reply", "text"), READABLE.values(), ids=READABLE)
def test_readable_replies(reply, text):
    """The text of a reply is found, whole and alone."""
    assert read_text(reply) == text


def test_a_program_that_writes_prompts_may_be_told_to():
    """What would be our request said again is none where the current text is about prompts."""
    text = "Write a better prompt for the picture that is described."
    reply = f"{OPENING_MARK}\n{text}\n{CLOSING_MARK}"
    assert isinstance(read_text(reply, current="Describe the picture."), Unreadable)
    assert read_text(reply, current="Improve the image prompt.") == text


@pytest.mark.parametrize(("reply", "word"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_replies(reply, word):
    """A reply without a usable text is refused, and the reason names what is wrong with it."""
    found = read_text(reply)
    assert isinstance(found, Unreadable)
    assert word in found.reason


pieces = st.sampled_from(
    [
        "```",
        "```json\n",
        "\n",
        "\r\n",
        "{",
        '"',
        "<think>",
        "</think>",
        "[[ ## x ## ]]",
        "{{examples}}",
        "<<y>>",
        "~~~",
        "<|channel|>",
        " ",
        "K3",
        "<",
        "As an AI ",
        "Sorry, ",
        "I'm sorry",
        "Based on the feedback",
        "<prompt>",
        "</prompt>",
    ]
)
texts = st.one_of(st.text(), st.lists(st.one_of(pieces, st.text(max_size=5))).map("".join))


@example("As an AI, I cannot.")
@example("```\nsome\n```\nof it")
@example("[[ ## x ## ]]\n{{examples}} <<y>> {z} $w")
@example("&lt;new_instruction&gt;")
@example("[image 1]")
@example('{"new_instruction": "x"}')
@example("Here is the new instruction:\n```\nx\n```")
@example('"quoted"')
@example("\n\n x \n\n")
@example("a\r")
@example("Here is the new instruction:\nx")
@given(texts)
def test_any_text_survives_between_the_marks(text):
    """A text between our marks comes back byte for byte."""
    assume(any(map(str.isalnum, text)))
    reply = f"{OPENING_MARK}\n{text}\n{CLOSING_MARK}"
    # Whatever it begins with: the current text began so too.
    assert read_text(reply, current=text) == text
    assume(not is_refusal(text))
    # What is in a fence as a whole stays so where the current text is.
    fenced = "```\nx\n```"
    assert read_text(reply, current=fenced) == text
    if not re.match(r"\s*(```|~~~)", text):
        assert read_text(reply) == text


@given(texts, texts)
def test_a_text_that_speaks_of_the_closing_mark_survives_too(before, after):
    """A mark to which a sentence leads up does not end the text, if one on its own line does."""
    text = f"{before}\nNever write {CLOSING_MARK}\nAnswer K3.\n{after}"
    assert read_text(f"{OPENING_MARK}\n{text}\n{CLOSING_MARK}", current=text) == text


@given(texts)
def test_any_text_survives_in_a_json_field_and_under_a_header(text):
    """But for white space around it, and where it is no text that could be used at all."""
    assume(any(map(str.isalnum, text)))
    assume(isinstance(read_text(f"{OPENING_MARK}\n{text.strip()}\n{CLOSING_MARK}"), str))
    field = json.dumps({"new_instruction": text})
    assert read_text(field) == text.strip()
    assert read_text(f"```json\n{field}\n```") == text.strip()
    assume("\r" not in text)
    header = f"[[ ## new_instruction ## ]]\n{text}\n\n[[ ## completed ## ]]"
    assume("<" not in text)
    assert read_text(header) == text.strip()


talk_or_refusal = st.sampled_from(
    ["As an AI, I cannot ", "I'm sorry", "Based on the feedback, ", "Let me ", "The feedback "]
)
sentences = st.sampled_from(
    [
        "Answer K3.",
        " Reason between <think> and </think>\n",
        "\nUse\n<think>\n...\n</think>\n",
        " Write [THINK], then [/THINK]\n",
        "\n<prompt>\n{x}\n</prompt>\n",
        " <instruction>x</instruction> is a tag.",
        " A text is {'text': 'x'}.",
        "\n```\n{}\n```\n",
        '\n```json\n{"prompt": "x"}\n```\n',
        " <answer>K3</answer>.",
        "\n\n",
    ]
)
beginnings = st.sampled_from(
    [
        "Answer K1.",
        '{"text": "x"} is how an input looks.',
        '{"prompt": "x", "label": "K3"}\n\nAnswer K1.',
        '[{"instruction": "x"}]: such are the inputs.',
        "<prompt>{x}</prompt> holds the message.",
        "<instructions>\nAnswer K1.\n</instructions>\n<rules>K3</rules>",
        "<answer>K3</answer> is one answer.",
    ]
)


@given(beginnings, st.lists(sentences).map("".join))
def test_a_plain_text_is_read_whole_or_refused(beginning, rest):
    """What an instruction shows of tags, fences and objects is never taken for all of it."""
    text = f"{beginning}{rest} Answer nothing else."
    found = read_text(text)
    assert found == text or isinstance(found, Unreadable)


@given(talk_or_refusal, texts.filter(lambda text: not set(text) & set("<[`~")))
def test_a_plain_text_may_begin_as_the_current_one_does(beginning, text):
    """No words with which the current text begins are talk or a refusal."""
    reply = f"{beginning}{text} K3."
    assert isinstance(read_text(reply, current=f"{beginning} K1."), str)


@example("</think>\n", 0)
@given(texts, st.integers(0, 60))
def test_a_marked_reply_that_was_cut_off_gives_no_text(text, missing):
    """No beginning of a marked reply is taken for the whole."""
    reply = f"{OPENING_MARK}\n{text}\n{CLOSING_MARK}"
    cut = reply[: max(len(OPENING_MARK), len(reply) - 1 - missing)]
    assert isinstance(read_text(cut), Unreadable)


@given(st.one_of(texts, st.text(st.characters())))
def test_any_reply_is_read_or_refused(reply):
    """Reading never raises, and what it returns is never blank and can be encoded."""
    found = read_text(reply)
    if isinstance(found, str):
        assert found.strip()
        assert found.encode()
    else:
        assert found.reason


def test_our_words_are_no_leak_where_the_current_text_has_them():
    """A component that is itself a reflection prompt can be improved."""
    current = DEFAULT_TEMPLATE.text
    assert read_text(f"```\n{OWN_WORDS[0]} Be brief.\n```", current=current).endswith("Be brief.")


@pytest.mark.parametrize(
    "reply",
    [
        " " * 300_000 + "x",
        "x" + " " * 300_000 + "x",
        "<" * 300_000,
        "<" + " " * 300_000,
        "#" * 300_000 + "x",
        "x\n\n" * 100_000,
        '{"a":' * 50_000,
        "```a\n" * 20_000,
        f"{OPENING_MARK}\n" * 5_000,
        "Here is the new instruction " * 10_000,
        "<|channel|>analysis" * 9_000,
        "**" * 100_000,
        "\n***" * 60_000,
        "---\n" * 60_000,
        "> x\n" * 60_000,
        '"' * 200_000,
        "[[ ## x ## ]]\n" * 9_000,
        "{'a':" * 30_000,
        "\\boxed{" * 30_000,
        "<answer>" * 30_000,
        "prompt = " * 20_000,
        "&lt;new_instruction&gt;" * 9_000,
        "<new_instruction " + "x " * 100_000,
        "[THINK][/THINK]" * 10_000,
        "x\n" + "[THINK][/THINK]\n" * 10_000,
        "<think></think>\n" * 5_000 + "</think> " * 10_000,
        "<answer>" + "</answer>" * 30_000,
        f"{OPENING_MARK}\n" + f"Never {CLOSING_MARK}\n" * 5_000 + CLOSING_MARK,
        f"{OPENING_MARK}\n<think>\n</think>\n{CLOSING_MARK}\n" * 2_000,
        "<prompt></prompt>\n" * 9_000,
    ],
    ids=lambda reply: ascii(reply[:12]),
)
def test_reading_ends(reply):
    """Whatever repeats in 300,000 characters: by backtracking this would not end today."""
    assert isinstance(read_text(reply), (str, Unreadable))


def test_a_request_that_was_made_an_answer_of_is_no_instruction():
    """Seen with a small model: our own bullets, put together anew."""
    reply = (
        f"{OPENING_MARK}\nRules for any text: one line for each, in the teacher's own words, with "
        "all names, codes and formats."
        f"\n{CLOSING_MARK}"
    )
    found = read_text(reply)
    assert isinstance(found, Unreadable)
    assert "repeats words of this request" in found.reason

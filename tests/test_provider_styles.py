"""Whole runs against a server on loopback that answers as each family of models is known to."""

import html
import json
from contextlib import contextmanager

import dspy
import label_task
import pytest
from dspy_versions import since
from label_task import TOLD
from model_server import model_server

from dspy_gepa import GEPA
from dspy_gepa.errors import ReflectionError

SEED = "Give the code."
BETTER = f"{SEED} {TOLD}"
GERMAN = f"Gib den Code an. {TOLD}"
MARKED = f"<new_text>\n{BETTER}\n</new_text>"
OLD_AND_NEW = f"""\
The step has to know the codes. The instruction was:

```
{SEED}
```

Here is the improved instruction:

```
{BETTER}
```
"""
HARMONY = (
    "<|channel|>analysis<|message|>The feedback names codes.<|end|>"
    f"<|start|>assistant<|channel|>final<|message|>{MARKED}"
)


def said(content, ending="stop", **more):
    """A choice as the server sends it; `more` are further fields of the message."""
    return {"message": {"role": "assistant", "content": content, **more}, "finish_reason": ending}


@contextmanager
def provider(*choices):
    """A server that is up inside the block and gives these in turn, the last one for ever."""
    with model_server(200, text="") as server:
        answered = server.respond

        def respond(request):
            status, body = answered(request)
            choice = choices[min(len(server.requests), len(choices)) - 1]
            return status, {**body, "choices": [{"index": 0, **choice}]}

        server.respond = respond
        yield server


def run(server, **settings):
    """The instruction of the program that comes back (None if none does), and the result."""
    optimizer = GEPA(
        label_task.metric,
        **{"max_metric_calls": 60, "reflection_lm": server.lm(), "num_threads": 1, **settings},
    )
    student = dspy.Predict(dspy.Signature("message -> code", SEED))
    with dspy.context(lm=label_task.task_lm()):
        try:
            improved = optimizer.compile(student, label_task.examples(12), label_task.examples(8))
        except ReflectionError:
            improved = None
    return improved and improved.signature.instructions, optimizer.result


READ_AT_ONCE = {
    "marks as asked": said(MARKED),
    "a fence with a preamble": said(f"Here is the new instruction:\n\n```\n{BETTER}\n```"),
    "a JSON object in a fence": said(f'```json\n{{"instruction": "{BETTER}"}}\n```'),
    "Qwen, DeepSeek: thinking in tags": said(
        f"<think>\nMaybe <new_text>Guess.</new_text>?\n</think>\n\n{MARKED}"
    ),
    "Qwen, DeepSeek: only the closing tag": said(f"Let me think.\n</think>\n\n{MARKED}"),
    "DeepSeek, vLLM: thinking in its own field": said(
        MARKED, reasoning_content="<new_text>Guess.</new_text>"
    ),
    "Mistral: thinking in brackets": said(f"[THINK]The codes.[/THINK]{MARKED}"),
    "gpt-oss: channels": said(HARMONY),
    "OpenRouter: thinking in its own fields": said(
        MARKED, reasoning="Codes.", reasoning_details=[{"type": "reasoning.text", "text": "Codes."}]
    ),
    "Llama: the signs of a turn": said(
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{MARKED}<|eot_id|>"
    ),
    "the current text and the new one in fences": said(OLD_AND_NEW),
    "a JSON object": said(json.dumps({"reasoning": "Codes.", "new_instruction": BETTER})),
    "YAML": said(f"new_instruction: |\n  {BETTER}"),
    "DSPy's own form": said(
        f"[[ ## new_instruction ## ]]\n{BETTER}\n\n[[ ## completed ## ]]",
    ),
    "a turn's end that a server leaves in": said(f"{MARKED}<|im_end|>"),
}

IN_PARTS = {
    "content as a list of parts": said([{"type": "text", "text": MARKED}]),
    "Anthropic's form: thinking as a part": said(
        [{"type": "thinking", "thinking": "The codes."}, {"type": "text", "text": MARKED}]
    ),
}


def check_read_at_once(choice):
    """The improved instruction comes back to the character, and no call is made twice for it."""
    with provider(choice) as server:
        instruction, result = run(server, max_proposals=1)
    assert instruction == BETTER
    assert result.mean_scores[result.best] == 1.0
    assert result.tally.reflection_calls == len(server.requests) == 1


@pytest.mark.parametrize("style", READ_AT_ONCE)
def test_a_style_is_read_at_once(style):
    """To the character, and no call is made twice for it."""
    check_read_at_once(READ_AT_ONCE[style])


@since("3.4.1", "a client that reads lists")
@pytest.mark.parametrize("style", IN_PARTS)
def test_content_in_parts_is_read_at_once(style):
    """The same, where a server gives a list of parts in place of a text."""
    check_read_at_once(IN_PARTS[style])


NO_TEXT = "no new text stands between <new_text> and </new_text>"
UNCLEAR = {
    "plain text with a preamble": said(f"Sure! Here is the improved instruction:\n\n{BETTER}"),
    "plain text": said(BETTER),
    "a dictionary of Python's": said(repr({"new_instruction": BETTER})),
    "a heading and a remark after it": said(
        f"**New Instruction:**\n\n{BETTER}\n\n---\n\nLet me know if you want changes!"
    ),
    "marks escaped as in HTML": said(html.escape(MARKED)),
    "a call of a tool, as text": said(
        json.dumps({"name": "answer", "arguments": {"new_instruction": BETTER}})
    ),
    "another language": said(f"Hier ist die verbesserte Anweisung:\n\n{GERMAN}"),
}
"""What a careful reader does not dare to guess at."""
READ_WHEN_ASKED_AGAIN = {
    "cut off by the server": (said(MARKED[:40], "length"), "the mark <new_text> is not closed"),
    "cut off without a mark": (said(BETTER[:40], "length"), "it was cut off"),
    "cut off while thinking": (said("<think>The codes are", "length"), "still reasoning"),
    "no content beside its thinking": (said(None, reasoning_content="The codes."), "it is empty"),
    "an empty content": (said(""), "it is empty"),
    "talk": (said("Looking at the feedback, the step failed often."), NO_TEXT),
    "a refusal": (said("I'm sorry, but I can't help with that."), NO_TEXT),
    "our own form, not filled in": (
        said("<new_text>\n(the whole new text)\n</new_text>"),
        NO_TEXT,
    ),
    "the changes alone": (said(f"```diff\n-{SEED}\n+{BETTER}\n```"), NO_TEXT),
    **{style: (choice, NO_TEXT) for style, choice in UNCLEAR.items()},
}


@pytest.mark.parametrize("style", READ_WHEN_ASKED_AGAIN)
def test_a_reply_without_a_text_is_asked_for_once_more(style):
    """The second request says what was wrong with the first reply, and both are counted."""
    first, reason = READ_WHEN_ASKED_AGAIN[style]
    with provider(first, said(MARKED)) as server:
        instruction, result = run(server, max_proposals=1)
    assert instruction == BETTER
    asked = [request["messages"][-1]["content"] for request in server.requests]
    assert reason not in asked[0]
    assert reason in asked[1]
    assert result.tally.reflection_calls == len(asked) == 2


def test_a_small_model_that_repeats_the_instruction_is_asked_without_it():
    """The second request does not show it, and a text that begins with it stays as it comes."""
    same = said(f"<new_text>\n{SEED}\n</new_text>")
    with provider(same, said(MARKED)) as server:
        instruction, result = run(server, max_proposals=1, reflection_style="transcribe")
    assert instruction == BETTER
    asked = [request["messages"][-1]["content"] for request in server.requests]
    assert [SEED in request for request in asked] == [True, False]
    assert result.tally.reflection_calls == len(asked) == 2


NEVER_READ = {
    "always a refusal": (said("I'm sorry, but I can't help with that."), NO_TEXT),
    "always empty": (said(""), "it is empty"),
    "always null": (said(None), "it is empty"),
    "OpenAI: a refusal in its own field": (said(None, refusal="I can't help."), "it is empty"),
    "Azure: withheld by a filter": (said(None, "content_filter"), "it is empty"),
    "always cut off": (said("<new_text>\nGive", "length"), "is not closed"),
}


@pytest.mark.parametrize("style", NEVER_READ)
def test_a_model_that_never_gives_a_text_ends_with_the_reason(style):
    """Two calls are made and counted for each proposal, and no rollout is paid for any of them."""
    choice, reason = NEVER_READ[style]
    with provider(choice) as server:
        improved, result = run(server, max_proposals=3)
    assert improved is None
    verdicts = [proposal.verdict for proposal in result.proposals]
    assert [verdict.kind for verdict in verdicts] == ["failed"] * 3
    assert all(reason in verdict.reason for verdict in verdicts)
    assert result.tally.reflection_calls == len(server.requests) == 6
    assert len(result.members) == 1


def test_a_model_that_always_repeats_the_instruction_leaves_the_program_as_it_is():
    """What is unchanged is no failure of the model's, and costs no rollout either."""
    with provider(said(f"<new_text>\n{SEED}\n</new_text>")) as server:
        instruction, result = run(server, max_proposals=3)
    assert instruction == SEED
    assert {proposal.verdict.reason for proposal in result.proposals} == {"the texts are unchanged"}
    assert result.tally.reflection_calls == len(server.requests) == 3


def test_a_model_that_never_answers_in_the_asked_form_still_optimizes():
    """A better text in each proposal, never between our marks, and never asked for again."""
    rules = [f"{topic} means {code}" for topic, code in sorted(label_task.CODES.items())]
    texts = [f"Give the code. {'; '.join(rules[: n + 1])}." for n in range(len(rules))]
    replies = [said(f"Here's the revised prompt:\n\n```\n{text}\n```") for text in texts]
    with provider(*replies) as server:
        instruction, result = run(server, max_metric_calls=200)
    assert instruction == texts[-1]
    assert result.mean_scores[result.best] == 1.0
    assert result.tally.reflection_calls == len(server.requests)

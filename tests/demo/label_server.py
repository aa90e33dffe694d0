"""A hosted model in miniature: files messages rightly only when its instruction tells it how."""

import re
from contextlib import contextmanager

from model_server import model_server

INSTRUCTION = "The label is the order number or NEW, a dash, and the last name in capitals."


def reply_to(messages):
    """What the model says to a chat: a new instruction, or a label."""
    prompt = messages[-1]["content"]
    if "<new_text>" in prompt:
        return f"<new_text>\n{INSTRUCTION}\n</new_text>"
    label = "no idea"
    if INSTRUCTION in messages[0]["content"]:
        text = prompt.split("\n\nRespond")[0]
        order = re.search(r"\d{5}", text)
        last_word = re.findall(r"[A-Za-z]+", text)[-1]
        label = f"{order.group() if order else 'NEW'}-{last_word.upper()}"
    return f"[[ ## label ## ]]\n{label}\n\n[[ ## completed ## ]]"


@contextmanager
def label_server(status=200):
    """The address of a server that is up inside the block and answers with this status."""
    with model_server(status, text=lambda chat: reply_to(chat["messages"])) as server:
        yield f"http://127.0.0.1:{server.port}/v1"

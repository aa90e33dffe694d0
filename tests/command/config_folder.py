"""A folder as a user has it: a program, a metric, data sets, and configs that name them."""

import json
from contextlib import contextmanager

from model_server import model_server

INSTRUCTION = "Give the code: bill means Q7, lock means K2, ship means Z9."
CODES = {"bill": "Q7", "lock": "K2", "ship": "Z9"}
PROGRAM = """
import dspy

program = dspy.Predict(dspy.Signature("message -> code", "Give the code."))


def made():
    return dspy.Predict(dspy.Signature("message -> code", "Give the code."))


def metric(gold, pred, trace=None):
    return float(gold.code == pred.code), f"The code is {gold.code}."


def shortest(text):
    return -float(len(text)), "Shorter is better."


def keeps(component, before, after):
    return True


def broken():
    raise RuntimeError("the database is away")


number = 7
"""


def reply(request):
    """What the scripted model says: a new text, or a code that its instruction tells it."""
    prompt = request["messages"][-1]["content"]
    if "<new_text>" in prompt:
        return f"<new_text>\n{INSTRUCTION}\n</new_text>"
    topic = next((each for each in CODES if each in prompt), "")
    is_told = f"{topic} means" in str(request["messages"])
    code = CODES[topic] if topic and is_told else "unknown"
    return f"[[ ## code ## ]]\n{code}\n\n[[ ## completed ## ]]"


@contextmanager
def scripted(*statuses, text=reply):
    """A server of the scripted model."""
    with model_server(*(statuses or (200,)), text=text) as server:
        yield server


def rows(count, first=0):
    """So many examples, as files have them."""
    topics = list(CODES)
    return [
        {"message": f"The {topics[n % 3]}, case {n}.", "code": CODES[topics[n % 3]]}
        for n in range(first, first + count)
    ]


def served(port):
    """The model of a server here, as a config names it."""
    return {"model": "openai/m", "api_base": f"http://127.0.0.1:{port}/v1", "cache": False}


OF_PROGRAMS = ("program", "metric", "trainset", "valset", "inputs", "lm", "max_metric_calls")


def fill(folder, port=9, **settings):
    """Write the files; returns the config, in JSON, which every Python reads.

    A setting that is None is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "codes.py").write_text(PROGRAM)
    (folder / "prompt.txt").write_text("Please be so kind as to give the code.\n")
    lines = "\n".join(map(json.dumps, rows(6)))
    (folder / "train.jsonl").write_text(lines + "\n\n", "utf-8-sig")
    (folder / "val.json").write_text(json.dumps(rows(6, 6)))
    held = [["message", "code"], *([each["message"], each["code"]] for each in rows(4, 12))]
    (folder / "held.csv").write_text("\r\n".join(f'"{a}",{b}' for a, b in held))
    given = {
        "program": "codes.py:program",
        "metric": "codes.py:metric",
        "trainset": "train.jsonl",
        "valset": "val.json",
        "inputs": ["message"],
        "lm": served(port),
        "max_metric_calls": 40,
        "num_threads": 1,
        "save": "better.json",
        **settings,
    }
    config = folder / "codes.json"
    config.write_text(
        json.dumps({name: value for name, value in given.items() if value is not None})
    )
    return config

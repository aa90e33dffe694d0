"""Marks or structured output: the same question to a small local model, answered in both forms.

Questions come from the house tasks: an instruction without its facts, three wrong answers and what
was expected instead, in our wording for small models. They are asked with our marks, and as JSON
with a schema that the server enforces (`response_format`).

- right: a text is read that has at least one of the values that were expected;
- asked again: no text can be read, in JSON because it was cut off, or it is the current one;
- wrong: another text is read that has none of them.

    python benchmarks/structured_output.py --questions 20 --minutes 15
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from house_tasks import HOUSE_TASKS, house_task, remark
from report import print_table, surroundings, write_record

from dspy_gepa.core.rollout import Rollout, Step, Trace
from dspy_gepa.core.work import Evidence, ReflectionRequest
from dspy_gepa.demo.server import serve
from dspy_gepa.program.program import components_of
from dspy_gepa.reflect.exchange import Prompt, Reply
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.reply import read_reply, unusable
from dspy_gepa.reflect.templates import TRANSCRIPTION

VERDICTS = ("right", "asked again", "wrong")
_SHOWN = 3
_WITH_MARKS = "Answer in exactly this form, with both marks:"
_AS_JSON = 'Answer with JSON in exactly this form: {"new_text": "(the whole new text)"}'
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "new_text",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"new_text": {"type": "string"}},
            "required": ["new_text"],
            "additionalProperties": False,
        },
    },
}


class Question(NamedTuple):
    """What is asked in both forms."""

    name: str
    prompt: str
    current: str
    facts: tuple[str, ...]
    """The values that were expected."""


def question(task: str, seed: int) -> Question:
    """The prompt that a run would send, with answers that are no fact of the task."""
    house = house_task(task, seed, test=1)
    candidate = components_of(house.task.program)
    ((component, current),) = candidate.items()
    evidence, facts = [], []
    for number, row in enumerate(house.rows["train"][:_SHOWN]):
        said = dict.fromkeys(row.answer, "unknown")
        remarks = [remark(name, wanted, "unknown") for name, wanted in row.answer.items()]
        facts += list(row.answer.values())
        given = {"message": row.message}
        trace = Trace(given, said, (Step(component, given, said),))
        evidence.append(Evidence(number, Rollout(0.0, " ".join(remarks), trace=trace)))
    prompts: list[str] = []

    def ask(prompt: Prompt) -> Reply:
        prompts.append(prompt.text)
        return Reply("")

    request = ReflectionRequest(1, candidate, (component,), tuple(evidence))
    Reflector(ask, template=TRANSCRIPTION, is_joint=False)(request, {}, {})
    return Question(f"{task}, {seed}", prompts[0], current, tuple(facts))


def with_marks(lm: dspy.LM, asked: Question) -> str:
    """The text that is read from the answer between marks; empty where there is none."""
    (reply,) = lm(asked.prompt)
    return read_reply(reply, {"only": asked.current}).texts.get("only", "")


def with_schema(lm: dspy.LM, asked: Question) -> str:
    """The text in the answer that is JSON; empty where there is none."""
    prompt = asked.prompt.partition(_WITH_MARKS)[0] + _AS_JSON
    (reply,) = lm(prompt, response_format=_SCHEMA)
    try:
        text = str(json.loads(reply)["new_text"])
    except (ValueError, KeyError, TypeError):
        return ""
    return "" if unusable(text) else text


FORMS = {"marks": with_marks, "JSON schema": with_schema}


def verdict(asked: Question, text: str) -> str:
    """What became of an answer."""
    if text.strip() in ("", asked.current):
        return "asked again"
    new = [fact for fact in asked.facts if fact not in asked.current]
    return "right" if any(fact in text for fact in new) else "wrong"


def main(given: Sequence[str] | None = None) -> None:
    """Print a line for each form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task-model", default="1.5b", choices=("0.5b", "1.5b"))
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=15.0, help="no question is begun later")
    parser.add_argument("--threads", type=int, default=1, help="of the local model")
    parser.add_argument("--tokens", type=int, default=300, help="of an answer at most")
    parser.add_argument("--json", type=Path, help="where results are kept as they come")
    arguments = parser.parse_args(given)
    record: dict[str, Any] = {
        "benchmark": "structured_output",
        **surroundings("dspy_gepa"),
        "answers": [],
    }
    over = time.monotonic() + 60 * arguments.minutes
    places = list(product(range(arguments.questions), HOUSE_TASKS))[: arguments.questions]
    with serve(arguments.task_model, threads=arguments.threads) as local:
        lm = dspy.LM(**local.settings, temperature=0.0, max_tokens=arguments.tokens)
        for seed, task in places:
            if time.monotonic() > over:
                break
            asked = question(task, seed)
            for form, answered in FORMS.items():
                began = time.monotonic()
                text = answered(lm, asked)
                row = {"question": asked.name, "form": form, "text": text}
                row |= {"verdict": verdict(asked, text), "seconds": time.monotonic() - began}
                record["answers"].append(row)
                write_record(arguments.json, record)
    rows: list[list[object]] = [["form", "questions", *VERDICTS, "seconds an answer"]]
    for form in FORMS:
        own = [each for each in record["answers"] if each["form"] == form]
        counts = Counter(each["verdict"] for each in own)
        seconds = sum(each["seconds"] for each in own) / max(1, len(own))
        rows.append([form, len(own), *(counts[each] for each in VERDICTS), f"{seconds:.1f}"])
    print_table(rows)


if __name__ == "__main__":
    main()

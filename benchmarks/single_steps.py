"""Single steps: every wording answers the same questions, and each child is scored on unseen rows.

No search is run, so that no luck of a search is measured: the cheap instrument for wordings.
Wordings: "diagnose" is our default, one question about all components; "one each" is the same
wording, asked about each component alone; "A0" is one paragraph; "transcribe" is our wording for
small models. What could not be used is asked about once more, as in a run.

Gains are means over questions of the child's score less the parent's; differences to the first
wording are paired by question, with an interval by a bootstrap over questions. Tasks on which
wordings may be tuned and tasks for the report are told apart.

    python benchmarks/single_steps.py --reflection-model mailbox:letters --json steps.json
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from frozen_questions import REPORT, STATES, STEPS, TASKS, TUNE, Place, Question, frozen, place_of
from house_runs import A0, local_student
from mailbox_lm import MailboxLM, Usage, reflection_model
from report import estimate, print_table, surroundings, write_record
from search_efficiency import quiet

from dspy_gepa.core.work import ReflectionAnswer, ReflectionRequest, faults_in_words
from dspy_gepa.models.asking import reflection_asker
from dspy_gepa.reflect.reflector import Reflector
from dspy_gepa.reflect.templates import TRANSCRIPTION, Template


@dataclass(frozen=True)
class Wording:
    """How a question is put."""

    settings: Mapping[str, Any]
    """Of the reflector."""
    is_one_each: bool = False
    """Whether each component is asked about alone."""


WORDINGS = {
    "diagnose": Wording({}),
    "one each": Wording({}, is_one_each=True),
    "A0": Wording({"templates": Template(A0)}),
    "transcribe": Wording({"template": TRANSCRIPTION, "is_joint": False}),
}


def answered(
    wording: Wording, ask: Callable[[Any], Any], request: ReflectionRequest, place: Place
) -> list[ReflectionAnswer]:
    """What is answered to a question, or to one for each component."""
    settings = dict(wording.settings)
    if own := settings.get("templates"):
        settings["templates"] = dict.fromkeys(request.components, own)
    reflect = partial(Reflector(ask, **settings), descriptions=place.descriptions, feedback={})
    alone = [(name,) for name in request.components]
    answers = []
    for components in alone if wording.is_one_each else [request.components]:
        asked = replace(request, components=components)
        said = reflect(asked)
        if said.repairs:
            second = reflect(replace(asked, repairs=said.repairs))
            said = replace(second.after(said), lm_calls=said.lm_calls + second.lm_calls)
        answers.append(said)
    return answers


@dataclass(frozen=True)
class Answering:
    """A wording, who answers it, and what that took so far."""

    wording: str
    lm: Any
    usage: Usage

    @classmethod
    def named(cls, wording: str, model: str) -> Answering:
        """By the model of that name.

        In a mailbox each wording has a folder of its own, so that nobody who answers has seen the
        same question in other words.
        """
        usage, is_mailbox = Usage(), model.startswith("mailbox:")
        own = f"{model}/{wording.replace(' ', '-')}" if is_mailbox else model
        return cls(wording, reflection_model(own, usage), usage)

    def close(self) -> None:
        """No more questions will come."""
        if isinstance(self.lm, MailboxLM):
            self.lm.close()


def step(
    one: Answering, question: Question, place: Place, *, base: Sequence[float]
) -> dict[str, Any]:
    """What a wording made of a question, and how its child does."""
    before = (one.usage.tokens_in, one.usage.tokens_out)
    ask = reflection_asker(one.lm)
    answers = answered(WORDINGS[one.wording], ask, question.request, place)
    texts = {component: text for each in answers for component, text in each.texts.items()}
    child = question.request.candidate.rewritten(texts)
    scores = list(base)
    if child != question.request.candidate:
        scores = [each.score for each in place.rollouts(child, place.unseen)]
    return {
        "question": question.name,
        "task": question.task,
        "wording": one.wording,
        "texts": texts,
        "changed": sum(child[each] != question.request.candidate[each] for each in child),
        "missing": faults_in_words(fault for each in answers for fault in each.shortfalls),
        "parent": list(base),
        "scores": scores,
        "lm_calls": sum(each.lm_calls for each in answers),
        "tokens_in": one.usage.tokens_in - before[0],
        "tokens_out": one.usage.tokens_out - before[1],
    }


def carry_out(
    arguments: argparse.Namespace, student: Any, answering: Sequence[Answering]
) -> list[dict[str, Any]]:
    """A row for each wording and question; what the file has is not made again.

    Wordings are asked side by side, each about one question after the other.
    """
    record: dict[str, Any] = {"benchmark": "single_steps", **surroundings("dspy_gepa", "dspy")}
    record |= {"reflection_model": arguments.reflection_model, "rows": arguments.rows}
    record |= {"parents": {}, "steps": []}
    path, lock = arguments.json, threading.Lock()
    if path is not None and path.exists():
        kept = json.loads(path.read_text("utf-8"))
        if all(kept[name] == record[name] for name in ("reflection_model", "rows")):
            record |= {name: kept[name] for name in ("parents", "steps")}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    place_at = partial(
        place_of, student=student, rows=arguments.rows, num_threads=arguments.num_threads
    )
    wanted = list(product(seeds, STATES, arguments.tasks))[: arguments.questions]
    places = [place_at(task, seed, state) for seed, state, task in wanted]
    by_name = {f"{place.task}, {place.seed}, {place.state}": place for place in places}
    parents: dict[str, list[float]] = record["parents"]

    def ask_all(one: Answering) -> None:
        for question in questions:
            place = by_name[question.name]
            key = (question.name, one.wording)
            if any((each["question"], each["wording"]) == key for each in record["steps"]):
                continue
            found = step(one, question, place, base=parents[question.name])
            with lock:
                record["steps"].append(found)
                write_record(path, record)

    with quiet():
        questions = frozen(places, arguments.frozen)
        for question in questions:
            if question.name not in parents:
                place, texts = by_name[question.name], question.request.candidate
                rollouts = place.rollouts(texts, place.unseen)
                parents[question.name] = [each.score for each in rollouts]
                write_record(path, record)
        with ThreadPoolExecutor(len(answering)) as threads:
            list(threads.map(ask_all, answering))
    return list(record["steps"])


def print_steps(steps: Sequence[dict[str, Any]], wordings: Sequence[str]) -> None:
    """Tables for the tasks to tune on, for those of the report, and for each question."""
    for title, tasks in (("to tune on", TUNE), ("for the report", REPORT)):
        own = [each for each in steps if each["task"] in tasks]
        if not own:
            continue
        heading = ["wording", "questions", "parent", "child", f"minus {wordings[0]}", "better"]
        heading += ["worse", "no text", "texts changed", "calls", "tokens in", "out"]
        rows: list[list[object]] = [heading]
        first = {each["question"]: each for each in own if each["wording"] == wordings[0]}
        for name in wordings:
            mine = [each for each in own if each["wording"] == name]
            paired = [each for each in mine if each["question"] in first]
            differences = [
                fmean(each["scores"]) - fmean(first[each["question"]]["scores"]) for each in paired
            ]
            is_compared = name != wordings[0] and differences
            gains = [fmean(each["scores"]) - fmean(each["parent"]) for each in mine]
            rows.append(
                [
                    *(name, len(mine), f"{fmean(fmean(each['parent']) for each in mine):.3f}"),
                    f"{fmean(fmean(each['scores']) for each in mine):.3f}",
                    estimate(differences).signed if is_compared else "",
                    *(sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)),
                    sum(not each["texts"] for each in mine),
                    *(sum(each[key] for each in mine) for key in ("changed", "lm_calls")),
                    *(sum(each[key] for each in mine) for key in ("tokens_in", "tokens_out")),
                ]
            )
        print(f"\nTasks {title}: {', '.join(dict.fromkeys(each['task'] for each in own))}")
        print_table(rows)
    print()
    table: list[list[object]] = [["question", "parent", *wordings]]
    for question in dict.fromkeys(each["question"] for each in steps):
        own = {each["wording"]: each for each in steps if each["question"] == question}
        scores = [f"{fmean(own[name]['scores']):.3f}" if name in own else "" for name in wordings]
        parent = fmean(next(iter(own.values()))["parent"])
        table.append([question, f"{parent:.3f}", *scores])
    print_table(table)


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reflection-model", required=True, help="a name, or mailbox:FOLDER")
    parser.add_argument("--task-model", default="1.5b", choices=("0.5b", "1.5b"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--wordings", nargs="+", choices=WORDINGS, default=list(WORDINGS))
    parser.add_argument("--questions", type=int, default=60, help="how many at most")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5, help="draws of each task's facts")
    parser.add_argument("--rows", type=int, default=200, help="unseen rows for each child")
    parser.add_argument("--num-threads", type=int, default=1, help="rows at once")
    parser.add_argument("--threads", type=int, default=1, help="of the local model")
    parser.add_argument(
        "--local-server", help="the OpenAI-compatible address of one that has the local models"
    )
    parser.add_argument("--frozen", type=Path, help="where the questions are kept")
    parser.add_argument("--json", type=Path, help="where results are kept as they come")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Print the tables; with --json, keep every step as soon as it is there."""
    arguments = arguments_of(given)
    answering = [Answering.named(name, arguments.reflection_model) for name in arguments.wordings]
    needs_model = any(task != STEPS for task in arguments.tasks)
    served = local_student(
        arguments.task_model, arguments.threads, 32, local_server=arguments.local_server
    )
    try:
        with served if needs_model else nullcontext() as student:
            steps = carry_out(arguments, student, answering)
    finally:
        for one in answering:
            one.close()
    print_steps(steps, arguments.wordings)


if __name__ == "__main__":
    main()

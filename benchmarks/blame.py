"""Which component a reflection blames: three steps in a row, feedback on the end alone.

In each of 30 questions one fault is planted (see `blame_world.py`), and one reflection is asked
through the public interface. A scripted model runs the steps, so that only the reflection LM costs
anything. Counted is what it wrote new texts for:

- right: all steps at fault and no other; where no step is at fault, none;
- innocent: how many steps were rewritten though they were not at fault;
- equal: in how many questions the child's texts of all other steps are the same, byte for byte;
- mended: the child's score on unseen messages, beside that of the program as given.

Blaming one step of three at random is right in a third of the questions with one fault. What a
question says follows from its number: `--first-question` asks others, which nothing was tuned on.

    python benchmarks/blame.py --reflection-model mailbox:letters --json blame.json
    python benchmarks/blame.py --reflection-model NAME --first-question 60
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from blame_world import FAULTS, STEPS, Pipeline, Question, StepsLM, graded, question
from mailbox_lm import MailboxLM, Usage, reflection_model
from report import print_table, surroundings, write_record
from search_efficiency import quiet

from dspy_gepa import GEPA
from dspy_gepa.core.work import faults_in_words

QUESTIONS = 30
STYLES = ("diagnose", "transcribe")


class Watch:
    """Told of every event of a run; keeps what the one reflection said and the child it made."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given, self.child = given, dict(given)
        self.texts: dict[str, str] = {}
        self.diagnosis = self.problem = ""

    def __call__(self, event: Any, state: object) -> None:
        """Take note of an event."""
        del state
        if (reflection := getattr(event, "reflection", None)) is not None:
            self.texts.update(reflection.texts)
            self.diagnosis = getattr(reflection, "diagnosis", "") or self.diagnosis
            self.problem = faults_in_words(reflection.shortfalls)
        evaluation = getattr(getattr(event, "phase", None), "evaluation", None)
        if evaluation is not None and dict(evaluation.candidate) != self.given:
            self.child = dict(evaluation.candidate)


def asked(number: int, lm: Any, style: str) -> dict[str, Any]:
    """What became of one question."""
    case = question(number)
    watch = Watch(dict(case.instructions))
    optimizer = GEPA(
        graded,
        max_metric_calls=300,
        max_proposals=1,
        reflection_lm=lm,
        reflection_style=style,
        num_threads=1,
        seed=number,
        observers=[watch],
    )
    failure = ""
    try:
        with quiet(), dspy.context(lm=StepsLM(case.tables)):
            optimizer.compile(case.program, trainset=case.train, valset=case.train)
    except Exception as error:  # noqa: BLE001 - a reflection that breaks has blamed nobody
        failure = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return {
        "number": number,
        "fault": case.fault,
        "style": style,
        "failure": failure or watch.problem,
        "diagnosis": watch.diagnosis,
        **compared(case, watch),
        "given": unseen_score(case, case.instructions),
        "mended": unseen_score(case, watch.child),
    }


def compared(case: Question, watch: Watch) -> dict[str, Any]:
    """What was changed beside what is at fault."""
    changed = {
        step for step, text in watch.texts.items() if text.strip() != case.instructions[step]
    }
    others = [step for step in STEPS if step not in changed]
    return {
        "faulty": sorted(case.faulty),
        "changed": sorted(changed),
        "right": changed == case.faulty,
        "found": len(changed & case.faulty),
        "innocent": len(changed - case.faulty),
        "equal": all(watch.child[step] == case.instructions[step] for step in others),
    }


def unseen_score(case: Question, instructions: Any) -> float:
    """The mean score of a program with these texts on messages that no run has seen."""
    program = Pipeline(instructions)
    with quiet(), dspy.context(lm=StepsLM(case.tables)):
        scores = [graded(each, program(message=each.message))[0] for each in case.unseen]
    return fmean(scores)


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """The counts for each kind of fault, and all together."""
    heading = ["fault", "questions", "right", "steps at fault", "of these changed"]
    table: list[list[object]] = [[*heading, "innocent", "equal", "as given", "mended", "failed"]]
    for fault in (*FAULTS, "all"):
        own = [row for row in rows if fault in (row["fault"], "all")]
        if own:
            table.append(
                [
                    *(fault, len(own), sum(row["right"] for row in own)),
                    sum(len(row["faulty"]) for row in own),
                    *(sum(row[each] for row in own) for each in ("found", "innocent", "equal")),
                    *(f"{fmean(row[each] for row in own):.2f}" for each in ("given", "mended")),
                    sum(bool(row["failure"]) for row in own),
                ]
            )
    print_table(table)


def main(given: Sequence[str] | None = None) -> None:
    """Print the counts; with --json, keep every question as soon as it is answered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reflection-model", required=True, help="a name, or mailbox:FOLDER")
    parser.add_argument("--style", choices=STYLES, default="diagnose")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="how many")
    parser.add_argument("--first-question", type=int, default=0, help="the number of the first")
    parser.add_argument("--json", type=Path, help="where results are kept as they come")
    arguments, usage = parser.parse_args(given), Usage()
    lm = reflection_model(arguments.reflection_model, usage)
    try:
        rows = carry_out(arguments, lm)
    finally:
        if isinstance(lm, MailboxLM):
            lm.close()
    print_rows(rows)
    print(f"{usage.calls} reflection calls, {usage.tokens_in} tokens in, {usage.tokens_out} out")


def carry_out(arguments: argparse.Namespace, lm: Any) -> list[dict[str, Any]]:
    """The rows of all questions; those in the file already are not asked again."""
    path, settings = arguments.json, {"style": arguments.style, "model": arguments.reflection_model}
    record: dict[str, Any] = {"benchmark": "blame", **surroundings("dspy_gepa", "dspy"), "rows": []}
    if path is not None and path.exists():
        record["rows"] = json.loads(path.read_text("utf-8"))["rows"]

    def kept() -> dict[int, dict[str, Any]]:
        return {row["number"]: row for row in record["rows"] if settings.items() <= row.items()}

    wanted = range(arguments.first_question, arguments.first_question + arguments.questions)
    for number in wanted:
        if number not in kept():
            record["rows"].append({**settings, **asked(number, lm, arguments.style)})
            write_record(path, record)
    return [row for number, row in sorted(kept().items()) if number in wanted]


if __name__ == "__main__":
    main()

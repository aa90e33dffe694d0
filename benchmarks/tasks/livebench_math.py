"""LiveBench-Math: competitions, proofs with gaps, hard exercises; each kind has its own rule."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import dspy
from answers import boxed, text_of
from expressions import is_equal

from tasks import Hub, Source, Task, cut, graded, needed, task_of, whole_metric

__all__ = ["grade", "task"]

COLUMNS = ("turns", "ground_truth", "task")
ALL = Hub("livebench/math", "test")
SIZES = (122, 122, 124)


class Solve(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Answer the question in the form that it asks for."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def task(source: Source, seed: int = 0) -> Task:
    """Thirds of the published questions, the same ones for every seed."""
    del seed
    needed("math_verify", "math-verify", "livebench_math")
    found = source.find("livebench_math", "test.jsonl", COLUMNS, elsewhere=ALL)
    examples = [
        dspy.Example(
            question=row["turns"][0], answer=str(row["ground_truth"]), kind=row["task"]
        ).with_inputs("question")
        for row in found.rows
    ]
    Random(0).shuffle(examples)
    return task_of(
        "LiveBench-Math",
        dspy.ChainOfThought(Solve),
        cut(examples, SIZES),
        grade,
        source=found.source,
        licence="Apache-2.0",
        published=SIZES,
        differs=["rules written anew after LiveBench's; equality by math-verify"],
    )


@whole_metric
def grade(gold: dspy.Example, pred: Any) -> dspy.Prediction:
    """The score by the rule of the question's kind, and what the rule read."""
    text = text_of(getattr(pred, "answer", None))
    if not text:
        return graded(0.0, f"There is no answer. The right one is {gold.answer}.")
    if gold.kind == "olympiad":
        score, read = ordered(text, gold.answer)
    elif gold.kind == "math_comp":
        read = chosen(text, gold.answer)
        score = float(read == plain(gold.answer.strip()))
    else:
        read = boxed(text) or text
        score = float(is_equal(text, gold.answer, "livebench_math"))
    if score == 1:
        return graded(1.0, f"Right: {gold.answer}.")
    verdict = "partly right" if score else "wrong"
    remark = f"The answer was read as '{read[:200]}', which is {verdict}."
    return graded(score, f"{remark} The right one is {gold.answer}.")


def chosen(text: str, right: str) -> str:
    """The letter that was chosen, once or several times over, or the last whole number."""
    pattern = r"\b([A-Z])\1*\b" if right.strip().isalpha() else r"\d+"
    found = [match[0] for match in re.finditer(pattern, boxed(text) or text)]
    if not found:
        return ""
    return found[-1][0] if right.strip().isalpha() else plain(found[-1])


def plain(number: str) -> str:
    """A whole number without the zeros that it begins with; zero keeps one."""
    return number.lstrip("0") or "0"


def ordered(text: str, right: str) -> tuple[float, str]:
    """How near the order of the numbers is to the right one, by edits; 1 if it is the same."""
    numbers = re.findall(r"\d+", text.lower().rpartition("answer:")[2])
    wanted = re.findall(r"\d+", right)
    longest = max(len(numbers), len(wanted), 1)
    return 1 - edits(numbers, wanted) / longest, ",".join(numbers)


def edits(one: list[str], other: list[str]) -> int:
    """How many values have to be put in, left out or replaced to make one list the other."""
    row = list(range(len(other) + 1))
    for place, value in enumerate(one, start=1):
        before, row[0] = row[0], place
        for at, wanted in enumerate(other, start=1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (value != wanted))
    return row[-1]

"""GSM8K: word problems of primary school whose answer is one whole number."""

from __future__ import annotations

from random import Random
from typing import Any

import dspy
from answers import graded_number

from tasks import Hub, Source, Task, cut, task_of, whole_metric

__all__ = ["grade", "task"]

SIZES = (150, 150, 300)


class Solve(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Solve the problem."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def task(source: Source, seed: int = 0) -> Task:
    """150, 150 and 300 problems of the published test split, the same ones for every seed."""
    del seed
    hub = Hub("openai/gsm8k", "test", "main")
    found = source.find("gsm8k", "test.jsonl", ("question", "answer"), elsewhere=hub)
    rows = [
        dspy.Example(question=row["question"], answer=answer.strip(), solution=steps.strip())
        for row in found.rows
        for steps, _, answer in [row["answer"].rpartition("####")]
    ]
    examples = [row.with_inputs("question") for row in rows]
    Random(0).shuffle(examples)
    return task_of(
        "GSM8K",
        dspy.ChainOfThought(Solve),
        cut(examples, SIZES),
        grade,
        source=found.source,
        licence="MIT",
        published=SIZES,
        differs=["all three splits are drawn from the published test split"],
    )


@whole_metric
def grade(gold: dspy.Example, pred: Any) -> dspy.Prediction:
    """1 if the last number of the answer is the right one."""
    worked = f"The right answer is {gold.answer}. A worked solution: {gold.solution}"
    return graded_number(getattr(pred, "answer", None), gold.answer, worked)

"""MATH, algebra: a whole program is evolved, its code as well as what it asks of models.

The program is a `dspy.Flex`, whose source is its component. An optimizer that rewrites nothing but
instructions finds none in it; GEPA rewrites code where `optimize` has "code", as by default.
"""

from __future__ import annotations

from typing import Any

import dspy
from answers import boxed
from expressions import is_equal

from tasks import Hub, MissingPackage, Source, Task, cut, graded, needed, task_of, whole_metric

__all__ = ["grade", "task"]

SIZES = (350, 350, 487)
ALGEBRA = Hub("DigitalLearningGmbH/MATH-lighteval", "test", "algebra")


class Solve(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Solve the problem."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def task(source: Source, seed: int = 0) -> Task:
    """350, 350 and 487 problems of the published test split."""
    del seed
    needed("math_verify", "math-verify", "math")
    if not hasattr(dspy, "Flex"):
        raise MissingPackage("The task math needs dspy.Flex: install a newer DSPy.")
    found = source.find("math", "algebra.jsonl", ("problem", "solution"), elsewhere=ALGEBRA)
    examples = [
        dspy.Example(
            question=row["problem"], answer=boxed(row["solution"]), solution=row["solution"]
        ).with_inputs("question")
        for row in found.rows
        if boxed(row["solution"])
    ]
    return task_of(
        "MATH, algebra",
        dspy.Flex(Solve),
        cut(examples, SIZES),
        grade,
        source=found.source,
        licence="contested",
        published=SIZES,
        differs=["equality by math-verify"],
    )


@whole_metric
def grade(gold: dspy.Example, pred: Any) -> dspy.Prediction:
    """1 if the answer is equal to the right one, however it is written."""
    answer = getattr(pred, "answer", None)
    worked = f"The right answer is {gold.answer}. A worked solution: {gold.solution}"
    if is_equal(answer, gold.answer, "math"):
        return graded(1.0, f"Right: {gold.answer}.")
    if not str(answer or "").strip():
        return graded(0.0, f"There is no answer. {worked}")
    return graded(0.0, f"The answer {str(answer)[:200]} is wrong. {worked}")

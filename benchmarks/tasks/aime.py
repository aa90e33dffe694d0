"""AIME: learn on the competitions of 2022 to 2024, test on those of 2025."""

from __future__ import annotations

from random import Random
from typing import Any

import dspy
from answers import whole_number

from tasks import Hub, Source, Splits, Task, cut, graded, task_of, whole_metric

__all__ = ["grade", "task"]

LEARNT, TESTED, TIMES = (45, 45), 30, 5
LEARN = Hub("AI-MO/aimo-validation-aime", "train")
TEST = Hub("MathArena/aime_2025", "train")


class Solve(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Solve the problem and give the answer as a whole number, without anything else."""

    problem: str = dspy.InputField()
    answer: str = dspy.OutputField()


def task(source: Source, seed: int = 0) -> Task:
    """45 and 45 problems of 2022 to 2024; each of the 30 of 2025 five times."""
    del seed
    columns = ("problem", "answer")
    learnt = source.find("aime", "learn.jsonl", columns, elsewhere=LEARN)
    tested = source.find("aime", "test.jsonl", columns, elsewhere=TEST)
    examples = list(map(example, learnt.rows))
    Random(0).shuffle(examples)
    train, validation, _ = cut(examples, (*LEARNT, 0))
    test = [example(row) for _ in range(TIMES) for row in tested.rows]
    return task_of(
        "AIME 2025",
        dspy.ChainOfThought(Solve),
        Splits(train, validation, test),
        grade,
        source=f"{learnt.source}, {tested.source}",
        licence="problems of the MAA; test rows CC BY-NC-SA 4.0 (MathArena)",
        published=(*LEARNT, TESTED * TIMES),
        differs=[f"each of the {len(tested.rows)} test problems stands {TIMES} times"],
    )


def example(row: dict[str, Any]) -> dspy.Example:
    """A problem with its answer, and its written solution where there is one."""
    return dspy.Example(
        problem=row["problem"],
        answer=str(row["answer"]).strip(),
        solution=str(row.get("solution") or ""),
    ).with_inputs("problem")


@whole_metric
def grade(gold: dspy.Example, pred: Any) -> dspy.Prediction:
    """1 if the answer is the right whole number and nothing else."""
    answer = whole_number(getattr(pred, "answer", None))
    solution = f" A written solution: {gold.solution}" if gold.solution else ""
    worked = f"The right answer is {gold.answer}.{solution}"
    if answer is None:
        wanted = "The answer has to be a whole number and nothing else, and cannot be read as one."
        return graded(0.0, f"{wanted} {worked}")
    if answer == whole_number(gold.answer):
        return graded(1.0, f"Right. {worked}")
    return graded(0.0, f"The answer {answer} is wrong. {worked}")

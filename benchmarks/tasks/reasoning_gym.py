"""Reasoning gym: how many legs many animals have together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import dspy
from answers import graded_number

from tasks import Source, Task, cut, needed, task_of, whole_metric

__all__ = ["grade", "task"]

SIZES = (50, 50, 200)
KIND = "leg_counting"


class Count(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Answer the question with one number."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def task(source: Source, seed: int = 0) -> Task:
    """50, 50 and 200 questions, which the seed draws."""
    del source
    gym = needed("reasoning_gym", "reasoning-gym", "reasoning_gym")
    legs = needed("reasoning_gym.arithmetic.leg_counting", "reasoning-gym", "reasoning_gym").ANIMALS
    entries = gym.create_dataset(KIND, size=sum(SIZES), seed=seed)
    examples = [
        dspy.Example(
            question=entry["question"].strip(),
            answer=entry["answer"],
            legs={animal: legs[animal] for animal in entry["metadata"]["animals"]},
            counts=dict(entry["metadata"]["animals"]),
        ).with_inputs("question")
        for entry in entries
    ]
    return task_of(
        f"reasoning-gym, {KIND}",
        dspy.ChainOfThought(Count),
        cut(examples, SIZES),
        grade,
        source=f"reasoning-gym {version('reasoning-gym')}, generated with seed {seed}",
        licence="Apache-2.0",
    )


@whole_metric
def grade(gold: dspy.Example, pred: Any) -> dspy.Prediction:
    """1 if the last number of the answer is that of the legs."""
    parts = [
        f"{gold.counts[each]} {each} with {legs} legs each" for each, legs in gold.legs.items()
    ]
    worked = f"There are {gold.answer} legs: {'; '.join(parts)}."
    return graded_number(getattr(pred, "answer", None), gold.answer, worked)

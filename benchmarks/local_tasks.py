"""The tasks of `local_model.py`: the demo's two, and one more that needs no files.

The own one files messages under codes that nobody can guess: without an instruction that lists
them a model gets none right, with one even a small model gets most.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import dspy

from dspy_gepa.demo.facility import facility
from dspy_gepa.demo.house_labels import house_labels
from dspy_gepa.demo.task import Graded, Splits, Task

__all__ = ["TASKS", "house_codes"]

_TOPICS = {
    "Q4": ("asks for money back", "I want my money back for the {}.", "Please refund the {}.",
           "When do I get the refund for the {}?", "I sent the {} back and was not paid yet."),
    "H8": ("asks where a parcel is", "Where is my {}?", "The {} should have come on Monday.",
           "My parcel with the {} has not arrived.", "The courier never came with the {}."),
    "Z1": ("says that a thing is broken", "The {} does not switch on.", "The {} came with a crack.",
           "After one day the {} stopped working.", "The {} makes a strange noise and smells."),
    "K7": ("is about an invoice", "The invoice for the {} has the wrong address.",
           "Please send me the bill for the {} again.", "I need the VAT number on the {} invoice.",
           "The invoice lists the {} twice."),
    "M3": ("is about logging in", "I cannot log in to see my {}.",
           "My password fails since I bought the {}.",
           "Please reset my account; the {} is registered there.",
           "The code to confirm my account for the {} never came."),
    "B2": ("praises something", "I love the {}, thank you!", "The {} is the best that I ever had.",
           "Great service with the {}, well done.", "My whole family likes the {}."),
}  # fmt: skip
_THINGS = ("kettle", "lamp", "radio", "toaster", "camera", "drill", "fan", "printer", "heater")
_SPLITS = (24, 24, 36)


class GiveCode(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Give the code for the message."""

    message: str = dspy.InputField()
    code: str = dspy.OutputField()


def house_codes() -> Task:
    """Six codes of two characters; 24 training, 24 validation and 36 unseen test messages."""
    rows = [
        dspy.Example(message=text.format(thing), code=code).with_inputs("message")
        for code, (_, *texts) in _TOPICS.items()
        for text in texts
        for thing in _THINGS
    ]
    Random(0).shuffle(rows)
    first, second, third = _SPLITS
    splits = Splits(
        rows[:first], rows[first : first + second], rows[first + second : first + second + third]
    )
    return Task(
        title="give the two-character code for a customer message",
        program=dspy.Predict(GiveCode),
        metric=grade_code,
        splits=splits,
        metric_calls=150,
        answer_tokens=40,
        recipe='import dspy\nprogram = dspy.Predict("message -> code")',
    )


def grade_code(gold: dspy.Example, prediction: Any, trace: Any = None) -> Graded:
    """Exactly right or not, and why."""
    del trace
    if str(prediction.code).strip() == gold.code:
        return Graded(1.0, f"Right: {gold.code}.")
    why = _TOPICS[gold.code][0]
    return Graded(0.0, f"The right code is {gold.code}, because it {why}.")


TASKS: dict[str, Callable[[Path | None], Task]] = {
    "house-labels": lambda _: house_labels(),
    "house-codes": lambda _: house_codes(),
    "facility": facility,
}
"""Each by its name; told the folder of `--data-dir`."""

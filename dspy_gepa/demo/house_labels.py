"""The default task: file customer messages under a shop's own labels.

The policy is known to the reviewer who gives the feedback, and never to the program: its
instruction is all that it has.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import dspy

from dspy_gepa.demo.task import DemoTask, Graded, Splits

__all__ = ["grade_label", "house_labels"]


class FileMessage(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Give the label for the message."""

    message: str = dspy.InputField()
    label: str = dspy.OutputField()


def house_labels() -> DemoTask:
    """The task over the messages that ship with the package, in their fixed splits."""
    return DemoTask(
        title="file customer messages under the shop's own labels",
        program=dspy.Predict(FileMessage),
        metric=grade_label,
        splits=_splits(),
        metric_calls=70,
        answer_tokens=40,
        recipe='import dspy\nprogram = dspy.Predict("message -> label")',
    )


def grade_label(gold: dspy.Example, prediction: Any, trace: Any = None) -> Graded:  # noqa: ARG001
    """Half a point for the order and half for the name, and what a reviewer would say."""
    answer = str(prediction.label).strip()
    if answer == gold.label:
        return Graded(1.0, f"Right: {gold.label}.")
    order, name = gold.label.split("-", 1)
    given_order, _, given_name = answer.partition("-")
    remarks = [f"The right label is {gold.label}."]
    if given_order != order:
        remarks.append(
            "The customer names no order, so the label begins with NEW."
            if order == "NEW"
            else f"The message is about order {order}, so the label begins with that number."
        )
    if given_name != name:
        remarks.append(
            f"After the dash comes the customer's last name alone, in capital letters: {name}."
        )
    return Graded(((given_order == order) + (given_name == name)) / 2, " ".join(remarks))


def _splits() -> Splits:
    splits = Splits([], [], [])
    lines = files("dspy_gepa.demo").joinpath("house_labels.jsonl").read_text(encoding="utf-8")
    for line in lines.splitlines():
        row = json.loads(line)
        example = dspy.Example(message=row["message"], label=row["label"]).with_inputs("message")
        getattr(splits, row["split"]).append(example)
    return splits

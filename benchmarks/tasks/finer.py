"""FiNER: which of 139 XBRL tags fits each of four numbers of financial reports."""

from __future__ import annotations

import re
from typing import Any

import dspy

from tasks import Source, Splits, Task, cut, graded, task_of, whole_metric

__all__ = ["grade", "task"]

LEARNT, TESTED = (250, 250), 441
PLACE = "github.com/ace-agent/ace, folder finance/data"


class TagEntities(dspy.Signature):  # type: ignore[misc]  # DSPy is untyped here
    """Choose for each numbered entity the tag that fits best.

    Give the tags in the order of the entities, separated by commas, and nothing else.
    """

    tags: str = dspy.InputField()  # first, so that servers can keep it from call to call
    entities: str = dspy.InputField()
    answer: str = dspy.OutputField()


def task(source: Source, seed: int = 0) -> Task:
    """250 and 250 of the published validation rows, and all 441 test rows."""
    del seed
    columns = ("questions", "target")
    learnt = source.find("finer", "finer_val_500.jsonl", columns, elsewhere=PLACE)
    tested = source.find("finer", "finer_test_441.jsonl", columns, elsewhere=PLACE)
    listed = source.find("finer", "tags.json", ("tags",), elsewhere=PLACE)
    tags = [str(tag) for row in listed.rows for tag in row["tags"]]
    train, validation, _ = cut([example(row, tags) for row in learnt.rows], (*LEARNT, 0))
    test = [example(row, tags) for row in tested.rows]
    return task_of(
        "Financial entities (FiNER in ACE)",
        dspy.ChainOfThought(TagEntities),
        Splits(train, validation, test[:TESTED]),
        grade,
        source=f"{learnt.source}, {tested.source}",
        licence="CC BY-SA 4.0 (FiNER-139), Apache-2.0 (ACE)",
        published=(*LEARNT, TESTED),
    )


def example(row: dict[str, Any], tags: list[str]) -> dspy.Example:
    """A row as an example: numbered entities, each with its sentence."""
    entities = "\n".join(
        f"{number}. {question['entity']} in: {question['sentence']}"
        for number, question in enumerate(row["questions"], start=1)
    )
    return dspy.Example(
        tags=", ".join(tags),
        entities=entities,
        names=[question["entity"] for question in row["questions"]],
        target=list(row["target"]),
        answer=", ".join(row["target"]),
    ).with_inputs("tags", "entities")


@whole_metric
def grade(gold: dspy.Example, pred: Any) -> dspy.Prediction:
    """The share of the entities whose tag is exactly right, by their order."""
    tags = tags_of(getattr(pred, "answer", None))
    remarks, right = [], 0
    for place, (name, wanted) in enumerate(zip(gold.names, gold.target, strict=True)):
        tag = tags[place] if place < len(tags) else None
        right += tag == wanted
        if tag is None:
            remarks.append(f"{name}: no tag was given; the right one is {wanted}.")
        elif tag != wanted:
            remarks.append(f"{name}: {tag} is wrong; the right tag is {wanted}.")
        else:
            remarks.append(f"{name}: {tag} is right.")
    if len(tags) > len(gold.target):
        remarks.append(f"{len(tags)} tags were given for {len(gold.target)} entities.")
    return graded(right / len(gold.target), " ".join(remarks))


def tags_of(answer: Any) -> list[str]:
    """The last word of each part between commas or on a line of its own."""
    parts = re.split(r"[,;\n]", answer) if isinstance(answer, str) else []
    words = [re.findall(r"[A-Za-z]\w*", part) for part in parts]
    return [each[-1] for each in words if each]
